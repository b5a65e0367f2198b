//! What a run reports: recall by distance (sections 8.2 to 8.4), loss by position (8.6), loss under noise (8.8).

use burn::module::Module;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;
use plasticity_core::run::record::{Chart, Direction, MetricInfo, Outcome, Picture, Series};

use super::config::{Config, NOISE, Study};
use super::data::Source;
use super::evaluate::{edges, late, noise_name, shown};
use super::picture;
use super::state::{Found, Loss, State};
use crate::model::memory_parameters;
use crate::tasks::mqar::Fill;
use crate::tasks::retention::curve;
use crate::tasks::{Point, Recall, half_distance};

/// Tokens of a sequence of which a picture is drawn, at most.
const MOST_SHOWN: usize = 96;
/// Name of what the last quarter of training has changed: whether a curve was flat at its end.
const LATE: &str = "late_change";
/// Noise whose cost is a metric.
const NOISE_METRICS: [f64; 2] = [0.1, 0.2];

pub(super) fn metrics(config: &Config) -> Vec<MetricInfo> {
    let metric = |name: String, title: String, unit: &str, direction, exact, basis: &str| MetricInfo {
        name,
        title,
        unit: unit.into(),
        direction,
        exact,
        basis: basis.into(),
    };
    let mut metrics = Vec::new();
    match config.study {
        Study::Recall => {
            let basis = questions(config);
            let mut accuracy = |name: &str, title: &str| {
                metrics.push(metric(name.into(), title.into(), "fraction", Direction::Higher, false, &basis));
            };
            accuracy("accuracy", "right answers");
            if config.far() {
                accuracy("accuracy_far", "right, pair out of attention's reach");
            }
            if config.task.updates > 0 {
                accuracy("accuracy_updated", "right, value changed");
                if config.task.updates < config.task.pairs {
                    accuracy("accuracy_kept", "right, value kept");
                }
            }
        }
        Study::Retention => {
            let basis = questions(config);
            let longest = config.lengths().last().copied().unwrap_or(0);
            let title = format!("tokens after which half is forgotten ({longest}: not even then; 0: never half right)");
            metrics.push(metric("half_distance".into(), title, "", Direction::Higher, false, &basis));
            for length in config.lengths() {
                let title = format!("right answers, {length} tokens");
                let name = format!("accuracy_{length}");
                metrics.push(metric(name, title, "fraction", Direction::Higher, false, &basis));
            }
        }
        Study::Characters => {
            let (text, training) = (&config.text, &config.training);
            let basis = format!(
                "validation text, segments of {} characters, {} readers; trained for {} steps of {} segments",
                text.segment, text.readers, training.steps, training.batch
            );
            let mut loss = |name: String, title: String, basis: &str| {
                metrics.push(metric(name, title, "nats", Direction::Lower, false, basis));
            };
            loss("loss".into(), "loss per character".into(), &basis);
            if config.variant.windowed() {
                let title = "the same with the state carried from segment to segment";
                loss("loss_carried".into(), title.into(), &basis);
            }
            for pair in edges(config).windows(2) {
                let title = format!("loss at positions {} to {}", pair[0], pair[1] - 1);
                loss(format!("loss_{}_{}", pair[0], pair[1]), title, &basis);
            }
            let basis = format!("{} segments of the validation text; {basis}", text.part * text.readers);
            for p in NOISE_METRICS {
                let percent = (100.0 * p).round();
                let title = format!("loss added by {percent} % wrong input characters");
                loss(format!("degradation_{percent}"), title, &basis);
            }
        }
    }
    if let Some(look) = late(config) {
        let steps = config.training.steps;
        let (title, unit, of) = match config.study {
            Study::Characters => ("change of the loss late in training", "nats", "loss on part of the validation text"),
            _ => (
                "change of right answers late in training",
                "fraction",
                "right answers to all questions at the length of training",
            ),
        };
        let basis = format!("{of}: how far after {steps} steps from after {look}, up or down");
        metrics.push(metric(LATE.into(), title.into(), unit, Direction::Neutral, false, &basis));
    }
    let mut count = |name: &str, title: &str, basis: &str| {
        metrics.push(metric(name.into(), title.into(), "", Direction::Neutral, true, basis));
    };
    count("parameters", "parameters", "of the whole model");
    count("memory_parameters", "of them the memory's", "of the memory");
    metrics
}

/// What is asked, in words: values of other questions are not comparable.
fn questions(config: &Config) -> String {
    let (task, training) = (&config.task, &config.training);
    let fill = match task.fill {
        Fill::Zero => "a token without meaning",
        Fill::Random => "random tokens",
    };
    let updates = match (task.updates, task.repeats) {
        (0, _) => String::new(),
        (updates, 1) => format!(", {updates} of them given a new value"),
        (updates, times) => format!(", {updates} of them given a new value after {times} showings of the old one"),
    };
    let lengths: Vec<String> = config.lengths().iter().map(usize::to_string).collect();
    format!(
        "{} test sequences of {} tokens: {} pairs{updates}; vocabulary {}, filler {fill}; trained at {} tokens for {} \
         steps of {} sequences; out of reach: over {} tokens back",
        config.evaluation.sequences,
        lengths.join(", "),
        task.pairs,
        task.vocabulary,
        task.time,
        training.steps,
        training.batch,
        config.reach()
    )
}

pub(super) fn outcome(
    config: &Config,
    source: &Source,
    state: &State,
    ctx: &mut RunContext,
) -> Result<Outcome, RunError> {
    let (model, found) = (state.training.model.valid(), &state.found);
    let mut outcome = Outcome::default();
    put(&mut outcome, "parameters", model.num_params() as f64);
    put(&mut outcome, "memory_parameters", memory_parameters(&model.config) as f64);
    match config.study {
        Study::Recall => recall(config, found, &mut outcome)?,
        Study::Retention => retention(config, found, &mut outcome)?,
        Study::Characters => characters(config, found, &mut outcome)?,
    }
    if let (Study::Recall, Source::Recall(task), true) = (config.study, source, config.variant.remembers())
        && task.time <= MOST_SHOWN
    {
        let drawn = shown(task, &model, ctx)
            .and_then(|(batch, answers)| picture::draw(&batch, &answers, &model.trace(&batch.tokens)?));
        match drawn {
            Ok(drawn) => {
                ctx.artifact("memory.svg", drawn.as_bytes())?;
                outcome.pictures.push(Picture {
                    file: "memory.svg".into(),
                    title: "What the memory does with one test sequence".into(),
                    caption: picture::CAPTION.into(),
                });
            }
            // The run is done: it keeps its numbers.
            Err(why) => ctx.warn(format!("there is no picture of what the memory does: {why}")),
        }
    }
    if let Some(look) = late(config) {
        put(&mut outcome, LATE, late_change(&found.looks, look).ok_or_else(|| missing("looks"))?);
    }
    Ok(outcome)
}

/// How far the last look is from the one after so many steps of training: a curve that falls is no more flat than one
/// that rises.
fn late_change(looks: &[(u64, f64)], since: u64) -> Option<f64> {
    let (_, before) = looks.iter().find(|(step, _)| *step == since)?;
    looks.last().map(|(_, end)| (end - before).abs())
}

fn put(outcome: &mut Outcome, name: &str, value: f64) {
    outcome.metrics.insert(name.into(), value);
}

fn missing(what: &str) -> RunError {
    RunError::Failed(format!("there is no result of the test `{what}`"))
}

fn accuracy(recall: &Recall, what: &str, of: impl Fn(usize) -> bool) -> Result<f64, RunError> {
    let counts = recall.by_distance.iter().filter(|(distance, _)| of(**distance)).map(|(_, count)| count);
    let (right, asked) = counts.fold((0, 0), |(right, asked), c| (right + c.right, asked + c.asked));
    match asked {
        0 => Err(RunError::Failed(format!("no test sequence asks about {what}: use more `evaluation.sequences`"))),
        asked => Ok(right as f64 / asked as f64),
    }
}

/// Accuracy in ranges of `width` tokens, each at the middle of its even distances: the same x for all seeds.
fn ranges(recall: &Recall, width: usize) -> Vec<Point> {
    let middle = |distance: f64| ((distance / width as f64).floor() + 0.5) * width as f64 - 1.0;
    curve(recall, width).into_iter().map(|point| Point { distance: middle(point.distance), ..point }).collect()
}

fn by_distance(points: &[Point], log_x: bool) -> Chart {
    let points = points.iter().map(|point| [point.distance, point.accuracy()]).collect();
    Chart {
        title: "Recall by distance".into(),
        x_label: "tokens between pair and question".into(),
        y_label: "share of right answers".into(),
        log_x,
        log_y: false,
        series: vec![Series { name: String::new(), points }],
    }
}

fn recall(config: &Config, found: &Found, outcome: &mut Outcome) -> Result<(), RunError> {
    let answers = found.recall.get(&config.task.time).ok_or_else(|| missing("recall"))?;
    let recall = answers.recall();
    put(outcome, "accuracy", accuracy(&recall, "anything", |_| true)?);
    if config.far() {
        let reach = config.reach();
        put(
            outcome,
            "accuracy_far",
            accuracy(&recall, "a pair out of attention's reach", |distance| distance > reach)?,
        );
    }
    for (name, count) in [("accuracy_updated", recall.updated), ("accuracy_kept", recall.kept)] {
        if let (true, Some(share)) = (config.task.updates > 0, count.accuracy()) {
            put(outcome, name, share);
        }
    }
    outcome.charts.push(by_distance(&ranges(&recall, (config.task.time / 16).next_multiple_of(2)), false));
    Ok(())
}

fn retention(config: &Config, found: &Found, outcome: &mut Outcome) -> Result<(), RunError> {
    let mut points = Vec::new();
    let width = (config.task.time / 4).next_multiple_of(2);
    for length in config.lengths() {
        let recall = found.recall.get(&length).ok_or_else(|| missing("recall"))?.recall();
        put(outcome, &format!("accuracy_{length}"), accuracy(&recall, "anything", |_| true)?);
        points.extend(ranges(&recall, width));
    }
    let longest = config.lengths().last().copied().unwrap_or(0) as f64;
    let begins_right = points.first().is_some_and(|point| point.accuracy() >= 0.5);
    let half = if begins_right { half_distance(&points).unwrap_or(longest) } else { 0.0 };
    put(outcome, "half_distance", half);
    outcome.charts.push(by_distance(&points, true));
    Ok(())
}

fn characters(config: &Config, found: &Found, outcome: &mut Outcome) -> Result<(), RunError> {
    let loss = |name: &str| found.losses.get(name).ok_or_else(|| missing(name));
    let segments = loss("segments")?;
    put(outcome, "loss", segments.mean);
    for (from, to, nats) in &segments.buckets {
        put(outcome, &format!("loss_{from}_{to}"), *nats);
    }
    let mut by_position = vec![positions("from the empty memory", segments)];
    if config.variant.windowed() {
        put(outcome, "loss_carried", loss("carried")?.mean);
        by_position.push(positions("state carried over", loss("carried")?));
    }
    let clean = loss(&noise_name(0.0))?.mean;
    for p in NOISE_METRICS {
        let added = loss(&noise_name(p))?.mean - clean;
        put(outcome, &format!("degradation_{}", (100.0 * p).round()), added);
    }
    let under_noise = NOISE.iter().map(|p| Ok([100.0 * p, loss(&noise_name(*p))?.mean]));
    let under_noise = under_noise.collect::<Result<Vec<_>, RunError>>()?;
    let chart = |title: &str, x_label: &str, series| Chart {
        title: title.into(),
        x_label: x_label.into(),
        y_label: "nats per character".into(),
        log_x: false,
        log_y: false,
        series,
    };
    outcome.charts = vec![
        chart("Loss by position in the segment", "characters since the segment began", by_position),
        chart(
            "Loss with wrong characters among the input",
            "wrong input characters, %",
            vec![Series { name: String::new(), points: under_noise }],
        ),
    ];
    Ok(())
}

/// Loss at the middle of each range of positions.
fn positions(name: &str, loss: &Loss) -> Series {
    let points = loss.buckets.iter().map(|(from, to, nats)| [(from + to) as f64 / 2.0, *nats]);
    Series { name: name.into(), points: points.collect() }
}

#[cfg(test)]
mod tests {
    use super::super::state::Answers;
    use super::*;
    use crate::tasks::{Count, Mqar};

    /// Answers at a length: every even distance of its last 64 tokens, `right` of 8 each.
    fn answers(length: usize, right: u64) -> Answers {
        let mut recall = Recall::default();
        for distance in (length - 64..length).step_by(2) {
            recall.by_distance.insert(distance, Count { right, asked: 8 });
        }
        Answers::from(&recall)
    }

    fn outcome_of(right: [u64; 3]) -> Outcome {
        let task = Mqar { pairs: 8, time: 64, ..Mqar::default() };
        let mut config = Config { study: Study::Retention, task, ..Config::default() };
        config.evaluation.lengths = vec![64, 128, 256];
        let mut found = Found::default();
        for (length, right) in config.lengths().into_iter().zip(right) {
            found.recall.insert(length, answers(length, right));
        }
        let mut outcome = Outcome::default();
        retention(&config, &found, &mut outcome).unwrap();
        outcome
    }

    #[test]
    fn a_curve_that_is_not_flat_yet_shows_in_a_number() {
        let looks = [(50, 0.1), (100, 0.3), (150, 0.7), (200, 0.95)];
        assert!((late_change(&looks, 150).unwrap() - 0.25).abs() < 1e-12);
        assert_eq!(late_change(&looks, 120), None);
        assert!((late_change(&[(50, 0.9), (100, 0.4)], 50).unwrap() - 0.5).abs() < 1e-12, "it falls");
        let at = |steps, every| {
            let mut config = Config::default();
            (config.training.steps, config.evaluation.every) = (steps, every);
            late(&config)
        };
        // The last look in the first three quarters, which must be one.
        assert_eq!([at(200, 50), at(200, 40), at(6, 2), at(7, 4)], [Some(150), Some(120), Some(4), Some(4)]);
        assert_eq!([at(200, 151), at(1, 1), at(3, 9)], [None, None, None]);
    }

    #[test]
    fn half_distance_is_where_recall_crosses_one_half() {
        // Right at 64, three quarters wrong at 128: one third of the way from the last range of 64 (48 to 62) to the
        // first of 128 (64 to 78), both at the middle of their even distances.
        let half = outcome_of([8, 2, 0]).metrics["half_distance"];
        assert!((half - (55.0 + 16.0 * (0.5 / 0.75))).abs() < 1e-9, "{half}");
        // Never, and from the start.
        assert_eq!(outcome_of([8, 8, 4]).metrics["half_distance"], 256.0);
        assert_eq!(outcome_of([3, 3, 3]).metrics["half_distance"], 0.0);
    }

    #[test]
    fn every_range_of_a_curve_has_an_x_of_its_own_whatever_was_asked() {
        let outcome = outcome_of([8, 4, 2]);
        assert_eq!(outcome.check(), Ok(()));
        let points = &outcome.charts[0].series[0].points;
        let x: Vec<f64> = points.iter().map(|[x, _]| *x).collect();
        assert_eq!(x, [7.0, 23.0, 39.0, 55.0, 71.0, 87.0, 103.0, 119.0, 199.0, 215.0, 231.0, 247.0]);
        let mut one = Recall::default();
        one.by_distance.insert(20, Count { right: 1, asked: 1 });
        assert_eq!(ranges(&one, 16)[0].distance, 23.0);
    }

    #[test]
    fn metrics_follow_the_study_and_are_comparable_between_arms() {
        let names = |config: &Config| metrics(config).into_iter().map(|m| m.name).collect::<Vec<_>>();
        let base = Config::default();
        let expected = ["accuracy", "accuracy_far", "late_change", "parameters", "memory_parameters"];
        assert_eq!(names(&base), expected);
        let mut updates = Config { task: Mqar { pairs: 8, updates: 4, ..Mqar::default() }, ..base.clone() };
        assert!(names(&updates).contains(&"accuracy_kept".into()));
        updates.task.updates = 8;
        assert!(!names(&updates).contains(&"accuracy_kept".into()), "no key keeps its value");
        let wide = Config { model: super::super::HostConfig { window: 64, ..Default::default() }, ..base.clone() };
        assert!(!names(&wide).contains(&"accuracy_far".into()), "nothing is out of reach");
        let window = Config { variant: super::super::Variant::Window, ..base.clone() };
        assert_eq!(metrics(&window), metrics(&base));
    }
}
