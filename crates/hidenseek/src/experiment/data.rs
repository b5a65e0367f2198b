//! Images of a run: pooled, normalised, dealt to clients.

use plasticity_core::data::{Images, Split};
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;

use super::config::{Config, Evaluation};
use crate::client::ClientData;
use crate::partition::{Partition, Population};

/// The clients and the test set of a run, and the number of classes.
pub(super) fn load(config: &Config, ctx: &RunContext) -> Result<(Population, usize), RunError> {
    let (train, test) = match config.evaluate_on {
        Evaluation::Test => {
            (ctx.images(Split::Train, config.train_images)?, ctx.images(Split::Test, config.test_images)?)
        }
        Evaluation::Validation => {
            let all = ctx.images(Split::Train, config.train_images.saturating_add(config.test_images))?;
            let at = config.train_images;
            let held_out = Images {
                pixels: all.pixels[at * all.size()..].to_vec(),
                labels: all.labels[at..].to_vec(),
                ..all.clone()
            };
            (all.take(at), held_out)
        }
    };
    let inputs = train.size() / (config.pool * config.pool);
    let partition = Partition::new(&train.labels, config.clients, &config.partition, ctx.seed())?;
    let population =
        Population::new(normalised(&train, config.pool)?, normalised(&test, config.pool)?, inputs, partition)?;
    Ok((population, train.classes))
}

/// Pooled, and normalised as the protocol does with every grey set (section 5.1).
fn normalised(images: &Images, pool: usize) -> Result<ClientData, RunError> {
    Ok(ClientData { x: images.normalised(pool)?, labels: images.labels.clone() })
}
