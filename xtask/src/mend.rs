//! What a user can do about an error of the file system.

use std::error::Error;
use std::io::{self, ErrorKind};

/// The end of an error's line: what mends it, if that is known from its cause.
pub fn of(error: &(dyn Error + 'static)) -> &'static str {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let mut kinds = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.find_map(known).unwrap_or_default()
}

fn known(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::StorageFull => Some("; free some space, then the same command goes on"),
        ErrorKind::QuotaExceeded => Some("; free some of your quota, then the same command goes on"),
        ErrorKind::ReadOnlyFilesystem => Some("; name a place that can be written with --out"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::Context;
    use plasticity_core::error::RunError;

    use super::*;

    #[test]
    fn a_full_disk_is_known_however_deep_it_lies() {
        let full = || RunError::io(Path::new("runs/x"), ErrorKind::StorageFull.into());
        assert!(of(&full()).contains("free some space"));
        let wrapped: anyhow::Result<()> = Err(full()).context("cannot write the report");
        assert!(of(wrapped.unwrap_err().as_ref()).contains("free some space"));
        assert_eq!(of(&RunError::io(Path::new("runs/x"), ErrorKind::NotFound.into())), "");
    }
}
