//! Prunes a random network in several ways, without data: what is left of each layer, how much of the flow R it
//! carries, and what iterated saliency leaves of the first layer as a picture.
//!
//! `cargo run --release -p hidenseek --example prune [DENSITY] [FILE.png]`

use std::time::Instant;

use hidenseek::init::WeightInit;
use hidenseek::mask::PruneMask;
use hidenseek::network::Architecture;
use hidenseek::prune::{Pruner, prune, saliency};
use plasticity_core::rng::Stream;
use plasticity_core::run::picture;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let density: f64 = std::env::args().nth(1).map_or(Ok(0.1), |text| text.parse())?;
    let file = std::env::args().nth(2).unwrap_or_else(|| "first-layer.png".into());
    let networks = [
        ("MNIST CNN", Architecture::mnist_cnn()),
        ("CIFAR CNN", Architecture::cifar_cnn()),
        ("MLP 784-100-50-10", Architecture::mlp(&[784, 100, 50, 10])?),
    ];
    println!("What pruning leaves of each layer, and of R, the sum over all paths of the product of their |weights|");
    let mut picture_of = None;
    for (title, network) in networks {
        let weights = WeightInit::KaimingNormal.draw(&network, &mut Stream::new(0, "weights", 0));
        let whole = saliency(&network, &weights, &PruneMask::dense(&network))?.flow;
        println!("\n{title}, {} weights {:?} by layer, density {density}:", network.weights(), network.sizes());
        for (name, pruner) in [
            ("SynFlow, 100 cuts", Pruner::SynFlow { iterations: 100 }),
            ("SynFlow, single pass", Pruner::SynFlow { iterations: 1 }),
            ("magnitude", Pruner::Magnitude),
            ("random", Pruner::Random),
        ] {
            let start = Instant::now();
            match prune(&network, &weights, density, pruner, &mut Stream::new(0, "prune", 0)) {
                Ok(mask) => {
                    let (seconds, flow) = (start.elapsed(), saliency(&network, &weights, &mask)?.flow / whole);
                    println!("  {name:21} {:28} R {flow:8.1e} of the whole  {seconds:.1?}", {
                        format!("{:?}", mask.per_layer())
                    });
                    if title.starts_with("MLP") && name.contains("100") {
                        picture_of = Some((mask, weights.clone()));
                    }
                }
                // A layer with nothing left: the typed error names it.
                Err(error) => println!("  {name:21} {error}"),
            }
        }
    }
    if let Some((mask, weights)) = picture_of {
        // Black where pruned, else grey to white by |W0|: one tile of 28 x 28 for each of the 100 hidden units.
        let (first, most) = (mask.sizes()[0], weights.iter().fold(0.0f32, |most, w| most.max(w.abs())));
        let tiles: Vec<f32> = weights[..first]
            .iter()
            .zip(mask.keep())
            .map(|(w, keep)| if *keep { 0.4 + 0.6 * w.abs() / most } else { 0.0 })
            .collect();
        std::fs::write(&file, picture::Grid { magnification: 2, ..picture::Grid::new(28, 28, 10) }.png(&tiles)?)?;
        println!("wrote {file}: what 100 cuts leave of the MLP's first layer, a tile per hidden unit");
    }
    Ok(())
}
