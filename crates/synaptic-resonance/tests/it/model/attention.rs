//! Attention against its definition, written out in f64.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, values};
use synaptic_resonance::attention::{Geometry, Sinks, Span, attend};
use synaptic_resonance::rope::Rope;
use synaptic_resonance::settings::Pairs;
use synaptic_resonance::state::Ring;

const BATCH: usize = 2;
const HEADS: usize = 4;
const GROUPS: usize = 2;
const WIDTH: usize = 6;

/// Keys and values of a row, `[token][group][width]`, and its queries.
struct Row {
    q: Vec<Vec<Vec<f64>>>,
    k: Vec<Vec<Vec<f64>>>,
    v: Vec<Vec<Vec<f64>>>,
}

const PLAIN: Rope = Rope { base: 1e4, pairs: Pairs::Interleaved };
const HALVES: Rope = Rope { base: 300.0, pairs: Pairs::Halves };

fn rotated(x: &[f64], position: usize, rope: Rope) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    for i in 0..x.len() / 2 {
        let angle = position as f64 / rope.base.powf(2.0 * i as f64 / x.len() as f64);
        let (a, b) = if rope == HALVES { (i, i + x.len() / 2) } else { (2 * i, 2 * i + 1) };
        out[a] = x[a] * angle.cos() - x[b] * angle.sin();
        out[b] = x[a] * angle.sin() + x[b] * angle.cos();
    }
    out
}

/// One head's output at token `i`, which sees these tokens.
fn expected(row: &Row, head: usize, i: usize, seen: &[usize], rope: Rope) -> Vec<f64> {
    let group = head * GROUPS / HEADS;
    let q = rotated(&row.q[i][head], i, rope);
    let dot = |j: usize| q.iter().zip(rotated(&row.k[j][group], j, rope)).map(|(q, k)| q * k).sum::<f64>();
    let weights: Vec<f64> = seen.iter().map(|j| (dot(*j) / (WIDTH as f64).sqrt()).exp()).collect();
    let total: f64 = weights.iter().sum();
    (0..WIDTH)
        .map(|c| weights.iter().enumerate().map(|(j, w)| w * row.v[seen[j]][group][c]).sum::<f64>() / total)
        .collect()
}

fn draw(time: usize) -> Vec<Row> {
    let mut stream = Stream::new(1, "attention", 0);
    let mut part = |count: usize| -> Vec<Vec<Vec<f64>>> {
        let mut vector = || (0..WIDTH).map(|_| stream.normal()).collect();
        (0..time).map(|_| (0..count).map(|_| vector()).collect()).collect()
    };
    (0..BATCH).map(|_| Row { q: part(HEADS), k: part(GROUPS), v: part(GROUPS) }).collect()
}

fn upload(part: impl Fn(usize) -> Vec<Vec<Vec<f64>>>, time: usize, count: usize, device: &Device) -> Tensor<4> {
    let flat: Vec<f64> = (0..BATCH).flat_map(&part).flatten().flatten().collect();
    Tensor::from_data(TensorData::new(flat, [BATCH, time, count, WIDTH]), (device, DType::F32))
}

/// Tokens `0..cut` of both rows in one pass, the rest in a second one, row 1 with `padding` tokens less in the first;
/// documents begin at `starts` of each row.
fn check(
    device: &Device,
    window: Option<usize>,
    [cut, padding]: [usize; 2],
    starts: [&[usize]; 2],
    blocked: bool,
    rope: Rope,
    most: usize,
) {
    let time = 47;
    let rows = draw(time);
    let mut ring: Option<Ring> = None;
    let mut taken = [0, 0];
    for lengths in [[cut, cut - padding], [time - cut, time - cut]] {
        let longest = lengths[0].max(lengths[1]);
        let slice = |part: &[Vec<Vec<f64>>], row: usize| -> Vec<Vec<Vec<f64>>> {
            (taken[row]..taken[row] + longest).map(|i| part[i.min(time - 1)].clone()).collect()
        };
        let q = upload(|row| slice(&rows[row].q, row), longest, HEADS, device);
        let k = upload(|row| slice(&rows[row].k, row), longest, GROUPS, device);
        let v = upload(|row| slice(&rows[row].v, row), longest, GROUPS, device);
        let begun: Vec<bool> =
            (0..BATCH * longest).map(|i| starts[i / longest].contains(&(taken[i / longest] + i % longest))).collect();
        let (columns, filled) = match &ring {
            Some(ring) => (ring.keys.dims()[2], ring.filled.clone()),
            None => (0, vec![0; BATCH]),
        };
        let firsts = ring.as_ref().and_then(|ring| ring.sinks.as_ref());
        let kept = firsts.map_or_else(|| vec![0; BATCH], |firsts| firsts.filled.clone());
        // Of the document that the row is in before this pass.
        let position = [0, 1].map(|row| {
            let document = starts[row].iter().copied().filter(|s| *s < taken[row]).max().unwrap_or(0);
            (taken[row] - document) as u64
        });
        let kept_columns = firsts.map_or(0, |firsts| firsts.keys.dims()[2]);
        let sinks = (most > 0).then(|| Sinks { most, columns: kept_columns, filled: &kept, position: &position });
        let geometry = Geometry {
            window,
            time: longest,
            ring: columns,
            filled: &filled,
            lengths: &lengths,
            starts: begun.contains(&true).then_some(begun.as_slice()),
            sinks,
        };
        let span = Span::with_blocks(&geometry, blocked, WIDTH, rope, device, DType::F32);
        let (y, next) = attend(q, k, v, ring, &span);
        let y = values(y);
        for row in 0..BATCH {
            for at in 0..lengths[row] {
                let i = taken[row] + at;
                let document = starts[row].iter().copied().filter(|s| *s <= i).max().unwrap_or(0);
                let from = window.map_or(document, |w| document.max((i + 1).saturating_sub(w)));
                let sinks = (document..document + most).filter(|j| *j < from);
                let seen: Vec<usize> = sinks.chain(from..=i).collect();
                for head in 0..HEADS {
                    let place = ((row * longest + at) * HEADS + head) * WIDTH;
                    assert_close(&y[place..place + WIDTH], &expected(&rows[row], head, i, &seen, rope), 3e-6);
                }
            }
            taken[row] += lengths[row];
        }
        ring = next;
        // The ring holds the last keys as they came, the newest at the right.
        for row in 0..BATCH {
            let document = starts[row].iter().copied().filter(|s| *s < taken[row]).max().unwrap_or(0);
            let held = (taken[row] - document).min(window.map_or(usize::MAX, |w| w - 1));
            let Some(ring) = &ring else {
                assert_eq!(held, 0);
                continue;
            };
            assert_eq!(ring.filled[row], held);
            let columns = ring.keys.dims()[2];
            for (group, key) in values(ring.keys.clone().narrow(0, row, 1)).chunks(columns * WIDTH).enumerate() {
                let kept = (0..columns).flat_map(|c| {
                    let token = (c + held >= columns).then(|| taken[row] + c - columns);
                    token.map_or(vec![0.0; WIDTH], |i| rows[row].k[i][group].clone())
                });
                assert_close(key, &kept.collect::<Vec<_>>(), 1e-6);
            }
            let left = most.min(taken[row] - document - held);
            let Some(firsts) = &ring.sinks else {
                assert_eq!(left, 0);
                continue;
            };
            assert_eq!(firsts.filled[row], left);
            let columns = firsts.keys.dims()[2];
            for (group, key) in values(firsts.keys.clone().narrow(0, row, 1)).chunks(columns * WIDTH).enumerate() {
                let kept = (0..columns).flat_map(|c| match c + left >= columns {
                    true => rows[row].k[document + c + left - columns][group].clone(),
                    false => vec![0.0; WIDTH],
                });
                assert_close(key, &kept.collect::<Vec<_>>(), 1e-6);
            }
        }
    }
}

on_each_device!(attention_is_its_definition, |device: Device| {
    for window in [Some(1), Some(2), Some(5), Some(16), Some(100), None] {
        for blocked in [false, true] {
            check(&device, window, [46, 0], [&[], &[]], blocked, PLAIN, 0);
            for most in [1, 3, 9].into_iter().filter(|_| window.is_some_and(|w| w > 1)) {
                check(&device, window, [46, 0], [&[], &[]], blocked, PLAIN, most);
                check(&device, window, [7, 3], [&[], &[]], blocked, HALVES, most);
                check(&device, window, [21, 4], [&[4, 29, 31], &[0, 1, 2, 19]], blocked, PLAIN, most);
                check(&device, window, [30, 26], [&[2], &[]], blocked, PLAIN, most);
            }
            check(&device, window, [30, 0], [&[], &[]], blocked, PLAIN, 0);
            check(&device, window, [3, 2], [&[], &[]], blocked, PLAIN, 0);
            check(&device, window, [30, 26], [&[], &[]], blocked, HALVES, 0);
            check(&device, window, [21, 4], [&[4, 29, 31], &[0, 1, 2, 19]], blocked, PLAIN, 0);
            check(&device, window, [12, 5], [&[11, 12], &[]], blocked, HALVES, 0);
        }
    }
});
