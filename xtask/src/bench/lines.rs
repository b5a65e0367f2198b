//! The lines that a bench and its peer print (`plasticity_core::testing::peer` and `peer.py`), and the record of a run.

use std::collections::BTreeMap;

use super::peer::{VARIANTS, Variant};

/// What one side printed in one round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Side {
    /// The first line: processor or version, threads, allocator.
    pub machine: String,
    /// The losses of the first steps, by name.
    pub losses: BTreeMap<String, Vec<f64>>,
    /// Milliseconds of what, by name, in the order in which they were printed.
    pub ms: Vec<(String, String, f64)>,
    /// Seconds of all first calls, in which something is compiled; 0 where nothing is.
    pub compile: f64,
    /// Why this side cannot run here.
    pub left_out: Option<String>,
}

impl Side {
    /// Reads `NAME losses A B C`, `NAME ms WHAT X WHAT Y`, `NAME compile X` and `left out: REASON`; passes over lines of
    /// other kinds.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let machine = lines.next().ok_or("it printed nothing")?.trim().to_owned();
        let mut side = Self { machine, ..Self::default() };
        for line in lines {
            if let Some(reason) = line.strip_prefix("left out: ") {
                side.left_out = Some(reason.trim().to_owned());
                continue;
            }
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
                [_, "compile", seconds] => side.compile += number(seconds)?,
                [_, "losses" | "ms" | "compile", ..] => return Err(format!("the line `{line}` is cut short")),
                _ => {}
            }
        }
        if side.ms.is_empty() && side.left_out.is_none() {
            return Err("it printed no line `NAME ms WHAT X`".into());
        }
        Ok(side)
    }

    /// Milliseconds of `what` under `name`.
    pub fn time(&self, name: &str, what: &str) -> Option<f64> {
        self.ms.iter().find(|(n, w, _)| n == name && w == what).map(|(.., ms)| *ms)
    }

    /// The largest difference of two losses of this side and a peer, relative to the peer's; 0 where none are printed.
    fn apart(&self, peer: &Self) -> Result<f64, String> {
        let names = |side: &Self| side.losses.keys().cloned().collect::<Vec<_>>();
        if names(self) != names(peer) {
            return Err(format!("ours prints losses of {:?}, the peer of {:?}", names(self), names(peer)));
        }
        let mut worst = 0.0f64;
        for (name, losses) in &self.losses {
            let theirs = &peer.losses[name];
            if losses.len() != theirs.len() {
                return Err(format!("`{name}` has {} losses here and {} there", losses.len(), theirs.len()));
            }
            let apart = losses.iter().zip(theirs).map(|(a, b)| (a - b).abs() / b.abs().max(1e-12));
            worst = apart.fold(worst, f64::max);
        }
        Ok(worst)
    }
}

/// What the sides printed in one round with one number of threads.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Of all sides.
    pub threads: usize,
    /// Our side.
    pub ours: Side,
    /// The peer's variants, in the order in which they ran.
    pub peers: Vec<(Variant, Side)>,
}

impl Round {
    /// The peer's side of this variant, where it ran.
    pub fn peer(&self, variant: Variant) -> Option<&Side> {
        let of = |(other, side): &(Variant, Side)| *other == variant && side.left_out.is_none();
        self.peers.iter().find(|peer| of(peer)).map(|(_, side)| side)
    }
}

/// All rounds of a program.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rounds(pub Vec<Round>);

/// The raw output of one side in one round.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// From 1 on.
    pub round: usize,
    /// Of this side.
    pub threads: usize,
    /// A variant of the peer; ours when there is none.
    pub variant: Option<Variant>,
    /// What it printed.
    pub text: String,
}

/// The record of raw outputs.
pub fn record(command: &str, outputs: &[Output]) -> String {
    let mut text = format!("{command}\n");
    for Output { round, threads, variant, text: output } in outputs {
        let side = variant.map_or("ours", Variant::name);
        text += &format!("== round {round}, threads {threads}, {side}\n{}\n", output.trim_end());
    }
    text
}

/// The threads and the side that a heading names: `1, threads 2, eager`, or `1, ours` as it was with one thread alone.
fn heading(heading: &str) -> Option<(usize, &str)> {
    let words: Vec<&str> = heading.split(", ").collect();
    match words[..] {
        [_, side] => Some((1, side)),
        [_, threads, side] => Some((threads.strip_prefix("threads ")?.parse().ok()?, side)),
        _ => None,
    }
}

impl Rounds {
    /// Reads a record.
    pub fn parse(record: &str) -> Result<Self, String> {
        let mut rounds: Vec<Round> = Vec::new();
        for part in record.split("\n== round ").skip(1) {
            let (title, output) = part.split_once('\n').unwrap_or((part, ""));
            let wrong = |what: String| format!("round {title}: {what}");
            let (threads, name) = heading(title).ok_or_else(|| wrong("this heading says no side".into()))?;
            let side = Side::parse(output).map_err(wrong)?;
            if name == "ours" {
                rounds.push(Round { threads, ours: side, peers: Vec::new() });
                continue;
            }
            let variant = Variant::of(name).ok_or_else(|| wrong("no such side".into()))?;
            match rounds.last_mut().filter(|round| round.threads == threads && round.peer(variant).is_none()) {
                Some(round) => round.peers.push((variant, side)),
                None => return Err(wrong("no side of ours stands before it".into())),
            }
        }
        match rounds.iter().find(|round| round.peers.is_empty()) {
            Some(round) => Err(format!("a round with threads {} lacks the peer", round.threads)),
            None if rounds.is_empty() => Err("it holds no round".into()),
            None => Ok(Self(rounds)),
        }
    }

    /// The numbers of threads, rising.
    pub fn threads(&self) -> Vec<usize> {
        let mut threads: Vec<usize> = self.0.iter().map(|round| round.threads).collect();
        threads.sort_unstable();
        threads.dedup();
        threads
    }

    /// Those with this number of threads.
    pub fn with(&self, threads: usize) -> Vec<&Round> {
        self.0.iter().filter(|round| round.threads == threads).collect()
    }

    /// For each variant that ran, the largest difference of a loss of ours and of its in any round.
    pub fn disagreements(&self) -> Result<Vec<(Variant, f64)>, String> {
        let mut all = Vec::new();
        for variant in VARIANTS {
            let sides = self.0.iter().filter_map(|round| Some((&round.ours, round.peer(variant)?)));
            let apart: Vec<f64> = sides
                .map(|(ours, peer)| ours.apart(peer).map_err(|what| format!("{}: {what}", variant.name())))
                .collect::<Result<_, _>>()?;
            if !apart.is_empty() {
                all.push((variant, apart.into_iter().fold(0.0, f64::max)));
            }
        }
        Ok(all)
    }

    /// Each variant that cannot run here, and why.
    pub fn left_out(&self) -> Vec<(Variant, &str)> {
        let sides = self.0.iter().flat_map(|round| &round.peers);
        let mut out: Vec<_> = sides.filter_map(|(variant, side)| Some((*variant, side.left_out.as_deref()?))).collect();
        out.sort_unstable();
        out.dedup();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "machine: x\nnaive losses 2.30000 2.1 2.0\nnaive ms step 5.5 call 2\nnaive firing 0.1 0.2\n";
    const PEER: &str = "torch 2\nnaive losses 2.30023 2.1 2.0\nnaive ms step 11 call 3 loop 7\n";

    fn round(threads: usize, ours: &str, peers: &[(Variant, &str)]) -> Round {
        let side = |text: &str| Side::parse(text).unwrap();
        let peers = peers.iter().map(|(variant, text)| (*variant, side(text))).collect();
        Round { threads, ours: side(ours), peers }
    }

    #[test]
    fn a_sides_lines() {
        let side = Side::parse(OURS).unwrap();
        assert_eq!(side.machine, "machine: x");
        assert_eq!(side.losses["naive"], [2.3, 2.1, 2.0]);
        assert_eq!((side.time("naive", "step"), side.time("naive", "loop")), (Some(5.5), None));
        let side = Side::parse("m\nnaive compile 20.5\nnaive ms step 1\nhlop compile 4\nhlop ms step 1\n").unwrap();
        assert_eq!((side.compile, side.left_out), (24.5, None));
        let side = Side::parse("m\nleft out: it has no bf16 products\n").unwrap();
        assert_eq!(side.left_out.as_deref(), Some("it has no bf16 products"));
        for (text, part) in [
            ("", "printed nothing"),
            ("m\nnaive losses 1\n", "no line"),
            ("m\nnaive ms step\n", "cut short"),
            ("m\nnaive losses\n", "cut short"),
            ("m\nnaive compile\n", "cut short"),
            ("m\nnaive ms step x\n", "`x` is not a number"),
            ("m\nnaive ms step NaN\n", "`NaN` is not a number"),
        ] {
            let error = Side::parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut outputs = Vec::new();
        for (i, threads) in [1, 2, 1, 2].into_iter().enumerate() {
            let mut add = |variant, text: &str| {
                outputs.push(Output { round: 1 + i / 2, threads, variant, text: text.to_owned() });
            };
            add(None, OURS);
            add(Some(Variant::Eager), PEER);
            add(Some(Variant::Both), "torch 2\nleft out: no bf16\n");
        }
        let text = record("cargo xtask bench", &outputs);
        let rounds = Rounds::parse(&text).unwrap();
        let peers = [(Variant::Eager, PEER), (Variant::Both, "torch 2\nleft out: no bf16\n")];
        let [one, two] = [1, 2].map(|threads| round(threads, OURS, &peers));
        assert_eq!(rounds, Rounds(vec![one.clone(), two.clone(), one.clone(), two]));
        assert_eq!((rounds.threads(), rounds.with(1)), (vec![1, 2], vec![&one, &one]));
        assert_eq!(rounds.left_out(), [(Variant::Both, "no bf16")]);
        assert!(one.peer(Variant::Eager).is_some() && one.peer(Variant::Both).is_none());
        let ours = "c\n== round 1, threads 1, ours\n".to_owned() + OURS;
        for (text, part) in [
            ("cargo xtask bench\n".to_owned(), "no round"),
            (ours.clone(), "threads 1 lacks the peer"),
            (format!("{ours}== round 1, threads 2, eager\n{PEER}"), "no side of ours"),
            (format!("{ours}== round 1, threads 1, jax\n{PEER}"), "no such side"),
            (format!("{ours}== round 1, eager, threads 1\n{PEER}"), "says no side"),
        ] {
            let error = Rounds::parse(&text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_record_of_one_thread_and_one_variant_says_neither() {
        let text = format!("cargo xtask bench\n== round 1, ours\n{OURS}== round 1, PyTorch\n{PEER}");
        assert_eq!(Rounds::parse(&text).unwrap(), Rounds(vec![round(1, OURS, &[(Variant::Eager, PEER)])]));
    }

    #[test]
    fn losses_of_each_variant_must_agree() {
        let of = |ours: &str, peers: &[(Variant, &str)]| Rounds(vec![round(1, ours, peers)]).disagreements();
        let far = PEER.replace("2.1", "2.0");
        let apart = of(OURS, &[(Variant::Eager, PEER), (Variant::Autocast, &far)]).unwrap();
        assert_eq!(apart.iter().map(|(variant, _)| *variant).collect::<Vec<_>>(), [Variant::Eager, Variant::Autocast]);
        assert!((apart[0].1 - 1e-4).abs() < 1e-6 && (apart[1].1 - 0.05).abs() < 1e-6, "{apart:?}");
        let bare = "m\nnaive ms step 1\n";
        assert_eq!(of(bare, &[(Variant::Eager, bare)]), Ok(vec![(Variant::Eager, 0.0)]));
        assert!(of(OURS, &[(Variant::Compile, bare)]).unwrap_err().contains("compile: ours prints losses of"));
        let short = PEER.replace(" 2.0\n", "\n");
        assert!(of(OURS, &[(Variant::Eager, &short)]).unwrap_err().contains("3 losses here and 2"));
    }
}
