//! Who holds which images (section 5): partitions as pure functions of labels, scheme and seed, and populations of
//! clients that cost nothing until they are sampled.

mod dirichlet;
mod population;
mod shards;
mod synthetic;

pub use population::Population;
pub(crate) use population::untested;
pub use synthetic::Synthetic;

use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

use crate::error::FederationError;

/// A draw that fails is made again from the next stream, so many times at most.
const DRAWS: u64 = 1000;

/// How the images are dealt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "scheme", deny_unknown_fields)]
pub enum Scheme {
    /// n-way k-shot (section 5.2): shards of one class each.
    Shards {
        /// Shards of a client, n.
        ways: usize,
        /// Images of a shard, k.
        shots: usize,
        /// Later shards of a client are cut to `floor(unbalance * shots)`; 1 leaves them whole.
        unbalance: f64,
        /// How shards meet clients.
        draw: ShardDraw,
    },
    /// Images at random.
    Iid {
        /// Images of a client; none deals all of them out evenly.
        shots: Option<usize>,
    },
    /// Proportions of each class over the clients from a symmetric Dirichlet distribution; all images are dealt.
    Dirichlet {
        /// Concentration: small is unequal.
        alpha: f64,
        /// Images that each client gets at least; the whole split is drawn again until it holds.
        least: usize,
    },
}

/// How shards meet clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShardDraw {
    /// Without replacement, every shard of a client from another class.
    Distinct,
    /// Without replacement, shards cut from the labels in sorted order and drawn regardless of class (LotteryFL): a
    /// client may get one class, and a shard may straddle two.
    Literal,
    /// Distinct classes, with replacement across clients: any number of clients, whose images overlap.
    Overlap,
}

impl Scheme {
    /// Whether its numbers are in their domains, whatever the data.
    ///
    /// # Errors
    /// [`FederationError::Setting`], which names the first that is not.
    pub fn check(&self) -> Result<(), FederationError> {
        match *self {
            Self::Shards { ways, shots, unbalance, .. } => later_shots(ways, shots, unbalance).map(drop),
            Self::Iid { shots: Some(0) } => Err(FederationError::setting("shots", 0, "at least 1")),
            Self::Iid { .. } => Ok(()),
            // The logarithm of a gamma variable, which is of the order of 1 / alpha, has to be a number.
            Self::Dirichlet { alpha, .. } if !(alpha >= 1e-100 && alpha.is_finite()) => {
                Err(FederationError::setting("alpha", alpha, "finite and above 0 (at least 1e-100)"))
            }
            Self::Dirichlet { .. } => Ok(()),
        }
    }

    /// Whether so many `images` of so many `classes` can be dealt to so many `clients`, as far as that can be told
    /// without their labels; [`Partition::new`] tells the rest.
    ///
    /// # Errors
    /// [`FederationError::NotEnough`], and as [`Scheme::check`].
    pub fn fits(&self, images: usize, classes: usize, clients: usize) -> Result<(), FederationError> {
        self.check()?;
        let refuse = |field, needed: u128, found: usize, mend| {
            let needed = u64::try_from(needed).unwrap_or(u64::MAX);
            if needed <= found as u64 {
                return Ok(());
            }
            Err(FederationError::NotEnough { field, needed, found: found as u64, mend })
        };
        let all = |each: usize| clients as u128 * each as u128;
        match *self {
            Self::Shards { ways, shots, draw, .. } => {
                if draw != ShardDraw::Literal {
                    refuse("ways", ways as u128, classes, "at most one shard of a client comes from a class")?;
                }
                if draw == ShardDraw::Overlap {
                    return refuse("shots", ways as u128 * shots as u128, images, "fewer `ways` or `shots`");
                }
                refuse("clients", all(ways), images / shots, shards::FEWER)
            }
            Self::Iid { shots } => refuse("clients", all(shots.unwrap_or(1)), images, "fewer `clients` or `shots`"),
            Self::Dirichlet { least, .. } => {
                refuse("clients", all(least.max(1)), images, "fewer `clients`, or a lower `least`")
            }
        }
    }
}

/// Which images each client holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Partition {
    /// No image twice: client `k` holds `order[starts[k]..starts[k + 1]]`.
    Disjoint {
        /// Images, client by client.
        order: Vec<u32>,
        /// Where each client begins, and the end.
        starts: Vec<u32>,
    },
    /// Each client draws its own shards when it is asked for.
    Overlap {
        /// Images of each class that has any.
        by_class: Vec<Vec<u32>>,
        /// Number of clients.
        clients: usize,
        /// Images of each shard.
        shards: Vec<usize>,
        /// Key of the draws.
        seed: u64,
    },
}

impl Partition {
    /// Deals the images with these labels to `clients`.
    ///
    /// # Errors
    /// [`FederationError::NotEnough`] when the data cannot hold so many clients or shots, or when no draw in 1,000
    /// meets the scheme's condition; [`FederationError::Setting`] for a setting outside its domain.
    pub fn new(labels: &[u8], clients: usize, scheme: &Scheme, seed: u64) -> Result<Self, FederationError> {
        if clients == 0 || clients > u32::MAX as usize {
            return Err(FederationError::setting("clients", clients, "between 1 and 4,294,967,295"));
        }
        if labels.len() > u32::MAX as usize {
            return Err(FederationError::setting("labels", labels.len(), "at most 4,294,967,295"));
        }
        scheme.check()?;
        match *scheme {
            Scheme::Shards { ways, shots, unbalance, draw } => {
                if ways > labels.len() {
                    let (needed, found, mend) = (ways as u64, labels.len() as u64, "fewer `ways`");
                    return Err(FederationError::NotEnough { field: "ways", needed, found, mend });
                }
                let later = later_shots(ways, shots, unbalance)?;
                let sizes: Vec<usize> = (0..ways).map(|i| if i == 0 { shots } else { later }).collect();
                match draw {
                    ShardDraw::Distinct => shards::distinct(labels, clients, &sizes, seed),
                    ShardDraw::Literal => shards::literal(labels, clients, &sizes, seed),
                    ShardDraw::Overlap => shards::overlap(labels, clients, sizes, seed),
                }
            }
            Scheme::Iid { shots } => iid(labels.len(), clients, shots, seed),
            Scheme::Dirichlet { alpha, least } => dirichlet::deal(labels, clients, alpha, least, seed),
        }
    }

    /// Number of clients.
    pub fn clients(&self) -> usize {
        match self {
            Self::Disjoint { starts, .. } => starts.len().saturating_sub(1),
            Self::Overlap { clients, .. } => *clients,
        }
    }

    /// Images of the client that holds the most.
    pub(crate) fn most_images(&self) -> usize {
        match self {
            Self::Disjoint { starts, .. } => {
                starts.windows(2).map(|pair| pair[1].saturating_sub(pair[0]) as usize).max().unwrap_or(0)
            }
            Self::Overlap { shards, .. } => shards.iter().fold(0, |sum: usize, size| sum.saturating_add(*size)),
        }
    }

    /// The images of a client; none for one that is not registered, or whose range is none of `order`.
    pub fn client(&self, client: usize) -> Vec<u32> {
        match self {
            _ if client >= self.clients() => Vec::new(),
            Self::Disjoint { order, starts } => {
                let range = starts[client] as usize..starts[client + 1] as usize;
                order.get(range).map(<[u32]>::to_vec).unwrap_or_default()
            }
            Self::Overlap { by_class, shards, seed, .. } => {
                let mut stream = Stream::new(*seed, "hidenseek/partition/overlap", client as u64);
                let classes = some(by_class.len(), shards.len(), &mut stream);
                let pairs = classes.into_iter().zip(shards);
                pairs
                    .flat_map(|(class, size)| {
                        let images = &by_class[class];
                        some(images.len(), *size, &mut stream).into_iter().map(|i| images[i]).collect::<Vec<_>>()
                    })
                    .collect()
            }
        }
    }

    /// Images of each class that a client holds: a row of the histogram client x class.
    pub fn histogram(&self, client: usize, labels: &[u8], classes: usize) -> Vec<u32> {
        let mut row = vec![0; classes];
        for image in self.client(client) {
            if let Some(count) = labels.get(image as usize).and_then(|label| row.get_mut(usize::from(*label))) {
                *count += 1;
            }
        }
        row
    }

    /// From the images of each client.
    fn from_clients(clients: impl Iterator<Item = Vec<u32>>) -> Self {
        let (mut order, mut starts) = (Vec::new(), vec![0]);
        for images in clients {
            order.extend(images);
            starts.push(order.len() as u32);
        }
        Self::Disjoint { order, starts }
    }
}

/// `count` of `0..n` without replacement, in random order; all where there are fewer.
pub(crate) fn some(n: usize, count: usize, stream: &mut Stream) -> Vec<usize> {
    // Fisher and Yates from the front, of which only the touched places are kept.
    let mut moved = std::collections::HashMap::new();
    (0..count.min(n))
        .map(|i| {
            let j = i + stream.below((n - i) as u64) as usize;
            let at_i = *moved.get(&i).unwrap_or(&i);
            moved.insert(j, at_i).unwrap_or(j)
        })
        .collect()
}

/// The images of every shard of a client but the first, which has `shots`.
fn later_shots(ways: usize, shots: usize, unbalance: f64) -> Result<usize, FederationError> {
    for (field, size) in [("ways", ways), ("shots", shots)] {
        if size == 0 {
            return Err(FederationError::setting(field, size, "at least 1"));
        }
    }
    if !(unbalance > 0.0 && unbalance <= 1.0) {
        return Err(FederationError::setting("unbalance", unbalance, "above 0 and at most 1"));
    }
    let later = (unbalance * shots as f64).floor() as usize;
    if later == 0 && ways > 1 {
        return Err(FederationError::setting("unbalance", unbalance, "large enough to leave an image in a shard"));
    }
    Ok(later.min(shots))
}

/// The images of each class, rising.
pub(crate) fn by_class(labels: &[u8]) -> Vec<Vec<u32>> {
    let mut classes = vec![Vec::new(); labels.iter().max().map_or(0, |most| usize::from(*most) + 1)];
    for (image, label) in (0u32..).zip(labels) {
        classes[usize::from(*label)].push(image);
    }
    classes
}

fn iid(images: usize, clients: usize, shots: Option<usize>, seed: u64) -> Result<Partition, FederationError> {
    let needed = (clients as u64).saturating_mul(shots.unwrap_or(1) as u64);
    if needed > images as u64 {
        let mend = "fewer `clients` or `shots`";
        return Err(FederationError::NotEnough { field: "clients", needed, found: images as u64, mend });
    }
    let mut order: Vec<u32> = Stream::new(seed, "hidenseek/partition/iid", 0)
        .permutation(images)
        .into_iter()
        .map(|image| image as u32)
        .collect();
    let end =
        |client: usize| shots.map_or((client as u64 * images as u64 / clients as u64) as u32, |s| (client * s) as u32);
    let starts: Vec<u32> = (0..=clients).map(end).collect();
    order.truncate(starts[clients] as usize);
    Ok(Partition::Disjoint { order, starts })
}
