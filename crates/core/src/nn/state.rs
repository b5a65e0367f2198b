//! Models and optimisers as bytes, so that a resumed run goes on exactly.
//!
//! A model must have parameter ids that follow from the parameters' paths, as [`parameter`]
//! gives them: an optimiser's state is keyed by them, and Burn draws them at random otherwise.

use std::collections::BTreeMap;

use burn::module::{Module, Param, ParamId};
use burn::optim::ModuleOptimizer;
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{Bytes, Tensor};

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

/// Replaces the parameters of `model`.
///
/// # Errors
/// When a parameter is missing in the bytes, has another shape, or is not one of the
/// model's.
pub fn load_model<M: Module + ModuleSnapshot>(model: &mut M, bytes: &[u8]) -> Result<(), RunError> {
    let mut store = SafetensorsStore::from_bytes(Some(bytes.to_vec()));
    let result = model.load_from(&mut store).map_err(|e| fault("model.safetensors", e))?;
    match result.unused.first() {
        None => Ok(()),
        Some(name) => Err(fault("model.safetensors", format!("`{name}` is not a parameter of this model"))),
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

/// Gives a fresh optimiser of the same kind the saved state back.
///
/// # Errors
/// When the bytes are not such a state, or entries are lost on the way.
pub fn load_optimiser(fresh: ModuleOptimizer, bytes: &[u8]) -> Result<ModuleOptimizer, RunError> {
    let saved = burn::optim::OptimizerRecord::from_bytes(Bytes::from_bytes_vec(bytes.to_vec()))
        .map_err(|e| fault("optimiser", e))?
        .len();
    let loaded = fresh.from_bytes(Bytes::from_bytes_vec(bytes.to_vec())).map_err(|e| fault("optimiser", e))?;
    match loaded.to_record().len() {
        found if found == saved => Ok(loaded),
        found => Err(fault("optimiser", format!("{saved} entries were saved, {found} of them fit this optimiser"))),
    }
}
