//! The DSR neuron inside any model that Burn differentiates: one spiking layer and a linear
//! readout learn to tell two rings apart.
//!
//! `cargo run --release -p hebbian-snn --example dsr_layer`

use burn::module::Param;
use burn::nn::Linear;
use burn::optim::{AdamConfig, GradientsParams};
use burn::prelude::*;
use hebbian_snn::neuron::DsrLif;
use plasticity_core::device::by_name;
use plasticity_core::rng::Stream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Module, Debug)]
struct Net {
    input: Linear,
    threshold: Param<Tensor<1>>,
    readout: Linear,
    #[module(skip)]
    lif: DsrLif,
}

impl Net {
    /// `[batch, 2]` to logits `[batch, 2]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        // The same current at every time step: [time, batch, features].
        let current = self.input.forward(x).unsqueeze_dim::<3>(0).repeat_dim(0, self.lif.steps);
        let spikes = self.lif.forward_autodiff(current, self.threshold.val());
        self.readout.forward(self.lif.wfr(spikes))
    }
}

/// Points on a ring of radius 1 (label 0) or 2 (label 1), with noise.
fn rings(n: usize, device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
    let mut stream = Stream::new(0, "rings", 0);
    let mut points = Vec::new();
    let labels: Vec<i32> = (0..n).map(|i| (i % 2) as i32).collect();
    for label in &labels {
        let (radius, angle) =
            (f64::from(1 + label) + 0.15 * stream.normal(), stream.uniform_in(0.0, std::f64::consts::TAU));
        points.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
    }
    (
        Tensor::from_data(TensorData::new(points, [n, 2]), device),
        Tensor::from_data(TensorData::new(labels, [n]), device),
    )
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = by_name("auto")?.autodiff();
    let lif = DsrLif::default();
    let linear = |stream: &mut Stream, n: usize, out: usize| Linear {
        weight: Param::from_data(TensorData::new(stream.uniform_vec(n * out, -1.0, 1.0), [n, out]), &device),
        bias: Some(Param::from_data(TensorData::new(stream.uniform_vec(out, -1.0, 1.0), [out]), &device)),
    };
    let mut stream = Stream::new(0, "weights", 0);
    let threshold = Param::from_data(TensorData::new(vec![lif.threshold as f32], [1]), &device);
    let mut net = Net { input: linear(&mut stream, 2, 64), threshold, readout: linear(&mut stream, 64, 2), lif };
    let mut optimiser = AdamConfig::new().with_epsilon(1e-8).init();
    let (x, labels) = rings(400, &device);
    for epoch in 1..=200 {
        let logits = net.forward(x.clone());
        let hits = logits.clone().argmax(1).squeeze_dim::<1>(1).equal(labels.clone()).int().sum().into_scalar::<i64>();
        let loss = burn::nn::loss::CrossEntropyLossConfig::new().init(&device).forward(logits, labels.clone());
        if epoch % 40 == 0 {
            println!("epoch {epoch}: loss {:.4}, {hits} of 400 points told right", loss.clone().into_scalar::<f32>());
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        net = optimiser.step(0.01, net, gradients);
    }
    Ok(())
}
