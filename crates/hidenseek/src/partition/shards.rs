//! n-way k-shot (section 5.2).

use plasticity_core::rng::Stream;

use super::{DRAWS, Partition, by_class};
use crate::error::FederationError;

pub(super) const FEWER: &str = "fewer `clients`, `ways` or `shots`, or `draw = \"overlap\"`";

/// Pure shards, without replacement, of distinct classes for each client.
pub(super) fn distinct(
    labels: &[u8],
    clients: usize,
    sizes: &[usize],
    seed: u64,
) -> Result<Partition, FederationError> {
    let (classes, ways, shots) = (by_class(labels), sizes.len(), sizes[0]);
    let shards: Vec<usize> = classes.iter().map(|images| images.len() / shots).collect();
    let needed = clients as u64 * ways as u64;
    // A client takes one shard of a class at most.
    let found = shards.iter().map(|s| (*s).min(clients) as u64).sum();
    if found < needed {
        return Err(FederationError::NotEnough { field: "clients", needed, found, mend: FEWER });
    }
    for draw in 0..DRAWS {
        let mut stream = Stream::new(seed, "hidenseek/partition/shards", draw);
        if let Some(drawn) = draw_distinct(&shards, clients, ways, &mut stream) {
            return Ok(Partition::from_clients(drawn.into_iter().map(|mine| {
                let images = mine.into_iter().zip(sizes).flat_map(|((class, shard), size)| {
                    let start = shard * shots;
                    &classes[class][start..start + size]
                });
                images.copied().collect()
            })));
        }
    }
    let mend = "leave more shards to choose from: no draw in 1,000 gave every client distinct classes";
    Err(FederationError::NotEnough { field: "clients", needed, found, mend })
}

/// Shards (class, index) of each client, uniformly among those left of classes that it lacks; none at a dead end.
fn draw_distinct(
    shards: &[usize],
    clients: usize,
    ways: usize,
    stream: &mut Stream,
) -> Option<Vec<Vec<(usize, usize)>>> {
    let mut left: Vec<Vec<usize>> = shards.iter().map(|count| (0..*count).collect()).collect();
    (0..clients)
        .map(|_| {
            let mut mine: Vec<(usize, usize)> = Vec::with_capacity(ways);
            for _ in 0..ways {
                let open = |class: &usize| mine.iter().all(|(had, _)| had != class);
                let count: usize = (0..left.len()).filter(open).map(|class| left[class].len()).sum();
                if count == 0 {
                    return None;
                }
                let mut choice = stream.below(count as u64) as usize;
                let class = (0..left.len()).filter(open).find(|class| {
                    let here = choice < left[*class].len();
                    if !here {
                        choice -= left[*class].len();
                    }
                    here
                })?;
                mine.push((class, left[class].swap_remove(choice)));
            }
            Some(mine)
        })
        .collect()
}

/// Shards of the sorted labels, without replacement, regardless of class.
pub(super) fn literal(labels: &[u8], clients: usize, sizes: &[usize], seed: u64) -> Result<Partition, FederationError> {
    let (sorted, shots) = (by_class(labels).concat(), sizes[0]);
    let (needed, found) = (clients as u64 * sizes.len() as u64, (sorted.len() / shots) as u64);
    if found < needed {
        return Err(FederationError::NotEnough { field: "clients", needed, found, mend: FEWER });
    }
    let shards = Stream::new(seed, "hidenseek/partition/literal", 0).permutation(found as usize);
    Ok(Partition::from_clients(shards.chunks(sizes.len()).take(clients).map(|mine| {
        let images = mine.iter().zip(sizes).flat_map(|(shard, size)| &sorted[shard * shots..shard * shots + size]);
        images.copied().collect()
    })))
}

/// Nothing is drawn yet: every client draws for itself.
pub(super) fn overlap(
    labels: &[u8],
    clients: usize,
    shards: Vec<usize>,
    seed: u64,
) -> Result<Partition, FederationError> {
    let mut by_class = by_class(labels);
    by_class.retain(|images| images.len() >= shards[0]);
    let (needed, found) = (shards.len() as u64, by_class.len() as u64);
    if found < needed {
        let mend = "fewer `ways` or `shots`: so many classes must have `shots` images";
        return Err(FederationError::NotEnough { field: "ways", needed, found, mend });
    }
    Ok(Partition::Overlap { by_class, clients, shards, seed })
}
