//! Every instruction set of this machine; the operations themselves are tested from outside.

use plasticity_core::rng::Stream;

use super::rule::{self, Slices};
use super::rule_grad::{self, Incoming};
use super::{Gated, Plan};
use crate::inputs::Sizes;
use crate::settings::Rule;
use plasticity_core::nn::vector::Isa;

fn run(isa: Isa, sizes: Sizes, rule: Rule, channels: bool) -> Vec<Vec<f32>> {
    let Sizes { batch, time, heads, groups, key, value } = sizes;
    let mut stream = Stream::new(1, "isa", 0);
    let scale = (key as f64).sqrt().recip();
    let mut draw = |n: usize, low: f64, high: f64| stream.uniform_vec(n, low, high);
    let (q, k) = (draw(batch * time * heads * key, -scale, scale), draw(batch * time * groups * key, -scale, scale));
    let (v, s) = (draw(batch * time * groups * value, -1.0, 1.0), draw(batch * groups * value * key, -0.3, 0.3));
    let (beta, log_a) = (draw(batch * time * groups, 0.0, 1.0), draw(batch * time * groups, -0.2, 0.0));
    let starts: Vec<f32> = (0..batch * time).map(|t| if t % 7 == 5 { 1.0 } else { 0.0 }).collect();
    let (of_read, of_state) = (draw(batch * time * heads * value, -1.0, 1.0), draw(s.len(), -1.0, 1.0));
    let of = |there: bool, x: Vec<f32>| if there { x } else { Vec::new() };
    let log_decay = of(channels, draw(k.len(), -0.2, 0.0));
    let (erase, write) = (of(channels, draw(k.len(), 0.0, 1.0)), of(channels, draw(v.len(), 0.0, 1.0)));
    let x = Slices {
        q: &q,
        k: &k,
        v: &v,
        beta: &beta,
        log_a: &log_a,
        starts: &starts,
        s: &s,
        log_decay: &log_decay,
        erase: &erase,
        write: &write,
    };
    let gated = Gated { decay: channels, erase: channels, write: channels };
    let plan = Plan { sizes, rule, decay: true, starts: true, channels: gated };
    let (read, state, errors) = rule::forward(isa, &plan, x, true);
    let grad = Incoming { read: Some(&of_read), state: Some(&of_state) };
    let d = rule_grad::backward(isa, &plan, x, &errors, grad);
    vec![read, state, errors, d.q, d.k, d.v, d.beta, d.log_a, d.s, d.log_decay, d.erase, d.write]
}

#[test]
fn every_instruction_set_gives_the_same_rule() {
    let sets: Vec<Isa> = Isa::all().collect();
    let plain = sets[sets.len() - 1];
    for (heads, key, value) in [(1, 16, 16), (2, 32, 32), (3, 64, 64), (1, 5, 40), (2, 70, 3), (1, 48, 128)] {
        for (rule, channels) in [Rule::Delta, Rule::Hebbian].into_iter().flat_map(|rule| [(rule, false), (rule, true)])
        {
            let sizes = Sizes { batch: 2, time: 35, heads, groups: 1, key, value };
            let expected = run(plain, sizes, rule, channels);
            let first = run(sets[0], sizes, rule, channels);
            for isa in &sets[..sets.len() - 1] {
                let found = run(*isa, sizes, rule, channels);
                // Products are rounded once in all of them, sums are taken in one order.
                assert!(found == first, "{isa:?} is not {:?} for {sizes:?}", sets[0]);
                for (found, expected) in found.iter().zip(&expected) {
                    let scale = expected.iter().fold(1.0f32, |m, x| m.max(x.abs()));
                    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(worst <= 1e-5 * scale, "{isa:?}: {worst} of {scale} for {sizes:?}");
                }
            }
        }
    }
}
