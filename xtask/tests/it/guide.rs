//! The snippets of `docs/guide/`, compiled and run; `pages.rs` holds the pages to them.

use std::error::Error;
use std::fs;
use std::path::Path;

use plasticity_core::config::sha256_hex;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome = Result<(), Box<dyn Error>>;

#[test]
fn core() -> Outcome {
    use burn::tensor::{Tensor, TensorData};
    use plasticity_core::{device::by_name, rng::Stream};

    // A stream is what its seed, its label and its index say: nothing else in the program moves it.
    let weights = |index| Stream::new(0, "weights", index).normal_vec(6);
    assert!(weights(0) == weights(0) && weights(0) != weights(1));
    let device = by_name("auto")?;
    let tensor = Tensor::<2>::from_data(TensorData::new(weights(0), [2, 3]), &device);
    println!("{tensor}");
    assert_eq!(tensor.dims(), [2, 3]);
    Ok(())
}

#[test]
fn hebbian_snn() -> Outcome {
    use burn::prelude::*;
    use hebbian_snn::subspace::{Consolidate, LateralRule, Subspace};
    use plasticity_core::{device::by_name, rng::Stream};

    let device = by_name("auto")?;
    let mut stream = Stream::new(0, "guide", 0);
    let mut normal = |rows: usize, columns: usize| {
        let values = stream.normal_vec(rows * columns);
        Tensor::<2>::from_data(TensorData::new(values, [rows, columns]), &device)
    };
    // Inputs of an old task: 64 vectors of 100 numbers, all in one plane.
    let old = normal(64, 2).matmul(normal(2, 100));

    let mut subspace = Subspace::new(100, LateralRule::default(), &device)?;
    subspace.grow(2, &mut Stream::new(0, "rows", 0))?;
    for _ in 0..100 {
        subspace.update(old.clone())?;
    }
    subspace.finish_task(Consolidate::Qr);

    // Any gradient of a layer of 10 neurons, projected, no longer changes what they answer to the old inputs.
    let gradient = subspace.project_gradient(normal(100, 10))?;
    let change: f32 = old.matmul(gradient).abs().max().into_scalar();
    println!("largest change of an old answer: {change:.1e}");
    assert!(change < 1e-2, "{change}");
    Ok(())
}

#[test]
fn hebbian_snn_around_a_model() -> Outcome {
    use burn::nn::loss::{MseLoss, Reduction};
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::{GradientsParams, SgdConfig};
    use burn::prelude::*;
    use hebbian_snn::SnnError;
    use hebbian_snn::subspace::{Consolidate, LateralRule, Subspace};
    use plasticity_core::{device::by_name, rng::Stream};

    /// A model of your own. Its layers have no bias, which nothing would protect.
    #[derive(Module, Debug)]
    struct Net {
        first: Linear,
        second: Linear,
    }

    impl Net {
        /// What each layer reads, and the answer.
        fn forward(&self, x: Tensor<2>) -> ([Tensor<2>; 2], Tensor<2>) {
            let hidden = self.first.forward(x.clone()).tanh();
            let answer = self.second.forward(hidden.clone());
            ([x, hidden], answer)
        }
    }

    /// A task, learned by SGD; no step has a part along what the subspaces protect.
    fn learn(mut net: Net, x: &Tensor<2>, y: &Tensor<2>, protected: &[Subspace]) -> Result<Net, SnnError> {
        let mut optimiser = SgdConfig::new().init();
        for _ in 0..200 {
            let (_, answer) = net.forward(x.clone());
            let loss = MseLoss::new().forward(answer, y.clone(), Reduction::Mean);
            let mut gradients = GradientsParams::from_grads(loss.backward(), &net);
            for (subspace, layer) in protected.iter().zip([&net.first, &net.second]) {
                subspace.project_in(&mut gradients, &layer.weight)?;
            }
            net = optimiser.step(0.2, net, gradients);
        }
        Ok(net)
    }

    let plain = by_name("auto")?;
    let device = plain.clone().autodiff();
    let mut stream = Stream::new(0, "guide", 0);
    let mut normal = |rows: usize, columns: usize| {
        let values = stream.normal_vec(rows * columns);
        Tensor::<2>::from_data(TensorData::new(values, [rows, columns]), &device)
    };
    // Two tasks: 32 inputs of 20 numbers in a plane of their own, and 3 numbers to answer to each.
    let mut task = || (normal(32, 2).matmul(normal(2, 20)) * 0.2, normal(32, 3));
    let ((old, old_answers), (new, new_answers)) = (task(), task());

    device.seed(0);
    let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).with_bias(false).init(&device);
    let net = learn(Net { first: layer(20, 32), second: layer(32, 3) }, &old, &old_answers, &[])?;

    // Hebbian learning finds the directions in which the old task feeds each layer.
    let (inputs, answers) = net.forward(old.clone());
    let mut protected = Vec::new();
    for (x, rows) in inputs.into_iter().zip([2, 8]) {
        let mut subspace = Subspace::new(x.dims()[1], LateralRule::default(), &plain)?;
        subspace.grow(rows, &mut Stream::new(0, "rows", rows as u64))?;
        for _ in 0..200 {
            subspace.update(x.clone().inner())?;
        }
        subspace.finish_task(Consolidate::Qr);
        protected.push(subspace);
    }

    // The new task, with and without them: how far the old answers move.
    let moved = |protected: &[Subspace]| -> Result<f32, SnnError> {
        let (_, now) = learn(net.clone(), &new, &new_answers, protected)?.forward(old.clone());
        Ok((now - answers.clone()).abs().mean().into_scalar())
    };
    let (kept, forgot) = (moved(&protected)?, moved(&[])?);
    println!("old answers move by {kept:.4}; without projection by {forgot:.4}");
    assert!(kept < 0.2 * forgot && forgot > 0.05, "{kept} {forgot}");
    Ok(())
}

#[test]
fn dale_langevin() -> Outcome {
    use burn::tensor::{DType, Tensor, TensorData};
    use dale_langevin::mixture::LogNormalMixture;
    use dale_langevin::noise::Noise;
    use dale_langevin::sampler::{Sampler, Solver, sample, unobserved};
    use dale_langevin::schedule::Grid;
    use dale_langevin::score::Level;
    use dale_langevin::state::State;
    use plasticity_core::device::by_name;

    // A mixture has an exact score; `net::NetDenoiser` takes its place for images.
    let data = LogNormalMixture::mixture_b();
    let start = data.stratified(1000, Level::of_sd(10.0));
    let y = Tensor::from_data(TensorData::new(start, [1, 1000]), (&by_name("auto")?, DType::F64));
    let grid = Grid::geometric(0.01, 10.0, 20)?;
    let sampler = Sampler::new(Solver::DpmSolver2M);
    let mut noise = Noise::new(0, "guide", 0, 1);
    let run = sample(&data, State::positive(y), &grid, &sampler, &mut noise, &mut unobserved)?;
    let mean: f64 = run.state.x().mean().into_scalar();
    println!("{} calls, {} negative values, mean {mean:.2}", run.calls, run.negative());
    assert!(run.calls == 20 && run.negative() == 0 && (mean - 1.6).abs() < 0.1, "{} {mean}", run.calls);
    Ok(())
}

#[test]
fn hidenseek() -> Outcome {
    use hidenseek::aggregate::{Rule, broadcast};
    use hidenseek::codec::Stamp;
    use hidenseek::init::WeightInit;
    use hidenseek::network::Architecture;
    use hidenseek::prune::{Pruner, prune};
    use hidenseek::supermask::ScoreInit;
    use plasticity_core::rng::Stream;

    // A random network of which saliency leaves a fifth; nothing but signs is trained on what is left.
    let architecture = Architecture::mlp(&[196, 100, 50, 10])?;
    let weights = WeightInit::default().draw(&architecture, &mut Stream::new(0, "weights", 0));
    let pruner = Pruner::SynFlow { iterations: 100 };
    let mask = prune(&architecture, &weights, 0.2, pruner, &mut Stream::new(0, "prune", 0))?;
    let scores = ScoreInit::Uniform { a: 0.1 }.draw(mask.survivors(), &mut Stream::new(0, "scores", 0))?;

    // What the server sends to its clients in round 1, as bytes.
    let down = broadcast(Rule::MaskMean, 0.1, &scores, None);
    let bytes = down.encode(Stamp::broadcast(1, mask.hash()));
    println!("{} of {} weights; {} bytes", mask.survivors(), weights.len(), bytes.len());
    assert!(mask.survivors() == 5020 && weights.len() == 25_100);
    assert!(bytes.len() < 4 * weights.len(), "{}", bytes.len());
    Ok(())
}

#[test]
fn hidenseek_mask_as_bytes() -> Outcome {
    use hidenseek::codec::bits::{pack, signs, unpack};
    use hidenseek::codec::coder::{Contexts, decode, encode};
    use plasticity_core::rng::Stream;

    // A score for each surviving weight; the mask is their signs, a bit each.
    let mut stream = Stream::new(0, "scores", 0);
    let mask = signs(&stream.uniform_vec(5020, -0.1, 0.1));
    let packed = pack(&mask);
    assert_eq!(unpack(&packed, mask.len())?, mask);

    // Who has the mask of the round before needs the changes alone: an adaptive coder, here with one context.
    let changed: Vec<bool> = mask.iter().map(|_| stream.bernoulli(0.05)).collect();
    let coded = encode(&changed, &Contexts::one());
    assert_eq!(decode(&coded, changed.len(), &Contexts::one())?, changed);
    println!("{} bytes as f32, {} as signs, {} as changes", 4 * mask.len(), packed.len(), coded.len());
    assert!(packed.len() == 628 && (150..220).contains(&coded.len()), "{} {}", packed.len(), coded.len());
    Ok(())
}

#[test]
fn synaptic_resonance() -> Outcome {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("session.safetensors");

    use plasticity_core::{device::by_name, rng::Stream};
    use synaptic_resonance::model::Model;
    use synaptic_resonance::sampler::Sampler;
    use synaptic_resonance::session::{Label, Session};
    use synaptic_resonance::settings::ModelConfig;

    // Weights as drawn: `train::Training` makes them a model that recalls.
    let model = Model::new(&ModelConfig::default(), &mut Stream::new(0, "model", 0), &by_name("auto")?)?;
    let mut session = Session::new(&model);
    session.feed(&[1, 60, 9, 34, 17, 51])?;
    session.save(&file, &Label::default())?;

    // Another process goes on where this one stopped, bit for bit.
    let mut restored = Session::restore(&file, &model, None, false)?;
    let next = |session: &mut Session| session.generate(8, &Sampler::default(), &mut Stream::new(0, "draw", 0));
    assert_eq!(next(&mut session)?, next(&mut restored)?);
    Ok(())
}

#[test]
fn synaptic_resonance_in_segments() -> Outcome {
    use burn::prelude::*;
    use plasticity_core::{device::by_name, rng::Stream};
    use synaptic_resonance::memory::{Memory, Read};
    use synaptic_resonance::settings::{MemoryConfig, ModelConfig};

    let device = by_name("auto")?;
    let host = ModelConfig { width: 64, heads: 2, ..ModelConfig::default() };
    let mut stream = Stream::new(0, "guide", 0);
    let mut normal = |shape: [usize; 4]| {
        let values = stream.normal_vec(shape.iter().product());
        Tensor::<4>::from_data(TensorData::new(values, shape), &device)
    };
    // The memory of one layer. Its gates begin shut; here they are opened, as training does.
    let mut memory = Memory::new(&MemoryConfig::default(), &host, "memory", &mut |n| vec![0.0; n], &device)?;
    memory.gamma = memory.gamma.map(|gamma| gamma + 1.0);

    // What a layer of yours hands over for 96 tokens: its normalised input, and queries, keys and values of two heads.
    let n = normal([1, 96, 1, 64]).squeeze_dim::<3>(2);
    let [q, k, v] = [(); 3].map(|()| normal([1, 96, 2, 32]));
    let read = |from: usize, tokens: usize| {
        let part = |x: &Tensor<4>| x.clone().narrow(1, from, tokens);
        Read::new(n.clone().narrow(1, from, tokens), part(&q), part(&k), part(&v))
    };
    let (whole, _) = memory.forward(read(0, 96), memory.start(1, 32))?;

    // The same stream as it comes in. The state is all that goes from one segment to the next.
    let (mut state, mut parts) = (memory.start(1, 32), Vec::new());
    for (from, tokens) in [(0, 40), (40, 1), (41, 55)] {
        let added;
        (added, state) = memory.forward(read(from, tokens), state)?;
        // While training on a long stream, the graph ends here.
        state = state.detach();
        parts.push(added);
    }
    let difference: f32 = (Tensor::cat(parts, 1) - whole.clone()).abs().max().into_scalar();
    println!("segments and one pass differ by {difference:.1e}");
    let largest: f32 = whole.abs().max().into_scalar();
    assert!(difference < 1e-4 && largest > 0.1, "{difference} {largest}");
    Ok(())
}

#[test]
fn synaptic_resonance_in_an_open_model() -> Outcome {
    // A model of the layout of the real ones, a few hundred kB.
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/synaptic-resonance/tests/fixtures/llama/model.gguf");
    open_model(file.as_ref(), &[17, 93, 235, 0, 41, 41, 200])
}

fn open_model(file: &Path, tokens: &[u32]) -> Outcome {
    use plasticity_core::{device::by_name, rng::Stream};
    use synaptic_resonance::load::{Options, load};
    use synaptic_resonance::session::Session;
    use synaptic_resonance::settings::MemoryConfig;

    // A window of 256 tokens beside the first 4, which a model that was trained with full attention leans on.
    let options = Options { window: Some(256), sinks: 4, ..Options::default() };
    let loaded = load(file, &options, &by_name("auto")?)?;
    let model = loaded.model.with_memory(&MemoryConfig::default(), &mut Stream::new(0, "memory", 0))?;
    let mut session = Session::new(&model);
    session.feed(tokens)?;
    assert!(session.tokens() == tokens.len() as u64 && session.logits()?.len() == model.config.vocabulary);
    Ok(())
}

/// A file in IDX format, of bytes.
fn idx(dims: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    bytes.extend(values);
    bytes
}

/// A data set of the reader's own: 3 and 2 images of 2x2 pixels, two classes.
#[test]
fn own_data() -> Outcome {
    let root = tempfile::tempdir()?;
    let root = root.path();
    fs::create_dir(root.join("dots"))?;
    let mut text = String::from(
        "name = \"dots\"\ntitle = \"Dots\"\nlicence = \"own\"\ncitation = \"none\"\nshape = [1, 2, 2]\nclasses = 2\n\
         [[variant]]\nname = \"own\"\nexact = true\ntrain = 3\ntest = 2\n",
    );
    let files = [
        ("train-images", idx(&[3, 2, 2], &[7; 12])),
        ("train-labels", idx(&[3], &[0, 1, 0])),
        ("test-images", idx(&[2, 2, 2], &[9; 8])),
        ("test-labels", idx(&[2], &[1, 0])),
    ];
    for (role, bytes) in files {
        let (n, sha256) = (bytes.len(), sha256_hex(&bytes));
        fs::write(root.join("dots").join(format!("{role}.idx")), bytes)?;
        text += &format!(
            "[[variant.file]]\nrole = \"{role}\"\nname = \"{role}.idx\"\nbytes = {n}\nsha256 = \"{sha256}\"\n\
             raw-bytes = {n}\nraw-sha256 = \"{sha256}\"\n"
        );
    }
    let manifest = root.join("dots.toml");
    fs::write(&manifest, text)?;
    read_dots(&manifest, root)
}

fn read_dots(file: &Path, root: &Path) -> Outcome {
    use plasticity_core::data::{Lookup, Split, load, manifest::Manifest, resolve_among};

    let manifests = [Manifest::read(file)?];
    let lookup = Lookup { data_dir: Some(root.into()), offline: true, ..Lookup::default() };
    let (set, _) = resolve_among(&manifests, &["dots".into()], &lookup)?;
    let train = load(&set, Split::Train, None)?;
    println!("{} images, the first of class {}", train.labels.len(), train.labels[0]);
    assert!(train.labels == [0, 1, 0] && train.image(2) == [7; 4]);
    Ok(())
}
