//! Tests of the statistics: known quantiles, the rules of judgement one by one, and
//! properties that hold for any sample.

use proptest::prelude::*;

use super::*;

const GREATER: Relation = Relation::Greater;
const LESS: Relation = Relation::Less;

fn seeds(values: &[f64]) -> Vec<Option<f64>> {
    values.iter().copied().map(Some).collect()
}

fn claim(left: &[f64], right: &[f64], relation: Relation, margin: f64) -> ClaimVerdict {
    judge_claim(&seeds(left), &seeds(right), relation, margin, None, false).unwrap().verdict
}

#[test]
fn t_quantiles_are_those_of_the_tables() {
    let table = [
        (0.95, 1, 12.706_204_736),
        (0.95, 2, 4.302_652_730),
        (0.95, 4, 2.776_445_105),
        (0.95, 9, 2.262_157_163),
        (0.95, 29, 2.045_229_642),
        (0.90, 2, 2.919_985_580),
        (0.90, 4, 2.131_846_786),
    ];
    for (confidence, freedom, expected) in table {
        let found = t_quantile(confidence, freedom).unwrap();
        assert!((found - expected).abs() < 1e-6, "t({confidence}, {freedom}) = {found}");
    }
}

#[test]
fn interval_of_a_known_sample() {
    // mean 3, sd sqrt(2.5), half width 2.776445105 * sqrt(2.5 / 5) = 1.963243162.
    let e = t_interval(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95).unwrap();
    assert_eq!((e.n, e.mean), (5, 3.0));
    assert!((e.sd - 2.5_f64.sqrt()).abs() < 1e-12);
    assert!((e.high - 4.963_243_162).abs() < 1e-6, "{}", e.high);
    assert!((e.low - 1.036_756_838).abs() < 1e-6, "{}", e.low);
}

#[test]
fn what_cannot_be_computed_is_an_error() {
    assert_eq!(mean(&[]), Err(StatsError::TooFew { found: 0, needed: 1 }));
    assert_eq!(std_dev(&[1.0]), Err(StatsError::TooFew { found: 1, needed: 2 }));
    assert!(matches!(t_interval(&[1.0, f64::NAN], 0.95), Err(StatsError::NotFinite { index: 1, .. })));
    assert!(matches!(t_interval(&[1.0, 2.0], 1.0), Err(StatsError::Parameter { .. })));
    assert!(matches!(paired(&[1.0], &[1.0, 2.0], 0.95), Err(StatsError::Unpaired { .. })));
    assert!(matches!(equivalent(&[1.0, 2.0], 1.0, -0.1), Err(StatsError::Parameter { .. })));
    // Finite values whose sum, squares or difference are not.
    let vast = [1e308, 1.1e308, 1.2e308];
    assert_eq!(mean(&vast), Err(StatsError::TooLarge("sum")));
    assert_eq!(std_dev(&[1e200, -1e200]), Err(StatsError::TooLarge("sum of squares")));
    assert!(matches!(t_interval(&vast, 0.95), Err(StatsError::TooLarge(_))));
    assert!(matches!(equivalent(&vast, 1e308, 1e307), Err(StatsError::TooLarge(_))));
    assert!(judge_claim(&seeds(&vast), &seeds(&[-1e308; 3]), GREATER, 0.0, None, false).is_err());
    assert!(judge_claim(&seeds(&[1.0; 3]), &seeds(&[0.0; 3]), GREATER, f64::NAN, None, false).is_err());
    assert!(judge_target(&seeds(&[1.0; 3]), f64::NAN, 0.1, Good::Higher, true).is_err());
    assert!(judge_target(&seeds(&[1.0; 3]), 1.0, f64::INFINITY, Good::Higher, true).is_err());
    let infinite = judge_claim(&[Some(f64::INFINITY)], &[Some(0.0)], GREATER, 0.0, None, false);
    assert!(matches!(infinite, Err(StatsError::NotFinite { .. })));
}

#[test]
fn claims_hold_fail_or_stay_undecided() {
    let low = [0.10, 0.11, 0.12, 0.10, 0.11];
    let high = [0.20, 0.22, 0.21, 0.20, 0.22];
    assert_eq!(claim(&high, &low, GREATER, 0.02), ClaimVerdict::Holds);
    assert_eq!(claim(&low, &high, LESS, 0.02), ClaimVerdict::Holds);
    assert_eq!(claim(&high, &low, GREATER, 0.5), ClaimVerdict::Fails);
    assert_eq!(claim(&low, &high, GREATER, 0.0), ClaimVerdict::Fails);
    assert_eq!(claim(&high, &low, GREATER, 0.10), ClaimVerdict::Undecided);
}

#[test]
fn one_seed_against_the_claim_leaves_it_undecided() {
    // Nineteen large gains and one small loss: the interval is far above zero.
    let mut left = vec![1.0; 20];
    left[7] = -0.01;
    let judged = judge_claim(&seeds(&left), &seeds(&[0.0; 20]), GREATER, 0.0, None, false).unwrap();
    assert!(judged.difference.unwrap().low > 0.5);
    assert_eq!((judged.verdict, judged.agree), (ClaimVerdict::Undecided, 19));
}

#[test]
fn failed_seed_leaves_a_claim_undecided_in_either_arm() {
    let whole = seeds(&[1.0, 1.1, 1.2]);
    let holed = vec![Some(0.1), None, Some(0.2)];
    for (left, right) in [(&whole, &holed), (&holed, &whole)] {
        for exact in [false, true] {
            let judged = judge_claim(left, right, GREATER, 0.0, None, exact).unwrap();
            assert_eq!(judged.verdict, ClaimVerdict::Undecided);
        }
    }
}

#[test]
fn no_spread_is_decided_by_the_value() {
    let three = [3.0; 5];
    let zero = [0.0; 5];
    assert_eq!(claim(&three, &zero, GREATER, 2.0), ClaimVerdict::Holds);
    assert_eq!(claim(&three, &zero, GREATER, 4.0), ClaimVerdict::Fails);
    assert_eq!(claim(&three, &zero, GREATER, 3.0), ClaimVerdict::Undecided);
    let judge = |value, tolerance| judge_target(&seeds(&three), value, tolerance, Good::Higher, false).unwrap();
    assert_eq!(judge(3.0, 0.0), TargetVerdict::Reproduced);
    assert_eq!(judge(2.0, 0.5), TargetVerdict::Better);
    assert_eq!(judge(4.0, 0.5), TargetVerdict::Worse);
}

#[test]
fn claims_against_a_number() {
    let values = seeds(&[0.95, 0.96, 0.94]);
    let judge = |n, relation| judge_claim_number(&values, n, relation, 0.0, None, false).unwrap().verdict;
    assert_eq!(judge(0.9, GREATER), ClaimVerdict::Holds);
    assert_eq!(judge(0.9, LESS), ClaimVerdict::Fails);
    assert_eq!(judge(0.95, GREATER), ClaimVerdict::Undecided);
}

/// An accuracy that every seed brings to exactly 1: an interval of width 0, never one that is not a number.
#[test]
fn seeds_that_all_score_exactly_one_are_judged() {
    let ones = seeds(&[1.0; 3]);
    let judge = |n, relation| judge_claim_number(&ones, n, relation, 0.0, None, false).unwrap();
    let judged = judge(0.99, GREATER);
    let interval = judged.difference.unwrap();
    assert_eq!((interval.sd, interval.high - interval.low), (0.0, 0.0));
    assert_eq!((judged.verdict, judged.agree), (ClaimVerdict::Holds, 3));
    assert_eq!(judge(0.3, LESS).verdict, ClaimVerdict::Fails);
    assert_eq!(judge(1.0, GREATER).verdict, ClaimVerdict::Undecided);
    assert_eq!(claim(&[1.0; 3], &[1.0; 3], GREATER, 0.2), ClaimVerdict::Fails);
    assert_eq!(claim(&[1.0; 3], &[0.5; 3], GREATER, 0.2), ClaimVerdict::Holds);
}

#[test]
fn few_seeds_are_judged_only_for_counts() {
    let two = judge_claim(&seeds(&[9.0, 9.0]), &seeds(&[1.0, 1.0]), GREATER, 0.0, None, false).unwrap();
    assert!(matches!(two.verdict, ClaimVerdict::NotJudged(_)));
    let one = judge_claim(&seeds(&[9.0]), &seeds(&[1.0]), GREATER, 0.0, None, true).unwrap();
    assert_eq!(one.verdict, ClaimVerdict::Holds);
    let mixed = judge_claim(&seeds(&[9.0, 0.0]), &seeds(&[1.0, 1.0]), GREATER, 0.0, None, true).unwrap();
    assert_eq!(mixed.verdict, ClaimVerdict::Undecided);
}

/// Two one-sided t tests by hand: with two degrees of freedom the law of t has a closed form,
/// P(T > t) = 1/2 - t / (2 sqrt(2 + t^2)).
fn tost_of_three(differences: [f64; 3], within: f64) -> f64 {
    let mean = differences.iter().sum::<f64>() / 3.0;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 2.0;
    let error = (variance / 3.0).sqrt();
    let beyond = |t: f64| 0.5 - t / (2.0 * (2.0 + t * t).sqrt());
    beyond((mean + within) / error).max(beyond((within - mean) / error))
}

#[test]
fn no_difference_is_two_one_sided_tests() {
    let differences = [0.004, -0.002, 0.001];
    let left = differences.map(|d| 0.7 + d);
    let judge =
        |within: f64| judge_claim(&seeds(&left), &seeds(&[0.7; 3]), GREATER, 0.0, Some(within), false).unwrap().verdict;
    // The mean is 0.001 and its error sqrt(3)/1000: the 90% interval ends at 0.001 + 2.91999 * 0.00173205 = 0.0060576.
    assert!((tost_of_three(differences, 0.006_057_56) - 0.05).abs() < 1e-5);
    assert_eq!((judge(0.006_05), judge(0.006_07)), (ClaimVerdict::Undecided, ClaimVerdict::NoDifference));
    for thousandths in 1..40 {
        let within = f64::from(thousandths) * 1e-3;
        let expected = if tost_of_three(differences, within) <= 0.05 {
            ClaimVerdict::NoDifference
        } else {
            ClaimVerdict::Undecided
        };
        assert_eq!(judge(within), expected, "within {within}");
    }
    assert_eq!(
        judge_claim(&seeds(&left), &seeds(&[0.7; 3]), GREATER, 0.0, None, false).unwrap().verdict,
        ClaimVerdict::Undecided
    );
}

#[test]
fn what_holds_or_fails_is_no_tie() {
    let judge = |left: [f64; 3], margin, within, exact| {
        judge_claim(&seeds(&left), &seeds(&[0.0; 3]), GREATER, margin, Some(within), exact).unwrap().verdict
    };
    assert_eq!(judge([0.010, 0.011, 0.012], 0.0, 0.5, false), ClaimVerdict::Holds);
    assert_eq!(judge([-0.010, -0.011, -0.012], 0.0, 0.5, false), ClaimVerdict::Fails);
    // Less than the margin asks for: that is the answer, however near the sides are.
    assert_eq!(judge([0.010, 0.011, 0.012], 0.1, 0.5, false), ClaimVerdict::Fails);
    // Nothing of it for a count, for two seeds, and for a seed that failed.
    assert_eq!(judge([1.0, 0.0, -1.0], 0.0, 50.0, true), ClaimVerdict::Undecided);
    let two = judge_claim(&seeds(&[0.0; 2]), &seeds(&[0.0; 2]), GREATER, 0.0, Some(1.0), false).unwrap();
    assert!(matches!(two.verdict, ClaimVerdict::NotJudged(_)));
    let failed = judge_claim(&[Some(0.0), None, Some(0.0)], &seeds(&[0.0; 3]), GREATER, 0.0, Some(1.0), false).unwrap();
    assert_eq!(failed.verdict, ClaimVerdict::Undecided);
    let number = judge_claim_number(&seeds(&[0.31, 0.30, 0.29]), 0.3, LESS, 0.0, Some(0.05), false).unwrap();
    assert_eq!(number.verdict, ClaimVerdict::NoDifference);
    // Equal sides are no difference within anything, and an edge that rounding alone misses is met.
    assert_eq!(judge([0.0; 3], 0.0, 1e-9, false), ClaimVerdict::NoDifference);
    let edge = judge_claim(&seeds(&[0.3; 3]), &seeds(&[0.2; 3]), LESS, -0.1, Some(0.1), false).unwrap();
    assert_eq!(edge.verdict, ClaimVerdict::NoDifference);
    for within in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        assert!(judge_claim(&seeds(&[0.0; 3]), &seeds(&[0.0; 3]), GREATER, 0.0, Some(within), false).is_err());
    }
}

#[test]
fn targets_follow_the_two_intervals() {
    let ours = seeds(&[0.951, 0.952, 0.950]);
    let judge = |value, good| judge_target(&ours, value, 0.005, good, false).unwrap();
    assert_eq!(judge(0.9515, Good::Higher), TargetVerdict::Reproduced);
    assert_eq!(judge(0.90, Good::Higher), TargetVerdict::Better);
    assert_eq!(judge(0.90, Good::Lower), TargetVerdict::Worse);
    assert_eq!(judge(0.90, Good::Neither), TargetVerdict::Different);
    assert_eq!(judge(0.99, Good::Higher), TargetVerdict::Worse);
    assert_eq!(judge(0.957, Good::Higher), TargetVerdict::Inconclusive);
    let holed = [Some(0.951), None, Some(0.950)];
    let verdict = judge_target(&holed, 0.9515, 0.005, Good::Higher, false).unwrap();
    assert_eq!(verdict, TargetVerdict::Inconclusive);
}

/// In whole numbers these are ties; in tenths the last bit would decide.
#[test]
fn a_tie_in_tenths_is_a_tie() {
    for exact in [false, true] {
        let judge = |l: f64, r: f64, by: f64| {
            judge_claim(&seeds(&[l; 3]), &seeds(&[r; 3]), GREATER, by, None, exact).unwrap().verdict
        };
        let number =
            |l: f64, r: f64, by: f64| judge_claim_number(&seeds(&[l; 3]), r, GREATER, by, None, exact).unwrap().verdict;
        let tie = judge(3.0, 2.0, 1.0);
        assert_eq!(tie, if exact { ClaimVerdict::Fails } else { ClaimVerdict::Undecided });
        for (l, r, by) in [(0.3, 0.2, 0.1), (0.8, 0.7, 0.1), (1.1, 1.0, 0.1), (30.0, 29.7, 0.3)] {
            assert_eq!(judge(l, r, by), tie, "{l} > {r} by {by}");
            assert_eq!(number(l, r, by), tie, "{l} > {r} by {by}");
        }
        // Each seed at its own height: the differences are one number.
        let (left, right) = (seeds(&[0.3, 0.8, 1.1]), seeds(&[0.2, 0.7, 1.0]));
        let judged = judge_claim(&left, &right, GREATER, 0.1, None, exact).unwrap();
        assert_eq!((judged.verdict, judged.difference.unwrap().sd), (tie, 0.0));
        // Not worse by more than a tenth, at just a tenth worse: no seed agrees.
        let judged = judge_claim(&right, &left, GREATER, -0.1, None, exact).unwrap();
        assert_eq!(judged.agree, 0);
        let target = |ours: f64, value: f64, tolerance: f64| {
            judge_target(&seeds(&[ours; 3]), value, tolerance, Good::Higher, exact).unwrap()
        };
        for (ours, value, tolerance) in [(7.0, 8.0, 1.0), (0.7, 0.8, 0.1), (0.9, 0.8, 0.1), (1.1, 1.0, 0.1)] {
            assert_eq!(target(ours, value, tolerance), TargetVerdict::Reproduced, "{ours} in {value} ± {tolerance}");
        }
        assert_eq!(target(0.699, 0.8, 0.1), TargetVerdict::Worse);
        assert_eq!(judge(0.301, 0.2, 0.1), ClaimVerdict::Holds);
        assert_eq!(judge(0.299, 0.2, 0.1), ClaimVerdict::Fails);
    }
    assert!(equivalent(&[0.7; 3], 0.8, 0.1).unwrap() && !equivalent(&[0.699; 3], 0.8, 0.1).unwrap());
}

#[test]
fn verdicts_survive_a_round_trip() {
    for verdict in [ClaimVerdict::Holds, ClaimVerdict::NoDifference, ClaimVerdict::NotJudged("on mnist only".into())] {
        let text = serde_json::to_string(&verdict).unwrap();
        assert_eq!(serde_json::from_str::<ClaimVerdict>(&text).unwrap(), verdict);
    }
}

fn sample() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-1.0..1.0_f64, 3..12)
}

fn pairs() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
    prop::collection::vec((-1.0..1.0_f64, -1.0..1.0_f64), 3..12).prop_map(|pairs| pairs.into_iter().unzip())
}

/// Whole numbers that are often tied: left and right of each seed, a margin, a printed value and its tolerance.
fn whole() -> impl Strategy<Value = (Vec<(i32, i32)>, i32, i32, i32)> {
    let alike = (3usize..8, -40..40, 0..4).prop_map(|(n, right, by)| vec![(right + by, right); n]);
    let each = prop::collection::vec((-40..40, 0..4), 3..8)
        .prop_map(|pairs| pairs.into_iter().map(|(right, by)| (right + by, right)).collect());
    (prop_oneof![alike, each], 0..4, -40..40, 0..30)
}

proptest! {
    /// A suite may state its numbers in percent or as fractions, from any zero: the verdict is that of whole
    /// numbers, which are exact.
    #[test]
    fn verdicts_do_not_depend_on_unit_or_zero((pairs, margin, value, tolerance) in whole(), power in -9i32..10, shift in -1000i32..1000) {
        // As a suite's file or a record would give it: the decimal number, rounded once.
        let scaled = |n: i32| format!("{n}e{power}").parse::<f64>().unwrap();
        let side = |pick: fn(&(i32, i32)) -> i32, by: i32| pairs.iter().map(|pair| Some(scaled(pick(pair) + by))).collect::<Vec<_>>();
        let exactly = |pick: fn(&(i32, i32)) -> i32| pairs.iter().map(|pair| Some(f64::from(pick(pair)))).collect::<Vec<_>>();
        for exact in [false, true] {
            for relation in [GREATER, LESS] {
                for sign in [1, -1] {
                    let known = judge_claim(&exactly(|p| p.0), &exactly(|p| p.1), relation, f64::from(sign * margin), None, exact).unwrap();
                    let found = judge_claim(&side(|p| p.0, shift), &side(|p| p.1, shift), relation, scaled(sign * margin), None, exact).unwrap();
                    prop_assert_eq!((&known.verdict, known.agree), (&found.verdict, found.agree));
                    if exact {
                        let beyond = pairs.iter().filter(|(l, r)| if relation == GREATER { l - r > sign * margin } else { r - l > sign * margin });
                        let expected = match beyond.count() {
                            0 => ClaimVerdict::Fails,
                            n if n == pairs.len() => ClaimVerdict::Holds,
                            _ => ClaimVerdict::Undecided,
                        };
                        prop_assert_eq!(&found.verdict, &expected);
                    }
                }
            }
            let known = judge_target(&exactly(|p| p.0), f64::from(value), f64::from(tolerance), Good::Higher, exact).unwrap();
            let found = judge_target(&side(|p| p.0, shift), scaled(value + shift), scaled(tolerance), Good::Higher, exact).unwrap();
            prop_assert_eq!(known, found);
        }
    }

    #[test]
    fn interval_contains_the_mean(values in sample(), confidence in 0.5..0.999_f64) {
        let e = t_interval(&values, confidence).unwrap();
        prop_assert!(e.low <= e.mean && e.mean <= e.high);
    }

    #[test]
    fn interval_widens_with_confidence(values in sample()) {
        let narrow = t_interval(&values, 0.90).unwrap();
        let wide = t_interval(&values, 0.95).unwrap();
        prop_assert!(wide.low <= narrow.low && narrow.high <= wide.high);
    }

    #[test]
    fn four_copies_of_a_sample_more_than_halve_the_interval(values in sample()) {
        let one = t_interval(&values, 0.95).unwrap();
        let four = t_interval(&values.repeat(4), 0.95).unwrap();
        prop_assume!(one.sd > 1e-6);
        prop_assert!(four.high - four.low < 0.5 * (one.high - one.low));
    }

    #[test]
    fn interval_moves_and_stretches_with_the_sample(values in sample(), scale in 0.1..10.0_f64, shift in -5.0..5.0_f64) {
        let before = t_interval(&values, 0.95).unwrap();
        let moved: Vec<f64> = values.iter().map(|v| v * scale + shift).collect();
        let after = t_interval(&moved, 0.95).unwrap();
        prop_assert!((after.low - (before.low * scale + shift)).abs() < 1e-9);
        prop_assert!((after.high - (before.high * scale + shift)).abs() < 1e-9);
    }

    #[test]
    fn claim_and_its_opposite_never_both_hold((left, right) in pairs(), margin in -0.5..0.5_f64) {
        let claimed = claim(&left, &right, GREATER, margin);
        let opposite = claim(&left, &right, LESS, -margin);
        prop_assert!(!(claimed == ClaimVerdict::Holds && opposite == ClaimVerdict::Holds));
        if claimed == ClaimVerdict::Holds {
            prop_assert_eq!(opposite, ClaimVerdict::Fails);
        }
    }

    #[test]
    fn less_is_greater_with_the_sides_changed((left, right) in pairs(), margin in -0.5..0.5_f64) {
        prop_assert_eq!(claim(&left, &right, LESS, margin), claim(&right, &left, GREATER, margin));
    }

    #[test]
    fn constant_on_both_sides_changes_nothing((left, right) in pairs(), margin in -0.5..0.5_f64, shift in -4i32..4) {
        // Values on a grid of 1/1024 and a whole shift, so that nothing is rounded.
        let grid = |v: &Vec<f64>, by: f64| -> Vec<f64> {
            v.iter().map(|x| (x * 1024.0).round() / 1024.0 + by).collect()
        };
        let shift = f64::from(shift);
        let before = claim(&grid(&left, 0.0), &grid(&right, 0.0), GREATER, margin);
        let after = claim(&grid(&left, shift), &grid(&right, shift), GREATER, margin);
        prop_assert_eq!(before, after);
    }

    #[test]
    fn larger_margin_never_turns_a_claim_true((left, right) in pairs(), margin in 0.0..0.5_f64, more in 0.0..0.5_f64) {
        if claim(&left, &right, GREATER, margin + more) == ClaimVerdict::Holds {
            prop_assert_eq!(claim(&left, &right, GREATER, margin), ClaimVerdict::Holds);
        }
    }

    #[test]
    fn reproduced_means_close_and_outside_means_far(values in sample(), value in -1.0..1.0_f64, tolerance in 0.0..2.0_f64) {
        let ours = seeds(&values);
        let distance = (mean(&values).unwrap() - value).abs();
        match judge_target(&ours, value, tolerance, Good::Higher, false).unwrap() {
            TargetVerdict::Reproduced => prop_assert!(distance <= tolerance + 1e-12),
            TargetVerdict::Better | TargetVerdict::Worse => prop_assert!(distance > tolerance - 1e-12),
            _ => {}
        }
    }

    #[test]
    fn order_of_seeds_does_not_matter((left, right) in pairs(), by in 0usize..12) {
        // On a grid that sums without rounding, so that the order of a sum is no matter.
        let grid = |v: &Vec<f64>| -> Vec<f64> { v.iter().map(|x| (x * 1024.0).round() / 1024.0).collect() };
        let (mut l, mut r) = (grid(&left), grid(&right));
        let before = judge_claim(&seeds(&l), &seeds(&r), GREATER, 0.013, None, false).unwrap();
        let by = by % l.len();
        l.rotate_left(by);
        r.rotate_left(by);
        let after = judge_claim(&seeds(&l), &seeds(&r), GREATER, 0.013, None, false).unwrap();
        prop_assert_eq!((before.verdict, before.agree), (after.verdict, after.agree));
    }
}
