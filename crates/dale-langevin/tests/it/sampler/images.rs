//! Sampling from real images' exact posterior mean: sampler, priors and mapping without a network.

use burn::prelude::*;
use burn::tensor::DType;
use dale_langevin::memory::PosteriorMean;
use dale_langevin::noise::Noise;
use dale_langevin::pixels::Mapping;
use dale_langevin::prior::Prior;
use dale_langevin::sampler::{PaperSet, Sampler, Solver, sample, unobserved};
use dale_langevin::schedule::Grid;
use dale_langevin::score::Level;
use dale_langevin::state::State;
use plasticity_core::data::testing::data_or_skip;
use plasticity_core::data::{Split, load};

use super::{cpu, values};

const PIXELS: usize = 14 * 14;
const STORED: usize = 5000;
const SAMPLES: usize = 500;

/// The first images of MNIST's test split at 14x14 by averages of 2x2, in log space.
struct Digits {
    mapping: Mapping,
    /// `[STORED, PIXELS]`.
    log: Tensor<2>,
    rows: Vec<f32>,
    labels: Vec<u8>,
    model: PosteriorMean,
}

fn digits() -> Option<Digits> {
    let mnist = data_or_skip("mnist")?;
    let images = load(&mnist, Split::Test, Some(STORED)).unwrap();
    let mut u = Vec::with_capacity(STORED * PIXELS);
    for i in 0..STORED {
        let image = images.image(i);
        let at = |r: usize, c: usize| f32::from(image[r * 28 + c]);
        for (r, c) in (0..14).flat_map(|r| (0..14).map(move |c| (2 * r, 2 * c))) {
            u.push((at(r, c) + at(r, c + 1) + at(r + 1, c) + at(r + 1, c + 1)) / 4.0 / 255.0);
        }
    }
    let mapping = Mapping::centred(&u, PIXELS).unwrap();
    let log = mapping.to_log(&u, PIXELS, &cpu()).unwrap();
    let rows = log.clone().into_data().iter::<f32>().collect();
    let model = PosteriorMean::new(log.clone()).unwrap();
    Some(Digits { mapping, log, rows, labels: images.labels, model })
}

impl Digits {
    fn intensity(&self, y: Tensor<2>) -> f64 {
        let u = values(&self.mapping.from_log(y));
        u.iter().sum::<f64>() / u.len() as f64
    }

    /// Every tenth stored image with terminal noise: a draw from p_T.
    fn truth(&self, noise: &mut Noise, sd: f64) -> State {
        let z = noise.normal(PIXELS, &cpu(), DType::F32);
        let index: Vec<i32> = (0..SAMPLES).map(|i| (i * (STORED / SAMPLES)) as i32).collect();
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [SAMPLES]), &cpu());
        State::positive(self.log.clone().select(0, index) + z * sd)
    }

    /// Samples from a start at `sd`: relative error of the mean intensity, and KL of the nearest stored
    /// images' classes to the stored classes.
    fn sampled(&self, sd: f64, start: impl Fn(&mut Noise) -> State) -> (f64, f64) {
        let mut noise = Noise::new(21, "t21", 0, SAMPLES);
        let grid = Grid::edm(0.01, sd, 7.0, 20).unwrap();
        let from = start(&mut noise);
        let sampler = Sampler::new(Solver::DpmSolver2M);
        let found = sample(&self.model, from, &grid, &sampler, &mut noise, &mut unobserved).unwrap();
        let y = found.state.y;
        let truth = self.intensity(self.log.clone());
        // The nearest image has the greatest posterior weight, at any noise.
        let nearest = self.model.weights(y.clone(), 0.1).unwrap().argmax(1);
        let classes = |labels: &mut dyn Iterator<Item = u8>| {
            let mut count = [0.0; 10];
            labels.for_each(|label| count[usize::from(label)] += 1.0);
            let sum: f64 = count.iter().sum();
            count.map(|n| n / sum)
        };
        let q = classes(&mut self.labels.iter().copied());
        let p = classes(&mut nearest.into_data().iter::<i64>().map(|i| self.labels[i as usize]));
        let kl = p.iter().zip(q).map(|(p, q)| if *p > 0.0 { p * (p / q).ln() } else { 0.0 }).sum();
        (self.intensity(y) / truth - 1.0, kl)
    }
}

#[test]
fn t21_posterior_mean_of_real_images_from_the_true_start() {
    let Some(digits) = digits() else { return };
    let (intensity, kl) = digits.sampled(0.8, |noise| digits.truth(noise, 0.8));
    assert!(intensity.abs() < 0.02, "mean intensity off by {intensity}");
    assert!(kl < 0.02, "KL of classes {kl}");

    // Section 15 at 14x14: independent pixels are too dim, the Gaussian is nearly right, and so is large noise.
    let level = Level::of_sd(0.8);
    let from = |prior: Prior, sd: f64| digits.sampled(sd, |noise| prior.draw(noise, &cpu(), DType::F32));
    let moments = from(Prior::estimated(&digits.rows, PIXELS, level).unwrap(), 0.8);
    let paper = from(Prior::paper(PaperSet::Mnist, PIXELS, digits.mapping.shift).unwrap(), 0.8);
    let pixelwise = from(Prior::per_pixel(&digits.rows, PIXELS, level).unwrap(), 0.8);
    let pca = from(Prior::gaussian_pca(&digits.rows, PIXELS, level).unwrap(), 0.8);
    let large = from(Prior::terminal_noise(&digits.rows, PIXELS, Level::of_sd(10.0)).unwrap(), 10.0);
    assert!(moments.0 < paper.0 - 0.05 && paper.0 < pixelwise.0 - 0.04, "{moments:?} {paper:?} {pixelwise:?}");
    assert!(moments.0 < -0.18 && (-0.17..-0.07).contains(&paper.0), "{moments:?} {paper:?}");
    assert!(pca.0.abs() < 0.05 && large.0.abs() < 0.05, "{pca:?} {large:?}");
    assert!(moments.1 > 0.04 && pca.1 < 0.02 && large.1 < 0.02, "{moments:?} {pca:?} {large:?}");
}
