//! What a run with a network reports: denoising against the Wiener filter, and each sampler's images
//! against held-out ones.

use plasticity_core::data::digits::SIDE;
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;
use plasticity_core::run::picture;
use plasticity_core::run::record::{Chart, Direction, MetricInfo, Outcome, Picture, Series};

use super::config::Config;
use super::data::{Pictures, Space};
use super::evaluate::{
    self, ANCHORS, COMPONENTS, REAL, TIMES, counts, frechet_name, held_out_images, nearest, neighbours, reference,
};
use super::state::State;

/// Images in a row of a picture, so that each can be seen on a telephone.
const COLUMNS: usize = 8;
/// Rows of a picture.
const ROWS: usize = 4;

pub(super) fn metrics(config: &Config) -> Vec<MetricInfo> {
    let side = SIDE / config.pool;
    let metric = |name: String, title: String, direction, basis: &str| MetricInfo {
        name,
        title,
        unit: String::new(),
        direction,
        exact: false,
        basis: basis.into(),
    };
    let mut metrics = Vec::new();
    if config.space == Space::Log {
        let held_out = held_out_images(config);
        let basis = format!(
            "squared error in log space, network / Wiener filter of {} training images, {held_out} held-out images, {side}x{side}",
            config.train_images
        );
        let lower = |name: &str, title: &str| metric(name.into(), title.into(), Direction::Lower, &basis);
        metrics.push(lower("wiener_ratio", "error / Wiener's, mean over noise levels"));
        metrics.push(lower("wiener_ratio_low", "error / Wiener's, worst noise level of t = 0.05 to 0.75"));
        metrics.push(lower("wiener_ratio_all", "error / Wiener's, worst noise level"));
        metrics.extend(TIMES.iter().map(|t| lower(&ratio_name(*t), &format!("error / Wiener's, t = {t}"))));
    }
    for n in counts(config) {
        let basis = format!(
            "Frechet distance in {COMPONENTS} principal components of log(1 + u) of {} training images, n = {n} against \
             {} test images, {side}x{side}",
            config.train_images,
            reference(config)
        );
        let lower = |name: String, title: String| metric(name, title, Direction::Lower, &basis);
        for sampler in config.sampling.iter().filter(|s| s.samples >= n) {
            let title = format!("Frechet distance (PCA-64), {}, n = {n}", sampler.id);
            metrics.push(lower(frechet_name(&sampler.id, n), title));
        }
        for (name, title) in ANCHORS {
            metrics.push(lower(frechet_name(name, n), format!("Frechet distance (PCA-64), {title}, n = {n}")));
        }
    }
    let basis = format!("mean over pixels, {side}x{side}");
    for sampler in &config.sampling {
        let name = format!("intensity_{}", sampler.id);
        metrics.push(metric(name, format!("mean intensity, {}", sampler.id), Direction::Neutral, &basis));
        let name = format!("nearer_train_{}", sampler.id);
        let basis =
            format!("fraction of samples nearer to {} training than to as many test images", neighbours(config));
        let title = format!("share nearer to a training than to a test image, {}", sampler.id);
        metrics.push(MetricInfo { unit: "fraction".into(), ..metric(name, title, Direction::Neutral, &basis) });
    }
    metrics.push(metric(format!("intensity_{REAL}"), "mean intensity, test images".into(), Direction::Neutral, &basis));
    metrics
}

fn ratio_name(t: f64) -> String {
    format!("wiener_ratio_{t}")
}

pub(super) fn outcome(
    config: &Config,
    train: &Pictures,
    test: &Pictures,
    state: &State,
    ctx: &RunContext,
) -> Result<Outcome, RunError> {
    let mut outcome = Outcome::default();
    let held_out = evaluate::held_out(state);
    if !held_out.is_empty() {
        denoising(&held_out, &mut outcome);
    }
    outcome.metrics.insert(format!("intensity_{REAL}"), test.mean_intensity());
    for MetricInfo { name, .. } in metrics(config) {
        if let Some(value) = state.work.measured.get(&name).and_then(|values| values.first()) {
            outcome.metrics.insert(name, *value);
        }
    }
    pictures(config, train, test, state, ctx, &mut outcome)?;
    Ok(outcome)
}

fn denoising(held_out: &[[f64; 2]], outcome: &mut Outcome) {
    let ratios: Vec<f64> = held_out.iter().map(|[network, wiener]| network / wiener).collect();
    let worst = |ratios: &[f64]| ratios.iter().copied().fold(0.0, f64::max);
    outcome.metrics.insert("wiener_ratio".into(), ratios.iter().sum::<f64>() / ratios.len() as f64);
    outcome.metrics.insert("wiener_ratio_low".into(), worst(&ratios[..ratios.len() - 1]));
    outcome.metrics.insert("wiener_ratio_all".into(), worst(&ratios));
    for (t, ratio) in TIMES.iter().zip(&ratios) {
        outcome.metrics.insert(ratio_name(*t), *ratio);
    }
    let series = |name: &str, of: usize| Series {
        name: name.into(),
        points: TIMES.iter().zip(held_out).map(|(t, errors)| [*t, errors[of]]).collect(),
    };
    outcome.charts.push(Chart {
        title: "Denoising held-out images".into(),
        x_label: "t (noise 0.8 sqrt(t))".into(),
        y_label: "squared error, summed over pixels".into(),
        log_x: true,
        log_y: true,
        series: vec![series("network", 0), series("Wiener filter", 1)],
    });
}

/// What each sampler drew first and, in pictures of their own, the stored images nearest to that and test images.
fn pictures(
    config: &Config,
    train: &Pictures,
    test: &Pictures,
    state: &State,
    ctx: &RunContext,
    outcome: &mut Outcome,
) -> Result<(), RunError> {
    let pixels = train.size();
    let mut publish = |file: String, title: String, caption: String, images: &[f32]| -> Result<(), RunError> {
        ctx.artifact(&file, &picture::Grid::new(train.side, train.side, COLUMNS).png(images)?)?;
        outcome.pictures.push(Picture { file, title, caption });
        Ok(())
    };
    for sampler in &config.sampling {
        let n = whole_rows(sampler.samples);
        let drawn = &state.work.images(&sampler.id)[..n * pixels];
        let calls = sampler.network_calls();
        publish(
            format!("images-drawn-{}.png", sampler.id),
            format!("Images drawn, {}", sampler.id),
            format!(
                "the first {n} images that the network drew from noise, in {calls} calls each, none picked. Look for: is \
                 each as clear as a test image, and is none like another"
            ),
            drawn,
        )?;
        let mut stored = Vec::with_capacity(drawn.len());
        for (_, i) in nearest(drawn, &train.pixels, pixels, ctx.device()) {
            stored.extend_from_slice(train.rows(i..i + 1));
        }
        publish(
            format!("nearest-stored-{}.png", sampler.id),
            format!("Stored images nearest to those drawn, {}", sampler.id),
            "at the place of each image drawn the training image nearest to it. Look for: a pair that is the same is a \
             copy"
            .into(),
            &stored,
        )?;
    }
    let n = whole_rows(test.len());
    publish(
        "test-images.png".into(),
        "Real test images".into(),
        "of the data set, never trained on: what those drawn are to be held against".into(),
        test.rows(0..n),
    )
}

/// How many of `n` images a picture shows: whole rows, where there is one.
fn whole_rows(n: usize) -> usize {
    if n < COLUMNS { n } else { (n / COLUMNS).min(ROWS) * COLUMNS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_whole_rows() {
        assert_eq!([1, 7, 8, 15, 16, 31, 32, 5000].map(whole_rows), [1, 7, 8, 8, 16, 24, 32, 32]);
    }
}
