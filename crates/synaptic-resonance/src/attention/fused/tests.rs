//! Every instruction set of this machine; the operation itself is tested from outside.

use std::sync::Arc;

use plasticity_core::rng::Stream;

use super::super::geometry::Sinks;
use super::grad::{self, Outcome};
use super::kernel::{self, Slices};
use super::{Geometry, Plan, Rope, Sight, Sizes};
use crate::settings::Pairs;
use plasticity_core::nn::vector::Isa;

fn run(isa: Isa, plan: &Plan) -> Vec<Vec<f32>> {
    let Sizes { batch, time, heads, groups, width } = plan.sizes;
    let mut stream = Stream::new(1, "isa", 0);
    let mut draw = |n: usize| stream.uniform_vec(n, -1.0, 1.0);
    let columns = batch * (plan.sight.before + time) * groups * width;
    let (q, k, v) = (draw(batch * time * heads * width), draw(columns), draw(columns));
    let grad = draw(q.len());
    let x = Slices { q: &q, k: &k, v: &v };
    let (y, sums) = kernel::forward(isa, plan, x, true);
    let [dq, dk, dv] = grad::backward(isa, plan, x, Outcome { sums: &sums, grad: &grad });
    vec![y, sums, dq, dk, dv]
}

#[test]
fn every_instruction_set_gives_the_same_attention() {
    let sets: Vec<Isa> = Isa::all().collect();
    let plain = sets[sets.len() - 1];
    let (pairs, halves) = (Pairs::Interleaved, Pairs::Halves);
    for (share, width, ring, window, pairs) in [
        (1, 16, 0, Some(8), pairs),
        (2, 32, 3, Some(24), halves),
        (1, 24, 0, None, pairs),
        (3, 64, 7, Some(8), halves),
        (1, 6, 7, None, pairs),
    ] {
        let sizes = Sizes { batch: 2, time: 45, heads: 2 * share, groups: 2, width };
        let filled = [ring, ring / 2];
        // A ring that is full has lost some of the first tokens.
        let kept = [if window.is_some() && ring > 0 { 3 } else { 0 }, 0];
        let position = [(ring + kept[0]) as u64, (ring / 2) as u64];
        let sinks = window.map(|_| Sinks { most: 5, columns: kept[0], filled: &kept, position: &position });
        let geometry = Geometry { window, time: 45, ring, filled: &filled, lengths: &[45, 45], starts: None, sinks };
        let plan = Plan { sight: Arc::new(Sight::new(&geometry, width, Rope { base: 1e4, pairs })), sizes };
        let (expected, first) = (run(plain, &plan), run(sets[0], &plan));
        for isa in &sets[..sets.len() - 1] {
            let found = run(*isa, &plan);
            // Products are rounded once in all of them, sums are taken in one order.
            assert!(found == first, "{isa:?} is not {:?} for {sizes:?}", sets[0]);
            for (found, expected) in found.iter().zip(&expected) {
                let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst <= 1e-5, "{isa:?}: {worst} for {sizes:?}");
            }
        }
    }
}
