//! Numbers, names and messages as a reader sees them.

use plasticity_core::run::record::{Direction, MetricInfo, Profile};
use plasticity_core::stats::Estimate;

use super::model::{DataSet, Experiment, Report, Used};

/// A value in its unit: fractions in percent with two decimals, counts whole, anything
/// else with four significant digits.
pub fn number(value: f64, unit: &str) -> String {
    with_decimals(value, unit, decimals(value, unit))
}

/// `90.32 [89.80, 90.84]`.
pub fn interval(e: &Estimate, unit: &str) -> String {
    let places = decimals(e.mean.abs().max(e.low.abs()).max(e.high.abs()), unit);
    let show = |v| with_decimals(v, unit, places);
    format!("{} [{}, {}]", show(e.mean), show(e.low), show(e.high))
}

/// The unit behind a value in running text.
pub fn unit_suffix(unit: &str) -> String {
    match unit {
        "" => String::new(),
        "fraction" => " %".into(),
        other => format!(" {other}"),
    }
}

/// The unit behind a difference in running text.
pub fn difference_suffix(unit: &str) -> String {
    if unit == "fraction" { " points".into() } else { unit_suffix(unit) }
}

/// A column's heading: title, unit and which way is better.
pub fn heading(info: &MetricInfo) -> String {
    let arrow = arrow(info.direction);
    match info.unit.as_str() {
        "" => format!("{}{arrow}", info.title),
        "fraction" => format!("{} (%){arrow}", info.title),
        unit => format!("{} ({unit}){arrow}", info.title),
    }
}

/// The arrow that says which way a metric is better.
fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::Higher => " ↑",
        Direction::Lower => " ↓",
        Direction::Neutral => "",
    }
}

/// `full` or `reduced`.
pub fn profile(profile: Profile) -> &'static str {
    match profile {
        Profile::Full => "full",
        Profile::Reduced => "reduced",
    }
}

/// `mnist (variant idx, exact)`.
pub fn data_set(data: Option<&DataSet>) -> String {
    let Some(data) = data else {
        return "no data set".into();
    };
    let kind = match (data.built_in, data.exact) {
        (true, _) => "built in, generated",
        (false, true) => "exact",
        (false, false) => "not the published bytes",
    };
    format!("{} (variant {}, {kind})", data.name, data.variant)
}

/// What stands at every table: data, profile, seeds, threads, device.
pub fn setting(report: &Report, experiment: &Experiment) -> String {
    format!(
        "Data: {}. Profile: {}. {}. {}, device {}.",
        data_set(experiment.data.as_ref()),
        profile(report.profile),
        seeds(&experiment.seeds(), experiment.used()),
        count(report.threads, "thread"),
        report.device,
    )
}

/// `Seeds 0 to 4 (n = 5)`: n is the number of seeds that have a result, which differs between arms when some failed.
pub fn seeds(seeds: &[u64], used: Used) -> String {
    let consecutive = seeds.windows(2).all(|w| w[1] == w[0].wrapping_add(1));
    let named = match seeds {
        [] => return "No seeds".into(),
        [one] => format!("Seed {one}"),
        [first, .., last] if consecutive => format!("Seeds {first} to {last}"),
        _ => format!("Seeds {}", list(seeds)),
    };
    let Used { least, most } = used;
    if least == most { format!("{named} (n = {most})") } else { format!("{named} (n = {least} to {most})") }
}

/// Seeds in a row: `0, 1, 7`.
pub fn list(seeds: &[u64]) -> String {
    seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

/// The seeds of all experiments: `Seeds 0 to 4 (n = 5), seeds 0 to 2 (n = 3)`.
pub fn all_seeds(report: &Report) -> String {
    let lists: Vec<String> = report.seed_lists().iter().map(|(list, used)| seeds(list, *used)).collect();
    lists.join(", ").replace(", S", ", s")
}

/// `1 thread`, `2 threads`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// Letters and digits, with single hyphens between them.
pub fn slug(name: &str) -> String {
    let parts = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-")
}

/// Takes the directories out of absolute paths, so that a message can be shown on any
/// machine: `/home/me/mnist/a.gz: truncated` becomes `…/a.gz: truncated`. Addresses
/// with a scheme stay.
pub fn scrub(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let starts_here =
            !before.is_alphanumeric() && !"/._-:~*".contains(before) || before == ':' && !rest.starts_with("//");
        let length = if starts_here { absolute_path(rest) } else { 0 };
        if length > 0 {
            let path = &rest[..length];
            let name = path.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next();
            out.push_str("…/");
            out.push_str(name.unwrap_or_default());
            before = 'x';
            rest = &rest[length..];
        } else {
            out.push(c);
            before = c;
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// Length in bytes of the absolute path that `text` begins with, or 0.
fn absolute_path(text: &str) -> usize {
    let bytes = text.as_bytes();
    let drive = bytes.len() > 3
        && bytes[0].is_ascii_alphabetic()
        && bytes[1] == b':'
        && matches!(bytes[2], b'\\' | b'/')
        && bytes[3] != b'/';
    let rooted = bytes.len() > 1 && matches!(bytes[0], b'/') && bytes[1] != b'/';
    let home = text.starts_with("~/");
    if !(drive || rooted || home) {
        return 0;
    }
    let skip = if drive { 2 } else { 0 };
    let end = text[skip..].find(|c: char| c.is_whitespace() || "\"'`,;:()[]{}<>|".contains(c));
    let path = &text[..end.map_or(text.len(), |e| e + skip)];
    // "and/or", " / " and a single "/word" are no paths worth hiding.
    let parts = path.split(['/', '\\']).filter(|p| !p.is_empty()).count();
    if drive || home || parts >= 2 { path.len() } else { 0 }
}

fn decimals(value: f64, unit: &str) -> usize {
    match unit {
        "fraction" => 2,
        "bytes" => 0,
        _ if value == 0.0 => 0,
        _ => (3 - value.abs().log10().floor() as i32).clamp(0, 9) as usize,
    }
}

fn with_decimals(value: f64, unit: &str, places: usize) -> String {
    let shown = if unit == "fraction" { 100.0 * value } else { value };
    if unit != "fraction" && shown.fract() == 0.0 && shown.abs() < 1e15 {
        return grouped(shown);
    }
    let magnitude = shown.abs();
    if unit != "fraction" && magnitude != 0.0 && !(1e-4..1e7).contains(&magnitude) {
        return format!("{shown:.3e}");
    }
    let text = format!("{shown:.places$}");
    // No "-0.00".
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|c| matches!(c, '0' | '.')) => digits.into(),
        _ => text,
    }
}

/// A whole number with commas: `1,234,567`.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    if value < 0.0 { format!("-{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_their_units() {
        let cases = [
            (0.90321, "fraction", "90.32"),
            (-0.000001, "fraction", "0.00"),
            (1_234_567.0, "bytes", "1,234,567"),
            (-999.0, "", "-999"),
            (0.0, "", "0"),
            (2.71459, "", "2.715"),
            (123.456, "s", "123.5"),
            (0.0123456, "", "0.01235"),
            (1.5e-7, "", "1.500e-7"),
            (2.5e9 + 0.5, "", "2.500e9"),
        ];
        for (value, unit, expected) in cases {
            assert_eq!(number(value, unit), expected);
        }
        let e = Estimate { n: 5, mean: 0.9032, sd: 0.004, low: 0.898, high: 0.9084 };
        assert_eq!(interval(&e, "fraction"), "90.32 [89.80, 90.84]");
    }

    #[test]
    fn seeds_in_words() {
        assert_eq!(seeds(&[0, 1, 2], Used::of(3)), "Seeds 0 to 2 (n = 3)");
        assert_eq!(seeds(&[2022, 1, 2], Used::of(3)), "Seeds 2022, 1, 2 (n = 3)");
        assert_eq!(seeds(&[7], Used::of(1)), "Seed 7 (n = 1)");
        // What was asked for is not what was had.
        assert_eq!(seeds(&[7], Used::of(0)), "Seed 7 (n = 0)");
        assert_eq!(seeds(&[0, 1, 2], Used { least: 1, most: 3 }), "Seeds 0 to 2 (n = 1 to 3)");
    }

    #[test]
    fn paths_of_a_machine_are_taken_out() {
        let cases = [
            ("/home/me/mnist/a.gz: truncated", "…/a.gz: truncated"),
            ("in '/data/x/y.bin' at byte 3", "in '…/y.bin' at byte 3"),
            ("mnist:/data/x/y.bin is gone", "mnist:…/y.bin is gone"),
            (r"C:\Users\me\a.gz is gone", "…/a.gz is gone"),
            ("~/data/a.gz", "…/a.gz"),
            ("tried https://example.org/mnist/a.gz", "tried https://example.org/mnist/a.gz"),
            ("and/or, 3 / 4, bytes/s", "and/or, 3 / 4, bytes/s"),
            ("test/3 and ./runs/quick/cell", "test/3 and ./runs/quick/cell"),
        ];
        for (text, expected) in cases {
            assert_eq!(scrub(text), expected);
        }
    }
}
