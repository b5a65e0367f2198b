//! A data set of one's own: the manifest of its files, and how a set beside a suite is found.

use std::fs;
use std::path::Path;

use plasticity_core::data::idx::{Idx, Values, write};
use plasticity_core::data::manifest::{Manifest, Role};
use plasticity_core::data::{Lookup, Place, Split, beside, describe, load, load_text, resolve, resolve_among};
use plasticity_core::error::DataError;

use crate::small_set::{gzip, sha256, small_set, store};

/// The text of a manifest, as a suite's folder holds it.
fn toml_of(manifest: &Manifest) -> String {
    let value = toml::Value::try_from(manifest).unwrap();
    toml::to_string(&value).unwrap()
}

fn idx(dims: &[usize], values: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&Idx { dims: dims.to_vec(), values: Values::U8(values) }, &mut bytes).unwrap();
    bytes
}

/// Nothing is looked for anywhere but beside the manifest.
fn nowhere() -> Lookup {
    Lookup { offline: true, ..Lookup::default() }
}

#[test]
fn the_manifest_of_files_says_what_they_hold_and_finds_them_again() {
    let dir = tempfile::tempdir().unwrap();
    let (small, files) = small_set(&[]);
    store(&files, dir.path());
    let made = describe(&dir.path().join("small")).unwrap();
    assert_eq!((made.name.as_str(), made.shape, made.classes), ("small", small.shape, small.classes));
    let [variant] = made.variants.as_slice() else { panic!("{made:?}") };
    assert_eq!((variant.train, variant.test, variant.digest()), (6, 4, small.variants[0].digest()));
    for role in [Role::TrainImages, Role::TrainLabels, Role::TestImages, Role::TestLabels] {
        assert_eq!(variant.file(role), small.variants[0].file(role));
    }

    // As a file beside a suite, whose folder is another one than that of the data.
    let suite = dir.path().join("suites/mine.toml");
    fs::create_dir_all(dir.path().join("suites/datasets")).unwrap();
    let file = dir.path().join("suites/datasets/small.toml");
    fs::write(&file, toml_of(&made)).unwrap();
    let manifests = beside(&suite, ["mnist", "small", "small", "nowhere"]).unwrap();
    assert_eq!(manifests.len(), 1);
    let names = ["small".to_owned()];
    let (set, _) = resolve_among(&manifests, &names, &nowhere()).unwrap();
    assert_eq!(set.place, Place::Dir(std::path::absolute(dir.path().join("small")).unwrap()));
    // What goes through `cell.json` is read in another process, which knows no suite.
    let set = serde_json::from_slice(&serde_json::to_vec(&set).unwrap()).unwrap();
    assert_eq!(load(&set, Split::Train, None).unwrap().labels, [0, 1, 2, 0, 1, 2]);
    assert_eq!(set.facts().unwrap().train, 6);

    // A folder that the user names comes first, and one beside the manifest needs no `path`.
    let named = dir.path().join("named");
    store(&files, &named);
    let (set, _) = resolve_among(&manifests, &names, &Lookup { data_dir: Some(named.clone()), ..nowhere() }).unwrap();
    assert_eq!(set.place, Place::Dir(named.join("small")));
    fs::write(&file, toml_of(&Manifest { path: None, ..made.clone() })).unwrap();
    store(&files, &dir.path().join("suites/datasets"));
    let (set, _) = resolve_among(&beside(&suite, ["small"]).unwrap(), &names, &nowhere()).unwrap();
    assert!(matches!(&set.place, Place::Dir(place) if place.ends_with("suites/datasets/small")), "{set:?}");
}

#[test]
fn files_that_are_not_there_or_have_changed_name_the_manifest_and_the_mend() {
    let dir = tempfile::tempdir().unwrap();
    let suite = dir.path().join("mine.toml");
    let folder = dir.path().join("datasets");
    store(&small_set(&[]).1, &folder);
    let made = Manifest { path: None, ..describe(&folder.join("small")).unwrap() };
    fs::write(folder.join("small.toml"), toml_of(&made)).unwrap();
    let find = |names: &[&str]| {
        let mut manifests = plasticity_core::data::manifest::built_in().unwrap().to_vec();
        manifests.extend(beside(&suite, names.iter().copied()).unwrap());
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        resolve_among(&manifests, &names, &nowhere())
    };
    find(&["small"]).unwrap();

    let labels = folder.join("small/test-labels.gz");
    fs::write(&labels, gzip(&idx(&[4], vec![2, 2, 2, 2]))).unwrap();
    let error = find(&["small", "glyphs"]).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("test-labels.gz") && message.contains("`cargo xtask data manifest FOLDER`"), "{message}");
    assert_eq!(error.exit_code(), 3);

    fs::rename(folder.join("small"), folder.join("moved")).unwrap();
    let error = find(&["small"]).unwrap_err();
    assert!(matches!(error, DataError::NoFiles { .. }) && error.exit_code() == 3);
    let message = error.to_string();
    for part in ["datasets/small.toml: ", "datasets/small:", "`path`", "--data-dir", "PLASTICITY_DATA"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let (set, passed_over) = find(&["small", "glyphs"]).unwrap();
    assert!(set.name == "glyphs" && passed_over[0].0 == "small", "{passed_over:?}");
}

#[test]
fn a_manifest_takes_no_name_of_a_known_set_and_has_that_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let suite = dir.path().join("mine.toml");
    let folder = dir.path().join("datasets");
    fs::create_dir(&folder).unwrap();
    let said = |file: &str, text: &str, name: &str| {
        fs::write(folder.join(file), text).unwrap();
        let message = beside(&suite, [name]).unwrap_err().to_string();
        fs::remove_file(folder.join(file)).unwrap();
        message
    };
    let small = toml_of(&small_set(&[]).0);
    let message = said("mnist.toml", &small, "mnist");
    assert!(message.contains("datasets/mnist.toml: `mnist` is a set that this program knows"), "{message}");
    let message = said("mine.toml", &small.replace("\"small\"", "\"glyphs\""), "mine");
    assert!(message.contains("mine.toml: name: `glyphs` is a set that this program knows"), "{message}");
    let message = said("mine.toml", &small, "mine");
    assert!(message.contains("mine.toml: name: is `small`, and the file is mine.toml"), "{message}");
    let without: String = small.lines().filter(|line| !line.starts_with("sha256")).map(|l| format!("{l}\n")).collect();
    let message = said("small.toml", &without, "small");
    assert!(message.contains("missing field `sha256`") && message.contains("data manifest FOLDER"), "{message}");
    // Names that are no names of files reach nothing.
    assert_eq!(beside(&suite, ["../mine", "", "."]).unwrap(), []);
    let error = resolve(&["mine".into()], &nowhere()).unwrap_err().to_string();
    assert!(error.contains("datasets/mine.toml beside the suite"), "{error}");
}

#[test]
fn what_is_no_set_is_refused_with_the_file_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("mine");
    fs::create_dir(&folder).unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    let said = || describe(&folder).unwrap_err().to_string();
    put("notes.md", b"");
    put("train-images.idx", &idx(&[2, 2, 2], vec![1; 8]));
    assert!(said().contains("mine: there is no file of labels for training"), "{}", said());
    put("train-labels.idx", &idx(&[3], vec![0; 3]));
    put("t10k-images.idx", &idx(&[1, 2, 3], vec![1; 6]));
    put("t10k-labels.idx", &idx(&[1], vec![4]));
    assert!(said().contains("t10k-images.idx: the test images are 1x2x3, those for training 1x2x2"), "{}", said());
    put("t10k-images.idx", &idx(&[1, 2, 2], vec![1; 4]));
    assert!(said().contains("train-labels.idx: the dimensions are [3], and there are 2 images"), "{}", said());
    put("train-labels.idx", &idx(&[2], vec![0, 1]));
    let made = describe(&folder).unwrap();
    assert_eq!(
        (made.shape, made.classes, made.path.as_deref().map(Path::is_absolute)),
        (Some([1, 2, 2]), Some(5), Some(true))
    );
    put("train-labels.gz", &gzip(&idx(&[2], vec![0, 1])));
    assert!(said().contains("train-labels.gz and train-labels.idx could both be"), "{}", said());
    // What is empty once decompressed is an empty file, and not what its compressed bytes would be.
    fs::remove_file(folder.join("train-labels.idx")).unwrap();
    put("train-labels.gz", &gzip(b""));
    assert!(said().contains("train-labels.gz: the file ends, 4 bytes too early"), "{}", said());
}

#[test]
fn a_text_of_ones_own_keeps_its_last_tenth_for_testing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("diary");
    fs::create_dir(&folder).unwrap();
    let text: String = "abcdefghij".repeat(3) + "äöü";
    fs::write(folder.join("all.txt.gz"), gzip(text.as_bytes())).unwrap();
    let made = describe(&folder).unwrap();
    assert_eq!(made.variants[0].files[0].raw_sha256, sha256(text.as_bytes()));
    let (set, _) =
        resolve_among(&[Manifest { file: Some(folder.join("x.toml")), ..made }], &["diary".into()], &nowhere())
            .unwrap();
    assert_eq!(load_text(&set, Split::Test).unwrap(), "äöü");
    assert_eq!(load_text(&set, Split::Train).unwrap().chars().count(), 30);
}
