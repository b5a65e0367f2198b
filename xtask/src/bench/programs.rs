//! The benches that have a peer.

use plasticity_core::error::ConfigError;

/// The name of the criterion benches, and of their record.
pub const CRITERION: &str = "criterion";

/// A bench that has a peer.
pub struct Program {
    /// Of the bench and of its peer's file.
    pub name: &'static str,
    /// The package of the bench.
    pub package: &'static str,
    /// Its folder in `crates`.
    pub folder: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    /// Whether it is a network, which a user of PyTorch may run under autocast.
    pub network: bool,
}

/// All of them, in the order in which they run.
pub const PROGRAMS: [Program; 7] = [
    Program {
        name: "pmnist_step",
        package: "hebbian-snn",
        folder: "hebbian-snn",
        about: "a training step of permuted MNIST, 784-800-800-10, batch 64, 20 time steps of DSR",
        network: true,
    },
    Program {
        name: "unet",
        package: "dale-langevin",
        folder: "dale-langevin",
        about: "the score network on 64 images of 14x14: a training step, a call, 20 calls of a sampler",
        network: true,
    },
    Program {
        name: "client_round",
        package: "hidenseek",
        folder: "hidenseek",
        about: "a client's round, 196-100-50-10, 40 images, 5 epochs in batches of 20, by the clock and of the processor",
        network: true,
    },
    Program {
        name: "conv",
        package: "plasticity-core",
        folder: "core",
        about: "the passes of a convolution, batch 64",
        network: false,
    },
    Program {
        name: "memory",
        package: "synaptic-resonance",
        folder: "synaptic-resonance",
        about: "the memory's rule, batch 8, 256 tokens, two heads, fused and in chunks of 32, forward and with backward, \
                against chunks of 32 with the faster of two inverses",
        network: false,
    },
    Program {
        name: "host",
        package: "synaptic-resonance",
        folder: "synaptic-resonance",
        about: "a training step of two layers with a window of 64 on 256 tokens: window alone (a0), blended keys (a11), \
                memory (sr)",
        network: true,
    },
    Program {
        name: "decode",
        package: "synaptic-resonance",
        folder: "synaptic-resonance",
        about: "a token after a context of 256, 1,024 and 4,096, four layers, d 256: window of 64 (a0), with memory (sr), \
                full attention (a9)",
        network: true,
    },
];

/// The programs of these names, in their own order, and whether the criterion benches are among them.
///
/// # Errors
/// When a name is that of none.
pub fn chosen(names: &[String]) -> Result<(Vec<&'static Program>, bool), ConfigError> {
    let known = PROGRAMS.iter().map(|program| program.name).chain([CRITERION]).collect::<Vec<_>>();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(ConfigError::new(format!("no bench `{name}` has a peer: name some of {}", known.join(", "))));
    }
    let named = |name: &str| names.is_empty() || names.iter().any(|other| other == name);
    Ok((PROGRAMS.iter().filter(|program| named(program.name)).collect(), named(CRITERION)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root;

    #[test]
    fn names_are_those_of_benches_that_have_a_peer() {
        let names = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
            let (programs, criterion) = chosen(&asked).unwrap();
            (programs.into_iter().map(|program| program.name).collect::<Vec<_>>(), criterion)
        };
        assert_eq!(names(&["conv", "unet"]), (vec!["unet", "conv"], false));
        assert_eq!(names(&["criterion"]), (Vec::new(), true));
        let (all, criterion) = names(&[]);
        assert!(all.len() == PROGRAMS.len() && criterion);
        for program in &PROGRAMS {
            let folder = root::workspace().join("crates").join(program.folder).join("benches");
            assert!(folder.join(format!("{}.rs", program.name)).is_file());
            let peer = std::fs::read_to_string(folder.join(format!("peers/{}.py", program.name))).unwrap();
            let operator = peer.contains("network=False");
            assert_eq!(operator, !program.network, "{}: only a peer of a network has --autocast", program.name);
        }
    }
}
