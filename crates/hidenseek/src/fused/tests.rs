//! What only the inside can check: every instruction set of this machine gives the same round.

use super::*;
use crate::client::Optimiser;
use crate::mask::PruneMask;
use crate::network::Architecture;
use crate::supermask::{MaskKind, Surrogate};

/// What a job gives in every instruction set of this machine, the plain one first.
fn every<J: Job16 + Clone>(job: &J) -> Vec<J::Out> {
    let mut all: Vec<_> = Isa::all().map(|isa| isa.run16(job.clone())).collect();
    all.reverse();
    all
}

/// A network whose layers are sparse, dense with holes, and whole.
fn example(images: usize) -> (Prepared, Vec<f32>, ClientData) {
    let architecture = Architecture::mlp(&[37, 21, 18, 5]).unwrap();
    let mut stream = Stream::new(1, "example", 0);
    let weights: Vec<f32> = stream.normal_vec(architecture.weights()).into_iter().map(|w| 0.3 * w).collect();
    let densities = architecture.sizes().into_iter().zip([0.2, 0.6, 1.0]);
    let keep = densities.flat_map(|(n, d)| (0..n).map(|_| stream.bernoulli(d)).collect::<Vec<_>>()).collect();
    let mask = PruneMask::new(&architecture, keep).unwrap();
    let scores = stream.uniform_vec(mask.survivors(), -0.1, 0.1);
    let labels = (0..images).map(|i| (i % 5) as u8).collect();
    let data = ClientData { x: stream.normal_vec(images * 37), labels };
    (Prepared::new(&Subnetwork::new(architecture, weights, mask).unwrap()).unwrap(), scores, data)
}

#[test]
fn every_instruction_set_trains_alike() {
    for (images, batch) in [(45, 20), (7, 7), (80, 50)] {
        let (prepared, values, data) = example(images);
        let optimiser = Optimiser::Sgd { lr: 1.0, momentum: 0.5 };
        let training = LocalTraining { epochs: 2, batch, optimiser };
        let trainable = Trainable::Scores { kind: MaskKind::Sign, surrogate: Surrogate::Tanh };
        let stream = &Stream::new(2, "order", 0);
        let (prepared, values, training) = (&prepared, &values, &training);
        let job = Train { prepared, trainable, values, data: &data, training, stream };
        let all: Vec<_> = every(&job).into_iter().map(|(trained, _)| trained.unwrap()).collect();
        for trained in &all[1..] {
            assert_eq!(trained, &all[all.len() - 1], "the wide sets round alike");
        }
        let off = all[0].values.iter().zip(&all[all.len() - 1].values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-5, "{off}");

        let x = data.x.as_slice();
        let all = every(&Logits { prepared, trainable, values, x, rows: None, images });
        assert!(all[1..].iter().all(|logits| logits == &all[all.len() - 1]));
        assert!(all[0].iter().zip(&all[all.len() - 1]).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
