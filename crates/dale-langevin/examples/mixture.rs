//! A log-normal mixture sampled with its exact score, without a network: the Dale-Langevin sampler and
//! DPM-Solver++(2M), and a plot of both beside the exact density.
//!
//! `cargo run --release -p dale-langevin --example mixture [FILE.svg]`

use burn::tensor::{DType, Tensor, TensorData};
use dale_langevin::distance::w1_to_quantiles;
use dale_langevin::mixture::LogNormalMixture;
use dale_langevin::noise::Noise;
use dale_langevin::sampler::{Sampler, Solver, sample, unobserved};
use dale_langevin::schedule::Grid;
use dale_langevin::score::Level;
use dale_langevin::state::State;
use plasticity_core::device::by_name;
use plotters::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Samples of each sampler.
const N: usize = 100_000;
/// Bins of the histogram on [-0.2, 1.0], 0.01 wide each.
const BINS: usize = 120;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "mixture.svg".into());
    let device = by_name("auto")?;
    let data = LogNormalMixture::mixture_b();
    // Noise of standard deviation 10 in log x leaves nothing of the data.
    let start = data.stratified(N, Level::of_sd(10.0));
    let mut curves = Vec::new();
    println!("{N} samples each; W1 is the Wasserstein-1 distance to the data's own law, 0 if they agree");
    for (name, solver, calls) in [
        ("DPM-Solver++(2M), 20 calls", Solver::DpmSolver2M, 20),
        ("Dale-Langevin, 20 calls", Solver::DaleLog, 20),
        ("Dale-Langevin, 100 calls", Solver::DaleLog, 100),
    ] {
        let grid = Grid::geometric(0.01, 10.0, calls)?;
        let y = Tensor::from_data(TensorData::new(start.clone(), [1, N]), (&device, DType::F64));
        let mut noise = Noise::new(0, "example", 0, 1);
        let run = sample(&data, State::positive(y), &grid, &Sampler::new(solver), &mut noise, &mut unobserved)?;
        // All samplers act on log x: x = exp(y) cannot change its sign.
        let mut ends: Vec<f64> = run.state.y.into_data().iter::<f64>().collect();
        let w1 = w1_to_quantiles(&mut ends, |p| data.quantile(p, Level::CLEAN));
        println!("{name:28} W1 {w1:.4}");
        let mut density = vec![0.0; BINS];
        let bins = ends.iter().filter(|y| **y >= -0.2).map(|y| ((y + 0.2) * 100.0) as usize);
        bins.filter(|bin| *bin < BINS).for_each(|bin| density[bin] += 100.0 / N as f64);
        curves.push((format!("{name}: W1 {w1:.4}"), density));
    }
    let exact = (0..BINS).map(|bin| data.log_density(centre(bin), Level::CLEAN).exp()).collect();
    curves.push(("exact".into(), exact));
    plot(&file, &curves)?;
    println!("wrote {file}");
    Ok(())
}

/// The middle of a bin.
fn centre(bin: usize) -> f64 {
    -0.2 + 0.01 * (bin as f64 + 0.5)
}

fn plot(file: &str, curves: &[(String, Vec<f64>)]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(file, (900, 500)).into_drawing_area();
    root.fill(&WHITE)?;
    let top = curves.iter().flat_map(|(_, c)| c).copied().fold(0.0, f64::max) * 1.05;
    let mut chart =
        ChartBuilder::on(&root).margin(20).set_all_label_area_size(50).build_cartesian_2d(-0.2..1.0, 0.0..top)?;
    chart.configure_mesh().x_desc("y = log x").y_desc("density").draw()?;
    for (i, (name, curve)) in curves.iter().enumerate() {
        let colour = Palette99::pick(i).stroke_width(2);
        let points = curve.iter().enumerate().map(|(bin, density)| (centre(bin), *density));
        let line = chart.draw_series(LineSeries::new(points, colour))?.label(name);
        line.legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE.mix(0.8)).draw()?;
    Ok(root.present()?)
}
