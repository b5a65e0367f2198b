//! Continual learning on the built-in digits, by hand: three tasks, each with its pixels in
//! another order, learned one after the other. Prints the accuracy on every task after each.
//!
//! `cargo run --release -p hebbian-snn --example continual_glyphs [naive]`

use hebbian_snn::dsr;
use hebbian_snn::experiment::{Task, TaskStream};
use hebbian_snn::hlop::{Hlop, Projection};
use hebbian_snn::learner::Learner;
use hebbian_snn::network::MlpConfig;
use hebbian_snn::neuron::DsrLif;
use hebbian_snn::subspace::{Consolidate, LateralRule};
use hebbian_snn::train::Optimiser;
use plasticity_core::data::{Batches, Lookup, Split, load, order, resolve};
use plasticity_core::device::by_name;
use plasticity_core::rng::Stream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let naive = std::env::args().nth(1).as_deref() == Some("naive");
    let device = by_name("auto")?;
    let (glyphs, _) = resolve(&["glyphs".into()], &Lookup::from_env(None, true))?;
    let (train, test) = (load(&glyphs, Split::Train, Some(12_800))?, load(&glyphs, Split::Test, Some(1_000))?);
    let tasks: Vec<Task> = (0..3).map(|t| Task::new(TaskStream::Permuted, t)).collect::<Result<_, _>>()?;

    // The network, and subspace neurons for its three layers of weights.
    let config = MlpConfig { inputs: 784, hidden: vec![200, 200], classes: 10, lif: DsrLif::default() };
    let mlp = config.init(&mut Stream::new(0, "weights", 0), &device)?;
    let rules = [0.001, 0.01, 0.01].map(|lr| LateralRule { lr, ..LateralRule::default() });
    let hlop = Hlop::new(&mlp.layer_inputs(), &rules, Projection::Input, Consolidate::Qr, &device)?;
    let mut learner = Learner::new(mlp, (!naive).then_some(hlop), Optimiser::Sgd, 0.1)?;
    let rows = if naive { &[][..] } else { &[80, 60, 40] };

    let how = if naive { "nothing is protected" } else { "HLOP keeps out of what earlier tasks use" };
    println!("Three tasks, each with its pixels in another order; {how}. Accuracy on 1,000 test images:");
    println!("{:12} {}", "", (1..=tasks.len()).map(|t| format!("{:>9}", format!("task {t}"))).collect::<String>());
    for (t, task) in tasks.iter().enumerate() {
        // A task owns the network until it ends; its end fixes what it has learned.
        let mut learning = learner.begin_task(rows, &mut Stream::new(0, "rows", t as u64))?;
        for batch in Batches::new(order(Stream::new(0, "order", t as u64), train.len()), 64).iter() {
            let (x, labels) = task.batch(&train, batch, &device);
            learning.step(x, labels)?;
        }
        (learner, _) = learning.finish();

        let all: Vec<usize> = (0..test.len()).collect();
        let mut row = String::new();
        for task in &tasks[..=t] {
            let (x, labels) = task.batch(&test, &all, &device);
            let right = dsr::correct(dsr::evaluate(learner.mlp(), x)?, labels)?;
            row += &format!("{:7.1} %", 100.0 * right as f64 / test.len() as f64);
        }
        println!("after task {} {row}", t + 1);
    }
    Ok(())
}
