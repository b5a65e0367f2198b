//! A paper at a glance: what came of its claims and printed values, as a sentence and as the rows of a forest plot.

use plasticity_core::run::record::{Side, Speaks};
use plasticity_core::stats::{ClaimVerdict, TargetVerdict};

use super::format::{self, count, number, unit_suffix};
use super::judge;
use super::model::{ClaimLine, Report, TargetLine};
use super::papers::Group;
use super::shown::{self, Spread};
use crate::text::capital;

/// What a claim against a paper, and a control, says of it.
pub const AGAINST: &str = "speaks against the paper";
/// See [`AGAINST`].
pub const CONTROL: &str = "control";

/// What a verdict comes to, of a claim and of a printed value alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It holds; the printed value is reproduced, or bettered.
    Holds,
    /// It fails; the printed value is missed.
    Fails,
    /// The sides do not differ by more than what counts as equal.
    NoDifference,
    /// The seeds do not say.
    Undecided,
    /// Nobody asked them.
    Unjudged,
}

/// A row of a forest plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The claim, or which printed value.
    pub text: String,
    /// What it says of the paper, where that must be said.
    pub said: Option<&'static str>,
    /// What came of it.
    pub mark: Mark,
    /// The same in a word.
    pub word: &'static str,
    /// What was found: of a claim the difference of its sides, above zero where it goes as claimed; of a printed value
    /// ours minus the printed one.
    pub found: Option<Spread>,
    /// By how much a claim says that its sides differ.
    pub margin: Option<f64>,
    /// Half the width of what counts as equal.
    pub within: Option<f64>,
    /// What was found in figures, as the tables have it.
    pub figures: String,
}

/// A paper at a glance.
#[derive(Debug, Clone, PartialEq)]
pub struct Glance {
    /// Its title.
    pub title: String,
    /// What came of it.
    pub sentence: String,
    /// Its claims.
    pub claims: Vec<Row>,
    /// Its printed values.
    pub printed: Vec<Row>,
}

/// A paper of a report at a glance.
pub fn of(report: &Report, group: &Group) -> Glance {
    let claims: Vec<&ClaimLine> = group.experiments.iter().flat_map(|n| report.claims_of(Some(*n))).collect();
    let targets: Vec<&TargetLine> = group.experiments.iter().flat_map(|n| report.targets_of(Some(*n))).collect();
    Glance {
        title: group.title().to_owned(),
        sentence: sentence(&claims, &targets),
        claims: claims.iter().map(|line| claim(report, line)).collect(),
        printed: targets.iter().map(|line| printed(report, line)).collect(),
    }
}

fn claim(report: &Report, line: &ClaimLine) -> Row {
    let (mark, word) = match &line.verdict {
        ClaimVerdict::Holds => (Mark::Holds, "holds"),
        ClaimVerdict::Fails => (Mark::Fails, "fails"),
        ClaimVerdict::NoDifference => (Mark::NoDifference, "no difference"),
        ClaimVerdict::Undecided => (Mark::Undecided, "undecided"),
        ClaimVerdict::NotJudged(_) => (Mark::Unjudged, "not judged"),
    };
    let found = line.difference.and_then(|_| shown::of_claim(report, &line.claim));
    let found = found.map(|found| if line.claim.relation == "<" { found.mirrored() } else { found });
    let figures = found.as_ref().map(|found| figures(report, line, found));
    Row {
        text: line.claim.text.clone(),
        said: said(line.claim.speaks),
        mark,
        word,
        margin: (line.claim.margin != 0.0).then_some(line.claim.margin),
        within: line.claim.equal_within,
        figures: figures.unwrap_or("–".into()),
        found,
    }
}

/// What was found, in figures: of a bound the value and the bound, else the difference in the claim's direction.
fn figures(report: &Report, line: &ClaimLine, found: &Spread) -> String {
    let value = |id: &str, metric: &str| {
        let (experiment, arm) = report.arms().find(|(_, arm)| arm.id == *id)?;
        shown::of_arm(experiment, &arm.of_seeds(&judge::common_seeds(report, &line.claim)), metric)
    };
    let (value, bound) = match (&line.claim.left, &line.claim.right) {
        (Side::Measured { arm, metric }, Side::Number(bound))
        | (Side::Number(bound), Side::Measured { arm, metric }) => (value(arm, metric), bound),
        _ => return format::difference(found, &line.unit),
    };
    let suffix = unit_suffix(&line.unit);
    let value = value.map_or("–".into(), |value| format::spread(&value, &line.unit));
    format!("{value}{suffix}; bound {}{suffix}", number(*bound, &line.unit))
}

/// What a claim says of its paper, where it is not what a claim is for.
pub fn said(speaks: Option<Speaks>) -> Option<&'static str> {
    match speaks {
        Some(Speaks::Against) => Some(AGAINST),
        Some(Speaks::Control) => Some(CONTROL),
        Some(Speaks::For) | None => None,
    }
}

fn printed(report: &Report, line: &TargetLine) -> Row {
    let (mark, word) = match &line.verdict {
        TargetVerdict::Reproduced => (Mark::Holds, "reproduced"),
        TargetVerdict::Better => (Mark::Holds, "better"),
        TargetVerdict::Worse => (Mark::Fails, "worse"),
        TargetVerdict::Different => (Mark::Fails, "different"),
        TargetVerdict::Inconclusive => (Mark::Undecided, "inconclusive"),
        TargetVerdict::NotComparable(_) => (Mark::Unjudged, "not comparable"),
    };
    let ours = ours(report, line);
    let figures = match &ours {
        Some(ours) => {
            let printed = number(line.target.value, &line.unit);
            format!("{} for {printed}{}", format::spread(ours, &line.unit), unit_suffix(&line.unit))
        }
        None => "–".into(),
    };
    Row {
        text: line.target.text.clone(),
        said: line.target.recalled.then_some("only recalled"),
        mark,
        word,
        found: ours.map(|ours| ours.minus(line.target.value)),
        margin: None,
        within: Some(line.target.tolerance),
        figures,
    }
}

/// What is shown of our value beside a printed one; `None` where no single arm has it.
pub fn ours(report: &Report, line: &TargetLine) -> Option<Spread> {
    line.ours?;
    let (experiment, arm) = report.arms().find(|(_, arm)| arm.id == line.target.arm)?;
    shown::of_arm(experiment, arm, &line.target.metric)
}

/// What came of a paper's claims and printed values, by what the claims say of it.
pub fn sentence(claims: &[&ClaimLine], targets: &[&TargetLine]) -> String {
    let kinds = [
        (Some(Speaks::For), "claim that speaks for the paper", "claims that speak for the paper"),
        (Some(Speaks::Against), "claim that speaks against it", "claims that speak against it"),
        (None, "claim", "claims"),
        (Some(Speaks::Control), "control", "controls"),
    ];
    let mut parts: Vec<String> = Vec::new();
    for (speaks, one, many) in kinds {
        let of_kind = claims.iter().filter(|line| line.claim.speaks == speaks);
        let found = tally(&of_kind.map(|line| &line.verdict).collect::<Vec<_>>());
        // "It" needs a paper to stand for, and a claim of which nothing is said is another beside those of which it is.
        let named = |words: &str| match (parts.is_empty(), speaks) {
            (true, _) => words.replace(" it", " the paper"),
            (false, None) => format!("other {words}"),
            (false, Some(_)) => words.to_owned(),
        };
        let part = part(&found, &named(one), &named(many));
        parts.extend(part);
    }
    let text = if parts.is_empty() { "No claim is judged here".into() } else { capital(&parts.join("; ")) };
    format!("{text}. {}", printed_values(targets))
}

/// How many have a verdict, in words for one and for several of them, those that there are.
type Tally = Vec<(usize, &'static str, &'static str)>;

fn tally(verdicts: &[&ClaimVerdict]) -> Tally {
    let n = |is: fn(&ClaimVerdict) -> bool| verdicts.iter().filter(|v| is(v)).count();
    let all = [
        (n(|v| *v == ClaimVerdict::Holds), "holds", "hold"),
        (n(|v| *v == ClaimVerdict::Fails), "fails", "fail"),
        (n(|v| *v == ClaimVerdict::NoDifference), "finds no difference", "find no difference"),
        (n(|v| *v == ClaimVerdict::Undecided), "is undecided", "are undecided"),
        (n(|v| matches!(v, ClaimVerdict::NotJudged(_))), "is not judged", "are not judged"),
    ];
    all.into_iter().filter(|(n, ..)| *n > 0).collect()
}

fn part(found: &Tally, one: &str, many: &str) -> Option<String> {
    let total: usize = found.iter().map(|(n, ..)| n).sum();
    Some(match found.as_slice() {
        [] => return None,
        [(1, verb, _)] => format!("the one {one} {verb}"),
        [(2, _, verb)] => format!("both {many} {verb}"),
        [(_, _, verb)] => format!("all {total} {many} {verb}"),
        _ => format!("of {total} {many} {}", listed(found)),
    })
}

fn listed(found: &Tally) -> String {
    let each = found.iter().map(|(n, one, many)| format!("{n} {}", if *n == 1 { one } else { many }));
    let each: Vec<String> = each.collect();
    match each.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        all => all.concat(),
    }
}

fn printed_values(targets: &[&TargetLine]) -> String {
    let n = |verdict: TargetVerdict| targets.iter().filter(|t| t.verdict == verdict).count();
    let all = [
        (n(TargetVerdict::Reproduced), "is reproduced", "are reproduced"),
        (n(TargetVerdict::Better), "is bettered", "are bettered"),
        (n(TargetVerdict::Worse), "comes out worse", "come out worse"),
        (n(TargetVerdict::Different), "comes out different", "come out different"),
        (n(TargetVerdict::Inconclusive), "is inconclusive", "are inconclusive"),
    ];
    let found: Tally = all.into_iter().filter(|(n, ..)| *n > 0).collect();
    let compared: usize = found.iter().map(|(n, ..)| n).sum();
    match (compared, found.as_slice()) {
        (1, [(_, verb, _)]) if targets.len() == 1 => format!("The one printed value {verb}."),
        (2, [(_, _, verb)]) if targets.len() == 2 => format!("Both printed values {verb}."),
        (n, [(_, _, verb)]) if targets.len() == n => format!("All {n} printed values {verb}."),
        (0, _) if targets.is_empty() => "No printed value is compared.".into(),
        (0, _) => format!("None of {} is compared.", count(targets.len(), "printed value")),
        (1, [(_, verb, _)]) => format!("Of {} 1 is compared and {verb}.", count(targets.len(), "printed value")),
        (_, [(_, _, verb)]) => {
            format!("Of {} {compared} are compared and {verb}.", count(targets.len(), "printed value"))
        }
        _ => format!("Of {} {compared} are compared: {}.", count(targets.len(), "printed value"), listed(&found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    fn line(speaks: Option<Speaks>, verdict: ClaimVerdict) -> ClaimLine {
        let claim = testing::claim("a beats b", "a", "acc", ">", "b", 0.0);
        let claim = plasticity_core::run::record::Claim { speaks, ..claim };
        ClaimLine { claim, formula: String::new(), unit: String::new(), verdict, difference: None, agree: 0 }
    }

    fn printed(verdict: TargetVerdict) -> TargetLine {
        TargetLine { target: testing::target("a", "acc", 0.5, 0.1), unit: "fraction".into(), ours: None, verdict }
    }

    fn say(claims: &[ClaimLine], targets: &[TargetLine]) -> String {
        sentence(&claims.iter().collect::<Vec<_>>(), &targets.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_sentence_counts_claims_by_what_they_say_of_the_paper() {
        use ClaimVerdict::*;
        let speaks = |speaks, verdicts: &[ClaimVerdict]| -> Vec<ClaimLine> {
            verdicts.iter().map(|v| line(speaks, v.clone())).collect()
        };
        let mut all = speaks(Some(Speaks::For), &[Holds, Undecided, Holds, Fails]);
        all.extend(speaks(Some(Speaks::Control), &[Holds, Holds]));
        all.extend(speaks(Some(Speaks::Against), &[NoDifference]));
        assert_eq!(
            say(&all, &[]),
            "Of 4 claims that speak for the paper 2 hold, 1 fails and 1 is undecided; the one claim that speaks against \
             it finds no difference; both controls hold. No printed value is compared."
        );
        assert_eq!(
            say(&speaks(Some(Speaks::Against), &[Holds, Fails]), &[]),
            "Of 2 claims that speak against the paper 1 holds and 1 fails. No printed value is compared."
        );
        // Claims of a summary from before they said so.
        assert_eq!(
            say(&speaks(None, &[Holds, NotJudged("one seed".into())]), &[]),
            "Of 2 claims 1 holds and 1 is not judged. No printed value is compared."
        );
        let mut mixed = speaks(Some(Speaks::For), &[Holds]);
        mixed.extend(speaks(None, &[Fails, Fails, Fails]));
        let said = say(&mixed, &[]);
        assert!(said.starts_with("The one claim that speaks for the paper holds; all 3 other claims fail."), "{said}");
        assert_eq!(say(&[], &[]), "No claim is judged here. No printed value is compared.");
    }

    #[test]
    fn it_says_how_many_printed_values_are_compared() {
        let one = [line(None, ClaimVerdict::Holds)];
        let no = || printed(TargetVerdict::NotComparable("reduced profile".into()));
        let end = |targets: &[TargetLine]| say(&one, targets).split_once(". ").unwrap().1.to_owned();
        assert_eq!(end(&[no(), no()]), "None of 2 printed values is compared.");
        let yes = || printed(TargetVerdict::Reproduced);
        assert_eq!(end(&[yes(), no()]), "Of 2 printed values 1 is compared and is reproduced.");
        assert_eq!(end(&[yes(), yes(), no(), no()]), "Of 4 printed values 2 are compared and are reproduced.");
        assert_eq!(end(&[yes(), yes()]), "Both printed values are reproduced.");
        assert_eq!(end(&[printed(TargetVerdict::Better)]), "The one printed value is bettered.");
        let worse = printed(TargetVerdict::Worse);
        assert_eq!(end(&[yes(), worse]), "Of 2 printed values 2 are compared: 1 is reproduced and 1 comes out worse.");
    }
}
