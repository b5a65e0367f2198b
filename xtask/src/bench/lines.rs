//! The lines that a bench and its peer print (`plasticity_core::testing::peer`), and the record of a run's rounds.

use std::collections::BTreeMap;

/// What one side printed in one round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Side {
    /// The first line: processor or version, threads, allocator.
    pub machine: String,
    /// The losses of the first steps, by name.
    pub losses: BTreeMap<String, Vec<f64>>,
    /// Milliseconds of what, by name, in the order in which they were printed.
    pub ms: Vec<(String, String, f64)>,
}

impl Side {
    /// Reads `NAME losses A B C` and `NAME ms WHAT X WHAT Y`; passes over lines of other kinds.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let machine = lines.next().ok_or("it printed nothing")?.trim().to_owned();
        let mut side = Self { machine, ..Self::default() };
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |word: &str| match word.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number),
                _ => Err(format!("`{word}` is not a number in the line `{line}`")),
            };
            match words[..] {
                [name, "losses", ref values @ ..] if !values.is_empty() => {
                    let values = values.iter().copied().map(number).collect::<Result<_, _>>()?;
                    side.losses.insert(name.to_owned(), values);
                }
                [name, "ms", ref pairs @ ..] if !pairs.is_empty() && pairs.len().is_multiple_of(2) => {
                    for pair in pairs.chunks_exact(2) {
                        side.ms.push((name.to_owned(), pair[0].to_owned(), number(pair[1])?));
                    }
                }
                [_, "losses" | "ms", ..] => return Err(format!("the line `{line}` is cut short")),
                _ => {}
            }
        }
        if side.ms.is_empty() {
            return Err("it printed no line `NAME ms WHAT X`".into());
        }
        Ok(side)
    }

    /// Milliseconds of `what` under `name`.
    pub fn time(&self, name: &str, what: &str) -> Option<f64> {
        self.ms.iter().find(|(n, w, _)| n == name && w == what).map(|(.., ms)| *ms)
    }
}

/// Ours and the peer's lines of each round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rounds(pub Vec<(Side, Side)>);

/// What stands above each side's output in a record.
fn heading(round: usize, side: &str) -> String {
    format!("== round {round}, {side}")
}

/// The record of raw outputs.
pub fn record(command: &str, rounds: &[(String, String)]) -> String {
    let mut text = format!("{command}\n");
    for (i, (ours, peer)) in rounds.iter().enumerate() {
        for (side, output) in [("ours", ours), ("PyTorch", peer)] {
            text += &format!("{}\n{}\n", heading(i + 1, side), output.trim_end());
        }
    }
    text
}

impl Rounds {
    /// Reads a record.
    pub fn parse(record: &str) -> Result<Self, String> {
        let mut outputs = record.split("\n== round ").skip(1).map(|part| {
            let (heading, output) = part.split_once('\n').unwrap_or((part, ""));
            Side::parse(output).map_err(|what| format!("round {heading}: {what}"))
        });
        let mut rounds = Vec::new();
        while let Some(ours) = outputs.next() {
            let peer = outputs.next().ok_or("the last round lacks the peer")?;
            rounds.push((ours?, peer?));
        }
        if rounds.is_empty() { Err("it holds no round".into()) } else { Ok(Self(rounds)) }
    }

    /// The largest difference of two losses in any round, relative to the peer's; 0 where none are printed.
    pub fn disagreement(&self) -> Result<f64, String> {
        let mut worst = 0.0f64;
        for (ours, peer) in &self.0 {
            let names = |side: &Side| side.losses.keys().cloned().collect::<Vec<_>>();
            if names(ours) != names(peer) {
                return Err(format!("ours prints losses of {:?}, the peer of {:?}", names(ours), names(peer)));
            }
            for (name, losses) in &ours.losses {
                let theirs = &peer.losses[name];
                if losses.len() != theirs.len() {
                    return Err(format!("`{name}` has {} losses here and {} there", losses.len(), theirs.len()));
                }
                let apart = losses.iter().zip(theirs).map(|(a, b)| (a - b).abs() / b.abs().max(1e-12));
                worst = apart.fold(worst, f64::max);
            }
        }
        Ok(worst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "machine: x\nnaive losses 2.30000 2.1 2.0\nnaive ms step 5.5 call 2\nnaive firing 0.1 0.2\n";
    const PEER: &str = "torch 2\nnaive losses 2.30023 2.1 2.0\nnaive ms step 11 call 3 loop 7\n";

    #[test]
    fn a_sides_lines() {
        let side = Side::parse(OURS).unwrap();
        assert_eq!(side.machine, "machine: x");
        assert_eq!(side.losses["naive"], [2.3, 2.1, 2.0]);
        assert_eq!((side.time("naive", "step"), side.time("naive", "loop")), (Some(5.5), None));
        for (text, part) in [
            ("", "printed nothing"),
            ("m\nnaive losses 1\n", "no line"),
            ("m\nnaive ms step\n", "cut short"),
            ("m\nnaive losses\n", "cut short"),
            ("m\nnaive ms step x\n", "`x` is not a number"),
            ("m\nnaive ms step NaN\n", "`NaN` is not a number"),
        ] {
            let error = Side::parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let outputs = vec![(OURS.to_owned(), PEER.to_owned()), (OURS.to_owned(), PEER.to_owned())];
        let text = record("cargo xtask bench", &outputs);
        let rounds = Rounds::parse(&text).unwrap();
        let sides = (Side::parse(OURS).unwrap(), Side::parse(PEER).unwrap());
        assert_eq!(rounds, Rounds(vec![sides.clone(), sides]));
        assert!(Rounds::parse("cargo xtask bench\n").is_err());
        assert!(Rounds::parse(&text[..text.rfind("== round 2, PyTorch").unwrap()]).is_err());
    }

    #[test]
    fn losses_must_agree() {
        let of = |ours: &str, peer: &str| Rounds(vec![(Side::parse(ours).unwrap(), Side::parse(peer).unwrap())]);
        assert!((of(OURS, PEER).disagreement().unwrap() - 1e-4).abs() < 1e-6);
        let bare = "m\nnaive ms step 1\n";
        assert_eq!(of(bare, bare).disagreement(), Ok(0.0));
        assert!(of(OURS, bare).disagreement().unwrap_err().contains("naive"));
        assert!(of(OURS, &PEER.replace(" 2.0\n", "\n")).disagreement().unwrap_err().contains("3 losses here and 2"));
    }
}
