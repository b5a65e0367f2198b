//! A sign mask through the wire format: bits per survivor raw, entropy-coded, and as coded flips of the signs that
//! the client had downloaded, for clients that change half of the signs down to one in a hundred.
//!
//! `cargo run --release -p hidenseek --example codec`

use std::time::Instant;

use hidenseek::aggregate::{Rule, broadcast, known, state_of, upload};
use hidenseek::codec::coder::entropy;
use hidenseek::codec::{Coding, Downlink, Stamp, Upload};
use hidenseek::ledger::Ledger;
use plasticity_core::rng::Stream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A network of 25,100 weights of which a fifth survives, by layer.
const WEIGHTS: u64 = 25_100;
const LAYERS: [usize; 3] = [3920, 1000, 100];
const N: usize = 5020;
/// Magnitude of a score.
const A: f32 = 0.1;
const MASK_HASH: u64 = 42;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rule = Rule::MaskMean;
    let mut stream = Stream::new(0, "example/codec", 0);
    let server = stream.uniform_vec(N, -f64::from(A), f64::from(A));
    println!(
        "The signs of {N} survivors of {WEIGHTS} weights, sent up by a client that turned a share of them (flips)."
    );
    println!("Bits per survivor: a bit each (raw), coded by themselves, and coded as flips of what came down (xor).\n");
    println!(
        "{:>6} {:>8} {:>8} {:>8} {:>8} {:>13} {:>11}",
        "flips", "raw", "coded", "xor", "H", "bits/weight", "us a trip"
    );
    for rate in [0.5, 0.2, 0.1, 0.05, 0.03, 0.01] {
        // The server's broadcast, as the client reads it.
        let down = broadcast(rule, A, &server, None);
        let bytes = down.encode(Stamp::broadcast(1, MASK_HASH));
        let old = state_of(&Downlink::decode(&bytes, down.form(), N, Stamp::broadcast(1, MASK_HASH))?, A);
        // "Training": signs change at random, twice as often as the rate or not at all, by the score's size.
        let flipped = |s: &f32, stream: &mut Stream| {
            let contested = s.abs() < A / 2.0;
            let p = match rate {
                0.5 => 0.5,
                _ if contested => 2.0 * rate,
                _ => 0.0,
            };
            if stream.bernoulli(p) { -s } else { *s }
        };
        let trained: Vec<f32> = old.iter().map(|s| flipped(s, &mut stream)).collect();
        let shared = known(rule, A, &LAYERS, &old)?;
        let sent = upload(rule, &old, &trained, &LAYERS, 1, &mut stream)?;
        let stamp = Stamp { round: 1, client: 5, mask_hash: MASK_HASH };
        let mut bits = Vec::new();
        let (mut bpp, mut trip) = (0.0, 0.0);
        for coding in [Coding::Raw, Coding::Coded, Coding::Xor] {
            let begin = Instant::now();
            let bytes = sent.encode(stamp, coding, &shared);
            let received = Upload::decode(&bytes, rule.upload_kind(coding), stamp, &shared)?;
            trip = begin.elapsed().as_secs_f64() * 1e6;
            assert_eq!(received, sent);
            let mut ledger = Ledger::default();
            ledger.up(&bytes)?;
            let rates = ledger.uplink(WEIGHTS, N as u64);
            bits.push(rates.bps);
            bpp = rates.bpp;
        }
        let [raw, coded, xor] = bits[..] else { continue };
        println!("{rate:>6} {raw:>8.3} {coded:>8.3} {xor:>8.3} {:>8.3} {bpp:>13.4} {trip:>11.0}", entropy(rate));
    }
    println!("\nH is the entropy of the flips without contexts; bits/weight and time are those of xor.");
    Ok(())
}
