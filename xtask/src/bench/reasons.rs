//! Why a peer is faster than ours, where it is: written by hand, printed beside what was measured.

use super::peer::Variant;

/// The reason for rows of a program.
struct Reason {
    program: &'static str,
    /// What the case begins with.
    case: &'static str,
    /// The work; any when it is empty.
    work: &'static str,
    /// The number of threads; any when it is none.
    threads: Option<usize>,
    /// Whether the peer that is faster multiplies bf16 numbers; either when it is none.
    bf16: Option<bool>,
    why: &'static str,
}

/// The first that fits a row counts.
const REASONS: [Reason; 7] = [
    Reason {
        program: "memory",
        case: "chunked_",
        work: "",
        threads: None,
        bf16: None,
        why: "the rule in chunks is for a GPU and a composition of Burn's operations; a CPU uses the fused one, above",
    },
    Reason {
        program: "decode",
        case: "a9_",
        work: "",
        threads: None,
        bf16: None,
        why: "full attention is here for the comparison and not tuned: its cache is rotated anew and copied at every token",
    },
    Reason {
        program: "pmnist_step",
        case: "",
        work: "",
        threads: None,
        bf16: Some(true),
        why: "the processor's matrix unit multiplies bf16 several times faster than f32; ours computes in f32 throughout",
    },
    Reason {
        program: "unet",
        case: "",
        work: "",
        threads: None,
        bf16: Some(true),
        why: "the processor's matrix unit multiplies bf16 several times faster than f32; ours computes in f32 throughout",
    },
    Reason {
        program: "host",
        case: "",
        work: "",
        threads: Some(2),
        bf16: Some(true),
        why: "as at one thread, and the second core waits: 1.4 of two are busy (threads.txt), the operations being many and small",
    },
    Reason {
        program: "host",
        case: "",
        work: "",
        threads: Some(2),
        bf16: Some(false),
        why: "the second core waits: 1.4 of two are busy (threads.txt), the operations being many and small",
    },
    Reason {
        program: "host",
        case: "",
        work: "",
        threads: None,
        bf16: Some(true),
        why: "the processor's matrix unit multiplies bf16 several times faster than f32; ours computes in f32 throughout",
    },
];

/// Why ours is slower than the peer's best variant at so many threads.
pub fn of(program: &str, case: &str, work: &str, threads: usize, best: Variant) -> Option<&'static str> {
    let fits = |reason: &&Reason| {
        reason.program == program
            && case.starts_with(reason.case)
            && (reason.work.is_empty() || reason.work == work)
            && reason.threads.is_none_or(|n| n == threads)
            && reason.bf16.is_none_or(|bf16| bf16 == best.rounds())
    };
    REASONS.iter().find(fits).map(|reason| reason.why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::programs::PROGRAMS;

    #[test]
    fn a_reason_is_that_of_a_program_a_case_and_a_kind() {
        let why = of("memory", "chunked_d16", "both", 1, Variant::Compile).unwrap();
        assert!(why.contains("GPU"), "{why}");
        assert_eq!(of("memory", "fused_d16", "both", 1, Variant::Compile), None);
        assert_eq!(of("conv", "chunked_d16", "both", 1, Variant::Eager), None);
        assert!(of("unet", "16x1-2", "step", 1, Variant::Both).is_some());
        assert_eq!(of("unet", "16x1-2", "step", 1, Variant::Compile), None, "f32 is no reason");
        let host = |threads, variant| of("host", "a0", "step", threads, variant);
        assert_ne!(host(1, Variant::Both), host(2, Variant::Both));
        assert_eq!(host(1, Variant::Compile), None, "f32 at one thread");
        for reason in &REASONS {
            assert!(PROGRAMS.iter().any(|program| program.name == reason.program), "{}", reason.program);
            assert!(!reason.why.contains(['|', '\n']), "{}: it stands in a table", reason.why);
        }
    }
}
