//! A network as a safetensors file that says what it is: sizes, shape of the images, sd_data and mapping stand in its
//! one entry of metadata (with more, the same model would give other bytes each time).

use std::collections::BTreeMap;

use burn::prelude::*;
use burn::store::{ModuleSnapshot, SafetensorsStore};
use plasticity_core::nn;
use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

use super::edm::Edm;
use super::unet::UNetConfig;
use crate::error::DiffusionError;
use crate::pixels::Mapping;

/// The key of the metadata's entry, and its first word.
const KEY: &str = "dale-langevin";
/// What this code writes and reads.
const FORMAT: u32 = 1;
/// No list of tensors is longer, in bytes.
const MOST_HEADER: usize = 1 << 24;

/// All of a network that is not a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Card {
    format: u32,
    unet: UNetConfig,
    /// Channels, height, width.
    shape: [usize; 3],
    sd_data: f64,
    /// [`Mapping::shift`], where the model was given one.
    shift: Option<f64>,
}

impl Card {
    fn of(edm: &Edm) -> Self {
        Self {
            format: FORMAT,
            unet: edm.unet().config().clone(),
            shape: edm.shape(),
            sd_data: edm.sd_data(),
            shift: edm.mapping().map(|mapping| mapping.shift),
        }
    }

    /// The card of a file, after a look at everything that could be too large.
    fn read(bytes: &[u8]) -> Result<Self, DiffusionError> {
        let header = Header::read(bytes)?;
        let text = header.metadata.get(KEY).ok_or_else(|| {
            fault(format!("its metadata has no `{KEY}`: it does not say what it is, or is another program's"))
        })?;
        let card: Self = serde_json::from_str(text).map_err(|e| fault(format!("`{KEY}` in its metadata: {e}")))?;
        if card.format != FORMAT {
            return Err(fault(format!("format {}, this program reads {FORMAT}", card.format)));
        }
        if let Some((name, tensor)) = header.tensors.iter().find(|(_, tensor)| tensor.dtype != "F32") {
            return Err(fault(format!("`{name}` is of {}, the network of F32", tensor.dtype)));
        }
        let expected = card.unet.parameters()?;
        if bytes.len() / 4 < expected {
            let found = bytes.len();
            return Err(fault(format!("{found} bytes, and a network of its sizes has {expected} values of four")));
        }
        Ok(card)
    }
}

/// What stands before the values.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__", default)]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, DiffusionError> {
        let header = bytes.split_first_chunk::<8>().and_then(|(length, rest)| {
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
            rest.get(..length.min(MOST_HEADER + 1)).filter(|header| header.len() == length && length <= MOST_HEADER)
        });
        let header = header.ok_or_else(|| fault("not a safetensors file"))?;
        serde_json::from_slice(header).map_err(|e| fault(format!("not a safetensors file: {e}")))
    }
}

fn fault(what: impl Into<String>) -> DiffusionError {
    DiffusionError::ModelFile { what: what.into() }
}

impl Edm {
    /// The network with all that it takes to use it, as the bytes of a safetensors file. Equal models give equal
    /// bytes.
    ///
    /// # Errors
    /// When a parameter cannot be written.
    pub fn save(&self) -> Result<Vec<u8>, DiffusionError> {
        let card = serde_json::to_string(&Card::of(self)).map_err(|e| fault(e.to_string()))?;
        let mut store = SafetensorsStore::from_bytes(None).clear_metadata().metadata(KEY, card);
        self.save_into(&mut store).map_err(|e| fault(e.to_string()))?;
        store.get_bytes().map_err(|e| fault(e.to_string()))
    }

    /// The network of a file that [`Edm::save`] wrote; nothing else need be known of it.
    ///
    /// # Errors
    /// When the bytes are no such file, or its parameters are not those of the network that it says it is.
    pub fn load(bytes: &[u8], device: &Device) -> Result<Self, DiffusionError> {
        let card = Card::read(bytes)?;
        // The values are replaced, all of them.
        let unet = card.unet.init(&mut Stream::new(0, KEY, 0), device)?;
        let mut edm = Self::new(unet, card.shape, card.sd_data)?;
        if let Some(shift) = card.shift {
            DiffusionError::finite("shift", shift)?;
            edm = edm.with_mapping(Mapping { shift });
        }
        edm.take(bytes)?;
        Ok(edm)
    }

    /// Replaces the parameters by those of a file of the same network, shape, sd_data and mapping.
    pub(super) fn load_same(&mut self, bytes: &[u8]) -> Result<(), DiffusionError> {
        let (own, card) = (Card::of(self), Card::read(bytes)?);
        let pairs = [
            ("network", format!("{:?}", own.unet), format!("{:?}", card.unet)),
            ("shape", format!("{:?}", own.shape), format!("{:?}", card.shape)),
            ("sd_data", own.sd_data.to_string(), card.sd_data.to_string()),
            ("shift", format!("{:?}", own.shift), format!("{:?}", card.shift)),
        ];
        if let Some((what, own, found)) = pairs.into_iter().find(|(_, own, found)| own != found) {
            return Err(fault(format!("its `{what}` is {found}, that of the model {own}")));
        }
        self.take(bytes)
    }

    /// The parameters of a file, all finite.
    fn take(&mut self, bytes: &[u8]) -> Result<(), DiffusionError> {
        nn::load_model(self, bytes).map_err(|e| fault(e.to_string()))
    }
}
