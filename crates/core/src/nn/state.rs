//! Models and optimisers as bytes, so that a resumed run goes on exactly.
//!
//! A model must have parameter ids that follow from the parameters' paths, as [`parameter`]
//! gives them: an optimiser's state is keyed by them, and Burn draws them at random otherwise.

use std::collections::BTreeMap;

use burn::module::{Module, Param, ParamId};
use burn::optim::ModuleOptimizer;
use burn::store::burn_pack::{Reader, Tensor as Stored};
use burn::store::{ModuleSnapshot, ModuleStore, SafetensorsStore};
use burn::tensor::{Bytes, Shape, Tensor, TensorData};

use crate::error::RunError;
use crate::rng::fnv1a;

/// The files of a snapshot, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The bytes of one file of a snapshot.
///
/// # Errors
/// When the snapshot has no such file.
pub fn file<'a>(files: &'a Files, name: &str) -> Result<&'a [u8], RunError> {
    files.get(name).map(Vec::as_slice).ok_or_else(|| fault(name, "missing in the checkpoint"))
}

/// A tracked parameter whose id is the hash of its path.
pub fn parameter<const D: usize>(path: &str, x: Tensor<D>) -> Param<Tensor<D>> {
    Param::initialized(ParamId::from(fnv1a(path)), x.inner().autodiff().require_grad())
}

fn fault(what: &str, why: impl std::fmt::Display) -> RunError {
    RunError::Checkpoint { file: what.into(), what: why.to_string() }
}

/// The parameters as safetensors. One metadata key only: more come in random order, and
/// the same model would give other bytes each time.
///
/// # Errors
/// When a parameter cannot be written.
pub fn save_model<M: Module + ModuleSnapshot>(model: &M) -> Result<Vec<u8>, RunError> {
    let mut store = SafetensorsStore::from_bytes(None).clear_metadata().metadata("format", "pt");
    model.save_into(&mut store).map_err(|e| fault("model.safetensors", e))?;
    store.get_bytes().map_err(|e| fault("model.safetensors", e))
}

/// Replaces the parameters of `model`, all of them or none.
///
/// # Errors
/// When the bytes are no such file, or a parameter is missing in them, is not one of the
/// model's, has another shape or type than the model's, or holds a value that is not finite.
/// The message names it, and the model is unchanged.
pub fn load_model<M: Module + ModuleSnapshot>(model: &mut M, bytes: &[u8]) -> Result<(), RunError> {
    let fault = |why: String| fault("model.safetensors", why);
    let mut store = SafetensorsStore::from_bytes(Some(bytes.to_vec()));
    // Burn applies what it can before it says what it cannot, and takes any float type for a
    // float parameter: everything is looked at first.
    let saved = store.get_all_tensors().map_err(|e| fault(e.to_string()))?;
    let ours = model.collect(None, None, false);
    for Stored { name, shape, dtype, .. } in &ours {
        let Some(found) = saved.get(name) else {
            return Err(fault(format!("it lacks the parameter `{name}`")));
        };
        if found.shape != *shape {
            return Err(fault(format!(
                "`{name}` has the shape {}, the model's has {}",
                sides(&found.shape),
                sides(shape)
            )));
        }
        if dtype.is_float() && found.dtype != *dtype {
            return Err(fault(format!("`{name}` is of {:?}, the model's of {dtype:?}", found.dtype)));
        }
    }
    for (name, tensor) in saved {
        if ours.iter().all(|own| own.name != *name) {
            return Err(fault(format!("`{name}` is not a parameter of this model")));
        }
        check_finite(&format!("`{name}`"), tensor).map_err(fault)?;
    }
    // An empty file for a model without parameters is right; all others have been held against it.
    let result = model.load_from(&mut store).map_err(|e| fault(e.to_string()))?;
    match result.unused.first() {
        None => Ok(()),
        Some(name) => Err(fault(format!("`{name}` is not a parameter of this model"))),
    }
}

fn sides(shape: &Shape) -> String {
    let sides: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", sides.join(", "))
}

/// A tensor of floats holds finite ones only.
fn check_finite(name: &str, tensor: &Stored) -> Result<(), String> {
    if !tensor.dtype.is_float() {
        return Ok(());
    }
    let bytes = tensor.to_bytes().map_err(|e| format!("{name}: {e}"))?;
    let data = TensorData::from_bytes(bytes, tensor.shape.clone(), tensor.dtype);
    match data.iter::<f64>().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => Err(format!("{name} holds {value}, which is not a finite number")),
    }
}

/// The optimiser's state. Burn writes its entries in no fixed order: compare contents,
/// not bytes.
///
/// # Errors
/// When the state cannot be written.
pub fn save_optimiser(optimiser: &ModuleOptimizer) -> Result<Vec<u8>, RunError> {
    optimiser.into_bytes().map(|bytes| bytes.to_vec()).map_err(|e| fault("optimiser", e))
}

/// Gives a fresh optimiser of the same kind the saved state back, for the parameters of `model`.
///
/// # Errors
/// When the bytes are not such a state, entries are lost on the way, or an entry is of a
/// parameter that the model does not have, of another shape or type than its parameter, or not
/// finite. Each value of such a state belongs to one weight, as with SGD, Adam and their kin.
pub fn load_optimiser<M: Module + ModuleSnapshot>(
    fresh: ModuleOptimizer,
    model: &M,
    bytes: &[u8],
) -> Result<ModuleOptimizer, RunError> {
    let fault = |why: String| fault("optimiser", why);
    let bytes = || Bytes::from_bytes_vec(bytes.to_vec());
    let saved = Reader::from_bytes(bytes()).map_err(|e| fault(e.to_string()))?;
    let ours: BTreeMap<u64, Stored> =
        model.collect(None, None, false).into_iter().filter_map(|own| Some((own.param_id?, own))).collect();
    let known = |id: Option<u64>| {
        let own = id.and_then(|id| ours.get(&id));
        own.ok_or_else(|| {
            fault("it is of a parameter that this model does not have: the state of another model".into())
        })
    };
    // Names are `<parameter id>.<entry>`, also where an entry holds no tensor.
    for name in saved.scalars().keys() {
        known(name.split('.').next().and_then(|id| id.parse().ok()))?;
    }
    let tensors = saved.into_tensors().map_err(|e| fault(e.to_string()))?;
    for tensor in &tensors {
        let own = known(tensor.param_id)?;
        let entry = tensor.name.split_once('.').map_or(tensor.name.as_str(), |(_, entry)| entry);
        let entry = format!("`{entry}` of `{}`", own.name);
        if tensor.shape != own.shape {
            let (found, expected) = (sides(&tensor.shape), sides(&own.shape));
            return Err(fault(format!("{entry} has the shape {found}, the parameter has {expected}")));
        }
        if tensor.dtype != own.dtype {
            return Err(fault(format!("{entry} is of {:?}, the parameter of {:?}", tensor.dtype, own.dtype)));
        }
        check_finite(&entry, tensor).map_err(fault)?;
    }
    let loaded = fresh.from_bytes(bytes()).map_err(|e| fault(e.to_string()))?;
    match loaded.to_record().len() {
        found if found == tensors.len() => Ok(loaded),
        found => Err(fault(format!("{} entries were saved, {found} of them fit this optimiser", tensors.len()))),
    }
}
