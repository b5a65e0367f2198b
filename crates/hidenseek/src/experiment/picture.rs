//! Who holds what, as a picture: clients from left to right, classes from top to bottom.

use plasticity_core::error::RunError;
use plasticity_core::run::record::Picture;
use plasticity_core::run::{RunContext, picture};

use crate::partition::Population;

/// Clients of the picture at most: five pixels each, on one row.
const MOST: usize = 1000;

const FILE: &str = "partition.png";

/// Publishes the picture; white is the most images of one class. Before the rounds: what cannot be drawn or written is
/// known before anything is trained.
pub(super) fn publish(population: &Population, classes: usize, ctx: &RunContext) -> Result<Picture, RunError> {
    let (clients, shown) = (population.clients(), population.clients().min(MOST));
    let histogram: Vec<_> = (0..shown).map(|client| population.histogram(client, classes)).collect();
    let most = histogram.iter().flatten().max().copied().unwrap_or(0).max(1) as f32;
    let cells: Vec<f32> =
        (0..classes).flat_map(|class| histogram.iter().map(move |row| row[class] as f32 / most)).collect();
    let grid = picture::Grid { magnification: 5, gap: 0, ..picture::Grid::new(classes, shown, 1) };
    ctx.artifact(FILE, &grid.png(&cells)?)?;
    let held = || histogram.iter().map(|row| row.iter().filter(|images| **images > 0).count());
    let held = match (held().min().unwrap_or(0), held().max().unwrap_or(0)) {
        (least, most) if least == most => most.to_string(),
        (least, most) => format!("{least} to {most}"),
    };
    let who = if shown < clients { format!("the first {shown} of {clients}") } else { clients.to_string() };
    Ok(Picture {
        file: FILE.into(),
        title: "Who holds what".into(),
        caption: format!(
            "a column for each of {who} clients, a row for each of {classes} classes; black: no image of it, white: \
             {most}. Look for: of how many classes a client has images, here {held}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plasticity_core::checkpoint::Fault;
    use plasticity_core::run::Setup;
    use plasticity_core::run::record::{CellSpec, FORMAT};

    use super::*;
    use crate::partition::Synthetic;

    /// Five pixels for each of a million clients would be more than a picture may have.
    #[test]
    fn a_million_clients_have_a_picture() {
        let dir = tempfile::tempdir().unwrap();
        let spec = CellSpec {
            format: FORMAT,
            experiment: "hidenseek".into(),
            arm: "a".into(),
            seed: 0,
            device: "flex".into(),
            threads: 1,
            data: None,
            key: String::new(),
            protocol: String::new(),
        };
        let ctx = RunContext::new(Setup {
            dir: dir.path().to_path_buf(),
            spec,
            device: plasticity_core::device::by_name("flex").unwrap(),
            stop: Arc::default(),
            progress: Box::new(|_| ()),
            fault: Fault::none(),
        })
        .unwrap();
        let synthetic = Synthetic::new((1_000_000, 2, 20), (4, 10), 0.5, 0).unwrap();
        let picture = publish(&Population::synthetic(synthetic, 1), 10, &ctx).unwrap();
        assert!(picture.caption.contains("the first 1000 of 1000000 clients"), "{}", picture.caption);
        assert!(picture.caption.ends_with("of how many classes a client has images, here 2"), "{}", picture.caption);
        assert!(ctx.has_artifact(&picture.file));
    }
}
