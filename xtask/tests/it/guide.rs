//! The snippets of `docs/guide/`, compiled and run; `pages.rs` holds the pages to them.

use std::error::Error;
use std::fs;
use std::path::Path;

use plasticity_core::config::sha256_hex;

type Outcome = Result<(), Box<dyn Error>>;

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
    use plasticity_core::data::{Lookup, Split, load_from, manifest::Manifest, resolve_among};

    let manifests = [Manifest::parse(&fs::read_to_string(file)?, file)?];
    let lookup = Lookup { data_dir: Some(root.into()), offline: true, ..Lookup::default() };
    let (set, _) = resolve_among(&manifests, &["dots".into()], &lookup)?;
    let train = load_from(&manifests[0], &set, Split::Train, None)?;
    println!("{} images, the first of class {}", train.labels.len(), train.labels[0]);
    assert!(train.labels == [0, 1, 0] && train.image(2) == [7; 4]);
    Ok(())
}
