//! What a user can do about an error of the file system.

use std::error::Error;
use std::io::{self, ErrorKind};

use plasticity_core::error::{DataError, RunError};

/// The end of an error's line: what mends it, if that is known from its cause.
pub fn of(error: &(dyn Error + 'static)) -> &'static str {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.filter_map(kind).find_map(known).unwrap_or_default()
}

/// Of an error of the system, also within one of ours, which says its cause itself.
fn kind(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    let ours = match error.downcast_ref::<RunError>() {
        Some(RunError::Io { cause, .. } | RunError::Data(DataError::Io { cause, .. })) => Some(cause),
        _ => match error.downcast_ref::<DataError>() {
            Some(DataError::Io { cause, .. }) => Some(cause),
            _ => error.downcast_ref::<io::Error>(),
        },
    };
    ours.map(io::Error::kind)
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

    use super::*;

    #[test]
    fn a_full_disk_is_known_however_deep_it_lies() {
        let full = || RunError::io(Path::new("runs/x"), ErrorKind::StorageFull.into());
        assert!(of(&full()).contains("free some space"));
        let data = DataError::io(Path::new("runs/x"), ErrorKind::StorageFull.into());
        assert!(of(&data).contains("free some space"));
        assert!(of(&RunError::Data(data)).contains("free some space"));
        let wrapped: anyhow::Result<()> = Err(full()).context("cannot write the report");
        assert!(of(wrapped.unwrap_err().as_ref()).contains("free some space"));
        assert_eq!(of(&RunError::io(Path::new("runs/x"), ErrorKind::NotFound.into())), "");
    }
}
