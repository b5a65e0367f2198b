//! Parameters by path, on their way into a model.

use std::collections::BTreeMap;

use crate::error::MemoryError;

type Read<'a> = Box<dyn FnOnce() -> Result<Vec<f32>, MemoryError> + 'a>;

/// Parameters by path. None is read before a model asks for it, so that not all of them need lie in memory twice.
#[derive(Default)]
pub struct Tensors<'a> {
    entries: BTreeMap<String, Entry<'a>>,
}

struct Entry<'a> {
    shape: Vec<usize>,
    read: Read<'a>,
}

impl std::fmt::Debug for Tensors<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.entries.iter().map(|(path, entry)| (path, &entry.shape))).finish()
    }
}

impl<'a> Tensors<'a> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter, or replaces the one at its path: `read` is called once, when a model asks for it, and gives its
    /// values row-major.
    pub fn insert(
        &mut self,
        path: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        read: impl FnOnce() -> Result<Vec<f32>, MemoryError> + 'a,
    ) {
        self.entries.insert(path.into(), Entry { shape: shape.into(), read: Box::new(read) });
    }

    /// Adds a parameter whose values are at hand.
    pub fn insert_values(&mut self, path: impl Into<String>, shape: impl Into<Vec<usize>>, values: Vec<f32>) {
        self.insert(path, shape, || Ok(values));
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The values at a path.
    pub(super) fn take(&mut self, path: &str, expected: &[usize]) -> Result<Vec<f32>, MemoryError> {
        let Some(Entry { shape, read }) = self.entries.remove(path) else {
            return Err(MemoryError::MissingTensor { path: path.into() });
        };
        let wrong =
            |found: Vec<usize>| MemoryError::TensorShape { path: path.into(), found, expected: expected.to_vec() };
        if shape != expected {
            return Err(wrong(shape));
        }
        let values = read()?;
        match values.len() == shape.iter().product::<usize>() {
            true => Ok(values),
            false => Err(wrong(vec![values.len()])),
        }
    }

    /// # Errors
    /// When some were not asked for.
    pub(super) fn end(self) -> Result<(), MemoryError> {
        match self.entries.keys().next() {
            None => Ok(()),
            Some(path) => Err(MemoryError::LeftOver { path: path.clone(), count: self.entries.len() }),
        }
    }
}
