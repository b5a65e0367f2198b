//! CSV: every value of every seed, and the summary. Values are in the metric's own unit
//! (fractions, not percent) and in full precision.

use anyhow::Result;

use crate::report::measured::model::{Report, State};

/// One row per arm, seed and metric; a cell without a result has one row with its state.
///
/// # Errors
/// None in practice: the writer's.
pub fn cells(report: &Report) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["experiment", "data", "arm", "seed", "state", "kept", "metric", "unit", "value", "key"])?;
    for (experiment, arm) in report.arms() {
        let data = experiment.data.as_ref().map_or("", |d| d.name.as_str());
        for cell in &arm.cells {
            let state = match &cell.state {
                State::Done => "done".to_owned(),
                State::Failed { kind, .. } => format!("failed({kind})"),
                State::Unfinished { stage } => stage.clone(),
            };
            let seed = cell.seed.to_string();
            let kept = if cell.kept { "yes" } else { "no" };
            let mut row = |metric: &str, unit: &str, value: &str| {
                csv.write_record([&experiment.name, data, &arm.id, &seed, &state, kept, metric, unit, value, &cell.key])
            };
            for info in &arm.metrics {
                if let Some(value) = cell.metrics.get(&info.name) {
                    row(&info.name, &info.unit, &value.to_string())?;
                }
            }
            if cell.state != State::Done {
                row("", "", "")?;
            }
        }
    }
    Ok(csv.into_inner()?)
}

/// One row per arm and metric.
///
/// # Errors
/// None in practice: the writer's.
pub fn summary(report: &Report) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["experiment", "data", "arm", "metric", "unit", "n", "failed", "mean", "sd", "low95", "high95"])?;
    for (experiment, arm) in report.arms() {
        let data = experiment.data.as_ref().map_or("", |d| d.name.as_str());
        for info in &arm.metrics {
            let summary = arm.summary(&info.name);
            let interval = summary.and_then(|s| s.interval);
            let shown = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
            csv.write_record([
                &experiment.name,
                data,
                &arm.id,
                &info.name,
                &info.unit,
                &summary.map_or(0, |s| s.n).to_string(),
                &arm.failed().to_string(),
                &shown(summary.map(|s| s.mean)),
                &shown(interval.map(|e| e.sd)),
                &shown(interval.map(|e| e.low)),
                &shown(interval.map(|e| e.high)),
            ])?;
        }
    }
    Ok(csv.into_inner()?)
}
