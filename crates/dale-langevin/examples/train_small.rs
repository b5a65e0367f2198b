//! A small U-Net learns drawn digits (built in, no download), is written to a file, read back, and draws new ones into a
//! PNG grid.
//!
//! `cargo run --release -p dale-langevin --example train_small [STEPS] [FILE.png]`

use std::path::Path;

use burn::tensor::{DType, Tensor, TensorData};
use dale_langevin::loss::Weighting;
use dale_langevin::net::{Batch, Edm, LearningRate, NetDenoiser, NoiseLevels, StepOptions, Training, UNetConfig};
use dale_langevin::noise::Noise;
use dale_langevin::pixels::Mapping;
use dale_langevin::prior::Prior;
use dale_langevin::sampler::{Sampler, Solver, sample, unobserved};
use dale_langevin::schedule::{EDM_RHO, Grid};
use dale_langevin::score::Level;
use plasticity_core::data::{Batches, Lookup, Split, load, order, resolve};
use plasticity_core::device::by_name;
use plasticity_core::rng::Stream;
use plasticity_core::run::picture;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 64;
const SEED: u64 = 0;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let steps: u64 = std::env::args().nth(1).map_or(Ok(1500), |text| text.parse())?;
    let file = std::env::args().nth(2).unwrap_or_else(|| "digits.png".into());
    let device = by_name("auto")?;
    let (glyphs, _) = resolve(&["glyphs".into()], &Lookup::from_env(None, true))?;
    let images = load(&glyphs, Split::Train, Some(6000))?;
    let (side, u) = (images.height / 2, images.pooled(2)?);
    let pixels = side * side;

    // Pixels u in [0, 1] become y = log(1 + u), centred: noise on y is multiplicative noise on 1 + u.
    let mapping = Mapping::centred(&u, pixels)?;
    let sd_data = mapping.sd_data(&u, pixels)?;
    let rows: Vec<f32> = mapping.to_log(&u, pixels, &device)?.into_data().iter::<f32>().collect();

    let unet = UNetConfig::new(8, &[1, 2]).init(&mut Stream::new(SEED, "weights", 0), &device.clone().autodiff())?;
    let model = Edm::new(unet, [1, side, side], sd_data)?.with_mapping(mapping);
    let mut training = Training::new(model, 0.995);
    let levels = NoiseLevels { mean: -1.2, dev: 1.5, sd_min: 0.01, sd_max: 10.0 };
    let rate = LearningRate { peak: 3e-3, warm_up: 20, steps, floor: 0.0 };
    let tensor = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [BATCH, pixels]), &device);
    let per_epoch = (images.len() / BATCH) as u64;
    for step in 0..steps {
        let batches = Batches::new(order(Stream::new(SEED, "order", step / per_epoch), images.len()), BATCH);
        let indices = batches.get((step % per_epoch) as usize);
        let mut stream = Stream::new(SEED, "training", step);
        let batch = Batch {
            y0: tensor(indices.iter().flat_map(|i| &rows[i * pixels..(i + 1) * pixels]).copied().collect()),
            sds: levels.draw(BATCH, &mut stream),
            eps: tensor(stream.normal_vec(BATCH * pixels)),
        };
        let options = StepOptions { lr: rate.at(step), weighting: Weighting::Edm { sd_data }, clip: Some(1.0) };
        let loss = training.step(&batch, &options)?;
        if step % 250 == 0 || step + 1 == steps {
            println!("step {:5}  loss {loss:.3} (1 is what the data's mean and variance alone give)", step + 1);
        }
    }

    // The averaged weights as a file that says what it is; whoever has it can draw without the lines above.
    let model = Path::new(&file).with_extension("safetensors");
    std::fs::write(&model, training.average.save()?)?;
    let denoiser = NetDenoiser::load(&std::fs::read(&model)?, BATCH, &device)?;
    let prior = Prior::estimated(&rows, pixels, Level::of_sd(10.0))?;
    let mut noise = Noise::new(SEED, "samples", 0, BATCH);
    let start = prior.draw(&mut noise, &device, DType::F32);
    let grid = Grid::edm(0.01, 10.0, EDM_RHO, 20)?;
    let run = sample(&denoiser, start, &grid, &Sampler::new(Solver::DpmSolver2M), &mut noise, &mut unobserved)?;
    let drawn: Vec<f32> = mapping.from_log(run.state.y).into_data().iter::<f32>().collect();
    std::fs::write(&file, picture::Grid::new(side, side, 16).png(&drawn)?)?;
    println!("wrote {file}: {BATCH} digits, {} network calls; the network is {}", run.calls, model.display());
    Ok(())
}
