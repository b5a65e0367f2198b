//! Real data in tests.

use super::{Lookup, Resolved, resolve};

/// The data set if it is on this machine, for a test that needs it; nothing is
/// downloaded. Without it the test prints `SKIPPED: needs <name>` and passes, unless
/// `PLASTICITY_REQUIRE_DATA=1`, as in CI: then it fails here. A damaged set always fails.
pub fn data_or_skip(name: &str) -> Option<Resolved> {
    let required = std::env::var("PLASTICITY_REQUIRE_DATA").is_ok_and(|value| value == "1");
    match resolve(&[name.to_string()], &Lookup::from_env(None, true)) {
        Ok((resolved, _)) => Some(resolved),
        Err(crate::error::DataError::Offline { .. }) if !required => {
            // The handle itself, not `println!`: the harness would swallow it.
            use std::io::Write;
            let _ = writeln!(std::io::stdout(), "SKIPPED: needs {name}");
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}
