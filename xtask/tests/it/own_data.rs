//! A data set of one's own, from files to a report, without a line of Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Bench, ONE_ARM, finish};

/// Grey images of one size in two classes, a bright upper or lower half, as four IDX files in `dir`.
fn dots(dir: &Path, side: u32, dark: u8) {
    fs::create_dir_all(dir).unwrap();
    for (split, n) in [("train", 640_u32), ("test", 60)] {
        let labels: Vec<u8> = (0..n).map(|i| (i % 2) as u8).collect();
        let image = |class: u8| {
            let half = side * side / 2;
            (0..side * side).map(move |pixel| if (pixel < half) == (class == 0) { 200 } else { dark })
        };
        let pixels: Vec<u8> = labels.iter().flat_map(|class| image(*class)).collect();
        for (what, dims, values) in [("images", vec![n, side, side], pixels), ("labels", vec![n], labels)] {
            let mut bytes = vec![0, 0, 8, dims.len() as u8];
            bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
            bytes.extend(values);
            fs::write(dir.join(format!("{split}-{what}.idx")), bytes).unwrap();
        }
    }
}

/// What the command prints of a folder is the manifest, word for word.
fn manifest(bench: &Bench, folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["data", "manifest"]).arg(folder).output().unwrap();
    let (code, out, err) = finish(output);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let name = folder.file_name().unwrap().to_str().unwrap();
    let file = bench.path().join(format!("datasets/{name}.toml"));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, &out).unwrap();
    out
}

fn cells(bench: &Bench) -> Vec<PathBuf> {
    let all = fs::read_dir(bench.runs()).unwrap().flatten().map(|entry| entry.path());
    all.filter(|path| path.join("result.json").exists()).collect()
}

#[test]
fn a_set_of_ones_own_reaches_a_report() {
    let bench = Bench::new(&ONE_ARM.replace("glyphs", "dots"));
    let folder = bench.path().join("elsewhere/dots");
    dots(&folder, 28, 0);
    let text = manifest(&bench, &folder);
    assert!(text.contains("classes = 2") && text.contains("train = 640"), "{text}");

    let (code, out, err) = bench.run(&["--offline"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("data    dots ("), "{out}");
    for file in ["report/index.html", "report/report.md"] {
        let page = fs::read_to_string(bench.runs().join(file)).unwrap();
        assert!(page.contains("dots (variant own, exact)"), "{file} names another set");
    }
    assert_eq!(bench.record("cell.json")["data"]["manifest"]["classes"], 2);
    let (_, out, _) = bench.run(&["--offline"]);
    assert!(out.contains("1 done already"), "{out}");

    // A changed file is refused until the manifest says so; then it is another cell.
    dots(&folder, 28, 40);
    let (code, out, err) = bench.run(&["--offline"]);
    assert!(code == 3 && err.contains("train-images.idx: sha256 is") && err.contains("data manifest"), "{out}{err}");
    manifest(&bench, &folder);
    assert_eq!(bench.run(&["--offline"]).0, 0);
    assert_eq!(cells(&bench).len(), 2, "the content is no part of the key");

    // So is what the manifest says of the same content.
    let file = bench.path().join("datasets/dots.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("classes = 2", "classes = 3")).unwrap();
    assert_eq!(bench.run(&["--offline"]).0, 0);
    assert_eq!(cells(&bench).len(), 3, "the classes are no part of the key");
    fs::write(&file, text).unwrap();

    // The same content in another place is the same cell.
    let data = bench.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::rename(&folder, data.join("dots")).unwrap();
    let (code, _, err) = bench.run(&["--offline"]);
    assert!(code == 3 && err.contains("datasets/dots.toml: the files of `dots` are not in"), "{err}");
    let (code, out, err) = bench.run(&["--offline", "--data-dir", data.to_str().unwrap()]);
    assert!(code == 0 && out.contains("1 done already"), "{out}{err}");
}

/// Two classes, and an image that is not 28x28, for every experiment on images.
#[test]
fn what_an_experiment_needs_of_a_set_is_said_before_anything_runs() {
    let federation = "data = [\"dots\"]\n[experiment.config]\nhidden = [8]\nclients = 4\nper_round = 4\nrounds = 2\ntail = 1\ntrain_images = 600\ntest_images = 50\n";
    let network = "data = [\"dots\"]\n[experiment.config]\nstudy = \"network\"\ntrain_images = 320\ntest_images = 60\nnetwork = { base = 4, multipliers = [1] }\ntraining = { steps = 3, batch = 16, warmup = 2 }\nsampling = [{ id = \"dpm\", kind = \"dpm-solver2m\", calls = 4, sd_max = 10.0, samples = 20 }]\n";
    for (name, config, needs) in [
        ("hebbian-snn", "", "hebbian-snn needs grey images of 28x28, as mnist has"),
        ("dale-langevin", network, "needs grey images of 28x28, and those of `dots` are 1x27x27"),
        ("hidenseek", federation, "does not divide the 27 x 27 pixels of dots"),
    ] {
        let suite = match config {
            "" => ONE_ARM.replace("glyphs", "dots"),
            config => format!(
                "schema = 1\ntitle = \"Dots\"\nprofile = \"reduced\"\nseeds = [3]\n[[experiment]]\nname = \"{name}\"\n{config}[[experiment.arm]]\nid = \"arm\"\n"
            ),
        };
        let bench = Bench::new(&suite);
        let folder = bench.path().join("dots");
        dots(&folder, 27, 0);
        manifest(&bench, &folder);
        let (code, out, err) = bench.run(&["--offline", "--dry-run"]);
        assert!(code == 2 && err.contains(needs) && err.contains("demo.toml"), "{name}: {out}{err}");
        assert_eq!(err.trim().lines().count(), 1, "{err}");

        dots(&folder, 28, 0);
        manifest(&bench, &folder);
        let (code, out, err) = bench.run(&["--offline"]);
        assert_eq!(code, 0, "{name}: {out}{err}");
    }
}

#[test]
fn a_manifest_that_cannot_be_used_names_file_field_and_mend() {
    let bench = Bench::new(&ONE_ARM.replace("glyphs", "dots"));
    let folder = bench.path().join("dots");
    dots(&folder, 28, 0);
    let good = manifest(&bench, &folder);
    let file = bench.path().join("datasets/dots.toml");
    for (from, to, part) in [
        ("classes = 2", "clases = 2", "unknown field `clases`"),
        ("sha256 = ", "sum = ", "unknown field `sum`"),
        ("name = \"dots\"", "name = \"mnist\"", "`mnist` is a set that this program knows: give yours another name"),
        ("name = \"dots\"", "name = \"spots\"", "name: is `spots`, and the file is dots.toml: they must be the same"),
        ("train = 640", "train = 641", "the dimensions are [640, 28, 28] and should be [641, 28, 28]"),
    ] {
        fs::write(&file, good.replacen(from, to, 1)).unwrap();
        let (code, out, err) = bench.run(&["--offline", "--dry-run"]);
        assert!(code == 2 || code == 3, "{part}: {code}: {out}{err}");
        assert!(err.contains(part) && err.contains("dots"), "{part}: {out}{err}");
        assert_eq!(err.trim().lines().count(), 1, "{err}");
    }
    fs::remove_file(&file).unwrap();
    let (code, _, err) = bench.run(&["--offline", "--dry-run"]);
    assert!(code == 2 && err.contains("datasets/dots.toml beside the suite"), "{err}");
    fs::write(bench.path().join("datasets/glyphs.toml"), good).unwrap();
    fs::write(bench.path().join("demo.toml"), ONE_ARM).unwrap();
    let (code, _, err) = bench.run(&["--offline", "--dry-run"]);
    assert!(code == 2 && err.contains("datasets/glyphs.toml: `glyphs` is a set that this program knows"), "{err}");
}
