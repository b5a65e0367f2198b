//! What a run reports: accuracies (section 3.5), bytes (section 4), and their curves.

use std::ops::Range;

use plasticity_core::run::record::{Chart, Direction, MetricInfo, Outcome, Series};

use super::config::{Config, Evaluation, Method};
use super::state::Round;
use crate::codec::HEADER;
use crate::federation::{Federation, Server, Spread};

/// Name of what the last quarter of the rounds has changed: whether a curve was flat at its end.
const LATE: &str = "late_change";

/// Two eighths of the rounds, from 0: the one before the last quarter and the last one. None where there are fewer than 8
/// rounds.
fn eighths(rounds: usize) -> Option<[Range<usize>; 2]> {
    let (quarter, eighth) = (rounds / 4, rounds / 8);
    let ending = |end: usize| end - eighth..end;
    (eighth > 0).then(|| [ending(rounds - quarter), ending(rounds)])
}

/// How far the global accuracy has moved over the last quarter of the rounds, up or down: means over an eighth of them,
/// since a single round's says little.
fn late_change(history: &[Round]) -> Option<f64> {
    let [before, last] = eighths(history.len())?.map(|some| {
        let rounds = &history[some];
        rounds.iter().map(|round| round.global).sum::<f64>() / rounds.len() as f64
    });
    Some((last - before).abs())
}

pub(super) fn metrics(config: &Config) -> Vec<MetricInfo> {
    let images = match config.evaluate_on {
        Evaluation::Test => "test",
        Evaluation::Validation => "validation",
    };
    let how = match config.method {
        Method::Standalone => format!("{} epochs without communication", config.epochs_alone()),
        Method::Mask | Method::Fedavg => format!("{} of {} rounds", config.tail, config.rounds),
    };
    let basis_of = |how: &str| format!("{} {images} images, {}, {how}", config.test_images, config.dealt());
    let basis = basis_of(&how);
    let metric = |name: &str, title: &str, unit: &str, direction, exact| MetricInfo {
        name: name.into(),
        title: title.into(),
        unit: unit.into(),
        direction,
        exact,
        basis: basis.clone(),
    };
    let accuracy = |name: &str, title: &str| metric(name, title, "fraction", Direction::Higher, false);
    let bytes = |name: &str, title: &str| metric(name, title, "bytes", Direction::Lower, true);
    if config.method == Method::Standalone {
        return vec![
            accuracy("personal", "personal accuracy"),
            accuracy("personal_tenth", "personal accuracy, 10th percentile of clients"),
            accuracy("personal_worst", "personal accuracy, worst client"),
        ];
    }
    let mut metrics = vec![
        accuracy("global", "global accuracy"),
        accuracy("personal", "personal accuracy"),
        bytes("uplink", "uplink, bytes per client and round"),
        accuracy("global_on_own", "global model on the client's own classes"),
        accuracy("fine_tuned", "fine-tuned accuracy"),
        accuracy("fine_tuned_tenth", "fine-tuned accuracy, 10th percentile of clients"),
        accuracy("fine_tuned_worst", "fine-tuned accuracy, worst client"),
        bytes("downlink", "downlink, bytes per client and round"),
        bytes("total_up", "uplink, bytes of the whole run"),
        bytes("total_down", "downlink, bytes of the whole run"),
        metric("dense_ratio", "dense float message / uplink message", "", Direction::Higher, true),
        metric("bpp", "uplink, bits per weight", "", Direction::Lower, true),
        metric("flips", "signs that a client changes per round", "fraction", Direction::Neutral, false),
        metric("ties", "tied votes", "fraction", Direction::Neutral, false),
    ];
    if let Some([before, last]) = eighths(config.rounds) {
        let title = "absolute change of global accuracy over the last quarter of the rounds";
        let which = |rounds: Range<usize>| format!("rounds {} to {}", rounds.start + 1, rounds.end);
        let basis = basis_of(&format!("{} against {}", which(last), which(before)));
        metrics.push(MetricInfo { basis, ..metric(LATE, title, "fraction", Direction::Neutral, false) });
    }
    metrics
}

/// Of clients that never communicate.
pub(super) fn outcome_alone(alone: Spread) -> Outcome {
    let mut outcome = Outcome::default();
    for (name, value) in [("personal", alone.mean), ("personal_tenth", alone.tenth), ("personal_worst", alone.worst)] {
        outcome.metrics.insert(name.into(), value);
    }
    outcome
}

/// Of a federation: means over the last rounds, and bytes of the whole run.
pub(super) fn outcome(
    config: &Config,
    federation: &Federation,
    server: &Server,
    history: &[Round],
    tuned: Spread,
) -> Outcome {
    let tail = &history[history.len() - config.tail.min(history.len())..];
    let mean = |of: fn(&Round) -> f64| tail.iter().map(of).sum::<f64>() / tail.len() as f64;
    let total = &server.ledger().total;
    let (up, down) = (total.up.total(), total.down.total());
    let client_rounds = config.rounds as f64 * config.per_round as f64;
    let weights = federation.subnetwork().weights().len() as f64;
    let uplink = up.bytes() as f64 / client_rounds;
    let mut outcome = Outcome::default();
    for (name, value) in [
        ("global", mean(|r| r.global)),
        ("personal", mean(|r| r.personal)),
        ("global_on_own", mean(|r| r.global_on_own)),
        ("fine_tuned", tuned.mean),
        ("fine_tuned_tenth", tuned.tenth),
        ("fine_tuned_worst", tuned.worst),
        ("uplink", uplink),
        ("downlink", down.bytes() as f64 / client_rounds),
        ("total_up", up.bytes() as f64),
        ("total_down", down.bytes() as f64),
        ("dense_ratio", (HEADER as f64 + 4.0 * weights) / uplink),
        ("bpp", 8.0 * uplink / weights),
        ("flips", mean(|r| r.flips)),
        ("ties", mean(|r| r.ties)),
    ] {
        outcome.metrics.insert(name.into(), value);
    }
    outcome.metrics.extend(late_change(history).map(|change| (LATE.into(), change)));
    let chart = |title: &str, x_label: &str, y_label: &str, log_x, of: &dyn Fn(usize, &Round) -> [f64; 2]| Chart {
        title: title.into(),
        x_label: x_label.into(),
        y_label: y_label.into(),
        log_x,
        log_y: false,
        series: vec![Series {
            name: String::new(),
            points: history.iter().enumerate().map(|(i, round)| of(i, round)).collect(),
        }],
    };
    let megabytes = |bytes: u64| bytes as f64 * 1e-6;
    outcome.charts = vec![
        chart("Global accuracy by round", "round", "accuracy", false, &|i, r| [i as f64 + 1.0, r.global]),
        chart("Global accuracy by bytes sent up", "uplink, MB, headers included", "accuracy", true, &|_, r| {
            [megabytes(r.up), r.global]
        }),
        chart("Bytes by round, both directions", "round", "MB", false, &|i, r| {
            [i as f64 + 1.0, megabytes(r.up + r.down)]
        }),
    ];
    outcome
}
