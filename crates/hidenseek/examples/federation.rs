//! A federation of a hundred clients on the built-in glyphs, two classes each: signs on a fifth of a random network.
//!
//! `cargo run --release -p hidenseek --example federation`

use hidenseek::client::{ClientData, Subnetwork};
use hidenseek::federation::{Federation, Settings};
use hidenseek::init::WeightInit;
use hidenseek::network::Architecture;
use hidenseek::partition::{Partition, Population, Scheme, ShardDraw};
use hidenseek::prune::{Pruner, prune};
use hidenseek::supermask::ScoreInit;
use plasticity_core::data::{Images, Lookup, Split, load, resolve};
use plasticity_core::device::by_name;
use plasticity_core::rng::Stream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 14 x 14 pixels, normalised.
fn data(images: Images) -> Result<ClientData, Box<dyn std::error::Error>> {
    Ok(ClientData { x: images.normalised(2)?, labels: images.labels })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (glyphs, _) = resolve(&["glyphs".into()], &Lookup::from_env(None, true))?;
    let (train, test) =
        (data(load(&glyphs, Split::Train, Some(8000))?)?, data(load(&glyphs, Split::Test, Some(2000))?)?);

    // The server: random weights, pruned by saliency, once and without data.
    let architecture = Architecture::mlp(&[196, 100, 50, 10])?;
    let weights = WeightInit::default().draw(&architecture, &mut Stream::new(0, "weights", 0));
    let pruner = Pruner::SynFlow { iterations: 100 };
    let mask = prune(&architecture, &weights, 0.2, pruner, &mut Stream::new(0, "prune", 0))?;
    let scores = ScoreInit::Uniform { a: 0.1 }.draw(mask.survivors(), &mut Stream::new(0, "scores", 0))?;

    // The clients: two shards of twenty images, each of another class.
    let scheme = Scheme::Shards { ways: 2, shots: 20, unbalance: 1.0, draw: ShardDraw::Distinct };
    let partition = Partition::new(&train.labels, 100, &scheme, 0)?;
    let population = Population::new(train, test, 196, partition)?;

    let sub = Subnetwork::new(architecture, weights, mask)?;
    let federation = Federation::new(sub, population, Settings::default(), &by_name("auto")?)?;
    let mut server = federation.begin(scores.clone())?;
    println!(
        "loss: of the round's clients. flips: share of signs that a client turned. global: accuracy of the server's"
    );
    println!("network on all classes. personal: of the clients after their round, on their own two.\n");
    println!("{:>5} {:>8} {:>9} {:>10} {:>9}", "round", "loss", "flips", "global", "personal");
    for _ in 0..60 {
        let report = federation.round(&mut server, true)?;
        if report.round % 10 == 0 {
            let (global, personal) = (federation.global(&server)?, report.personal().unwrap_or(f64::NAN));
            let (loss, flips) = (report.loss, report.flips);
            println!("{:5} {loss:8.3} {flips:9.3} {global:10.3} {personal:9.3}", report.round);
        }
    }
    let (tuned, alone) = (federation.fine_tuned(&server)?, federation.standalone(&scores, 5)?);
    println!("\nAccuracy of the hundred clients on their own classes:");
    println!("fine-tuned: mean {:.3}, 10th percentile {:.3}, worst {:.3}", tuned.mean, tuned.tenth, tuned.worst);
    println!("never sent: mean {:.3}, 10th percentile {:.3}, worst {:.3}", alone.mean, alone.tenth, alone.worst);
    let (up, down) = (server.ledger().total.up.total(), server.ledger().total.down.total());
    println!(
        "\nSent: {} bytes up, {} bytes down, in {} messages",
        up.bytes(),
        down.bytes(),
        up.messages + down.messages
    );
    Ok(())
}
