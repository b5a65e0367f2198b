//! What a config asks for is refused by file, line and key before anything runs, where it cannot be had.

use dale_langevin::experiment::DaleLangevin;
use plasticity_core::config::Source;
use plasticity_core::data::{Facts, Lookup, resolve};
use plasticity_core::run::{Entry, Prepared};

fn prepare(text: &str) -> Result<Prepared, String> {
    let source = Source { file: "suite.toml".into(), text: text.into() };
    let table = source.table().unwrap();
    Entry::of::<DaleLangevin>().prepare(&source, table).map_err(|e| e.to_string())
}

fn refused(text: &str) -> String {
    prepare(text).map(|_| ()).expect_err(text)
}

/// A set of so many images.
fn set(name: &str, train: usize, test: usize) -> Facts {
    Facts { name: name.into(), shape: Some([1, 28, 28]), classes: Some(10), train, test }
}

fn fits(text: &str, data: &Facts) -> Result<(), String> {
    Entry::of::<DaleLangevin>().fits(&prepare(text).unwrap(), data).map_err(|e| e.to_string())
}

/// A sampler of the default network, in the second line.
fn with(sampler: &str) -> String {
    format!("study = \"network\"\nsampling = [{{ {sampler} }}]\n")
}

fn named(id: &str) -> String {
    with(&format!("id = \"{id}\", kind = \"ddim\", calls = 20, sd_max = 10.0, samples = 256"))
}

#[test]
fn ids_that_would_meet_a_name_of_the_study_are_refused() {
    for id in ["floor", "noisy", "blurred", "gaussian", "real", "dpm_n2000", "floor_n300"] {
        let error = refused(&named(id));
        assert!(error.starts_with(&format!("suite.toml:2: `sampling.0.id`: `{id}` is what a metric")), "{error}");
    }
    // What stays apart in metrics becomes one in the name of a picture.
    for id in ["", "A", "a-b", "a__b", "_a", "a_", "a b", "é", "../a"] {
        let error = refused(&named(id));
        assert!(error.starts_with("suite.toml:2: `sampling.0.id`: must be words"), "{error}");
    }
    for id in ["dpm20", "consistent_pca", "real2", "floors", "n", "n256", "a_n", "a_n2k"] {
        prepare(&named(id)).unwrap();
    }
    let twice = "sampling = [\n{ id = \"a\", kind = \"ddim\", calls = 2, sd_max = 10.0, samples = 9 },\n\
                 { id = \"a\", kind = \"heun\", calls = 2, sd_max = 10.0, samples = 9 }]";
    assert_eq!(refused(twice), "suite.toml:3: `sampling.1.id`: `a` is the id of another sampler too");
}

#[test]
fn more_samples_than_held_out_images_are_refused() {
    let sampler = |n: usize| format!("id = \"a\", kind = \"ddim\", calls = 2, sd_max = 10.0, samples = {n}");
    let config = |n: usize, test: usize| format!("train_images = 300\ntest_images = {test}\n{}", with(&sampler(n)));
    let error = refused(&config(300, 200));
    assert!(error.starts_with("suite.toml:4: `sampling.0.samples`: is 300, and of 200 test images"), "{error}");
    assert!(error.contains("at most 100, or `test_images` of 600 and more"), "{error}");
    prepare(&config(300, 600)).unwrap();
    prepare(&config(100, 200)).unwrap();
    // Numbers that no set has are left to the set.
    prepare(&config(4_611_686_018_427_387_904, 9_223_372_036_854_775_807)).unwrap();
    // So few are compared with nothing.
    prepare(&config(64, 100)).unwrap();
    assert!(refused(&config(9, 3)).contains("`test_images`: must be at least 4"));
}

/// A label's number is the number that was used: neighbours are looked for among no more training images than there
/// are.
#[test]
fn the_number_of_neighbours_is_that_of_the_images_there_are() {
    let text = format!(
        "train_images = 300\ntest_images = 2000\n{}",
        with("id = \"a\", kind = \"ddim\", calls = 2, sd_max = 10.0, samples = 9")
    );
    let plan = prepare(&text).unwrap().plan;
    let metric = plan.metrics.iter().find(|m| m.name == "nearer_train_a").unwrap();
    assert_eq!(metric.basis, "fraction of samples nearer to 300 training than to as many test images");
}

#[test]
fn what_would_fail_after_training_is_refused_before_it() {
    let dpm = "id = \"a\", kind = \"ddim\", calls = 2, sd_max = 10.0, samples = 64";
    let error = refused(&format!("pool = 4\n{}", with(dpm)));
    assert!(error.starts_with("suite.toml:1: `pool`: leaves 7x7 pixels"), "{error}");
    prepare("study = \"network\"\npool = 4").unwrap();
    let error = refused(&format!("train_images = 64\n{}", with(dpm)));
    assert!(error.starts_with("suite.toml:1: `train_images`: must be above 64"), "{error}");
    assert!(refused("train_images = 1\ntraining = { batch = 1 }").contains("`train_images`: must be at least 2"));
    let error = refused("[network]\nbase = 6\n");
    assert_eq!(error, "suite.toml:2: `network.base`: is 6: a multiple of 4 above 0");
    for base in ["0", "65536", "9223372036854775804"] {
        assert!(refused(&format!("[network]\nbase = {base}\n")).starts_with("suite.toml:2: `network.base`"));
    }
    assert!(refused("[training]\nclip = -1.0\n").starts_with("suite.toml:2: `training.clip`"));
    for (field, value) in [("calls", "0"), ("calls", "1000000"), ("samples", "1"), ("samples", "99999999999")] {
        let error = refused(&format!("study = \"prior\"\n[prior]\n{field} = {value}"));
        assert!(error.starts_with(&format!("suite.toml:3: `prior.{field}`: must be from ")), "{error}");
    }
    let huge = "study = \"closed-form\"\n[closed_form]\nchains = 1000000000000";
    assert!(refused(huge).starts_with("suite.toml:3: `closed_form.chains`: must be at most"));
    // Levels so near to each other that they do not fall.
    let flat = "id = \"a\", kind = \"ddim\", calls = 9000, sd_min = 9.9999999999999, sd_max = 10.0, samples = 64";
    assert!(refused(&with(flat)).starts_with("suite.toml:2: `sampling.0.sd_max`: gives no grid"));
}

#[test]
fn more_images_than_a_set_has_are_refused() {
    let small = set("mnist", 1000, 500);
    let error = fits("\ntrain_images = 1001\ntest_images = 500", &small).unwrap_err();
    assert_eq!(error, "suite.toml:2: `train_images`: is 1001, and `mnist` has 1000: at most 1000");
    let error = fits("train_images = 1000\ntest_images = 501", &small).unwrap_err();
    assert_eq!(error, "suite.toml:2: `test_images`: is 501, and `mnist` has 500: at most 500");
    fits("train_images = 1000\ntest_images = 500", &small).unwrap();
    // The study of the prior has no use for test images, closed forms for none at all.
    fits("study = \"prior\"\ntrain_images = 1000", &small).unwrap();
    fits("study = \"closed-form\"", &small).unwrap();
    let coloured = Facts { shape: Some([3, 32, 32]), ..set("cifar-10", 50_000, 10_000) };
    let error = fits("study = \"prior\"\ntrain_images = 1000", &coloured).unwrap_err();
    assert_eq!(error, "suite.toml:1: `study`: needs grey images of 28x28, and those of `cifar-10` are 3x32x32");
    let text = Facts { shape: None, classes: None, ..set("tinyshakespeare", 1_000_000, 100_000) };
    assert!(fits("study = \"network\"", &text).unwrap_err().contains("`tinyshakespeare` is a text"));
}

#[test]
fn constants_of_the_paper_belong_to_a_data_set() {
    let prior = "study = \"prior\"\ntrain_images = 100\nprior = { start = \"paper\" }";
    let start = format!(
        "train_images = 500\n{}",
        with("id = \"a\", kind = \"ddim\", start = \"paper\", calls = 2, sd_max = 0.8, samples = 9")
    );
    let kind = format!(
        "train_images = 500\n{}",
        with("id = \"a\", kind = \"paper\", calls = 1000, sd_max = 0.8, samples = 9")
    );
    for name in ["mnist", "glyphs", "fashion-mnist"] {
        for text in [prior, &start, &kind] {
            fits(text, &set(name, 60_000, 10_000)).unwrap();
        }
    }
    let other = set("letters", 60_000, 10_000);
    for (text, key) in [(prior, "3: `prior.start`"), (&start, "3: `sampling.0.start`"), (&kind, "3: `sampling.0.kind`")]
    {
        let error = fits(text, &other).unwrap_err();
        let expected = "the paper has no constants for `letters`: they are for mnist, fashion-mnist and kmnist";
        assert_eq!(error, format!("suite.toml:{key}: {expected}"));
    }
    // Three steps a level there: not what the plan counts.
    fits(&start, &set("kmnist", 60_000, 10_000)).unwrap();
    assert!(fits(&kind, &set("kmnist", 60_000, 10_000)).unwrap_err().contains("take 3000 calls and not 1000"));
    // They belong to one noise.
    for text in [
        "study = \"prior\"\n[prior]\nstart = \"paper\"\nsd_max = 10.0".to_owned(),
        with("id = \"a\", kind = \"ddim\", start = \"paper\", calls = 2, sd_max = 10.0, samples = 9"),
    ] {
        assert!(refused(&text).contains("sd_max`: must be 0.8 for `start = \"paper\"`"), "{}", refused(&text));
    }
}

/// The suites that are published, on the sets that they name.
#[test]
fn the_suites_of_this_paper_fit_their_data() {
    let (glyphs, _) = resolve(&["glyphs".into()], &Lookup::from_env(None, true)).unwrap();
    let glyphs = glyphs.facts().unwrap();
    for config in [
        "study = \"prior\"\npool = 1\ntrain_images = 5000\nprior = { start = \"paper\", sd_max = 0.8, calls = 40 }",
        "test_images = 4000\nsampling = [{ id = \"dpm20\", kind = \"dpm-solver2m\", calls = 20, sd_max = 10.0, samples = 256 }]",
    ] {
        fits(config, &glyphs).unwrap();
    }
}
