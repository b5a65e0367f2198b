//! An open model reads a text and goes on with it: SmolLM2-135M, its attention cut to the last 256 tokens and the first 4,
//! beside it a memory whose gates are shut until somebody trains them.
//!
//! `cargo xtask data fetch smollm2-135m`, then
//! `cargo run --release -p synaptic-resonance --features tokenizer --example open_model -- "Owls hunt at night because"`

use std::io::Write;
use std::time::Instant;

use plasticity_core::data::{Lookup, Place, locate};
use plasticity_core::device::by_name;
use plasticity_core::rng::Stream;
use synaptic_resonance::load::{Loaded, Options, load};
use synaptic_resonance::sampler::Sampler;
use synaptic_resonance::session::Session;
use synaptic_resonance::settings::MemoryConfig;
use synaptic_resonance::tokenizer::Tokenizer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MOST: usize = 40;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).unwrap_or_else(|| "Owls hunt at night because".into());
    let Some(Place::Dir(dir)) = locate("smollm2-135m", &Lookup::from_env(None, true))? else {
        return Err("smollm2-135m is not on this machine: `cargo xtask data fetch smollm2-135m` gets it".into());
    };
    let (file, start) = (dir.join("SmolLM2-135M-Instruct.Q4_1.gguf"), Instant::now());
    let tokenizer = Tokenizer::open(&file)?;
    let options = Options { window: Some(256), sinks: 4, ..Options::default() };
    let Loaded { model, architecture, .. } = load(&file, &options, &by_name("auto")?)?;
    tokenizer.check(&model.config)?;
    let model = model.with_memory(&MemoryConfig::default(), &mut Stream::new(0, "memory", 0))?;
    eprintln!("{architecture}, {} layers, read in {:.1} s", model.config.layers, start.elapsed().as_secs_f64());

    let (prompt, start) = (tokenizer.encode(&text, false)?, Instant::now());
    let mut session = Session::new(&model);
    let mut logits = session.feed(&prompt)?;
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{} tokens, {:.0} a second", prompt.len(), prompt.len() as f64 / seconds);

    let (end, mut out, start) = (tokenizer.special("<|im_end|>"), std::io::stdout(), Instant::now());
    write!(out, "{text}")?;
    let (sampler, mut stream, mut drawn) = (Sampler::greedy(), Stream::new(0, "draw", 0), 0);
    while drawn < MOST {
        let token = sampler.draw(&logits, &mut stream)?;
        if Some(token) == end {
            break;
        }
        out.write_all(tokenizer.bytes(token)?)?;
        out.flush()?;
        logits = session.feed(&[token])?;
        drawn += 1;
    }
    writeln!(out)?;
    eprintln!("{drawn} tokens, {:.1} a second", drawn as f64 / start.elapsed().as_secs_f64());
    Ok(())
}
