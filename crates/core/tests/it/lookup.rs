//! Where data sets are found, and what is said when they are not.

use std::fs;
use std::path::Path;

use plasticity_core::data::manifest::{self, Manifest};
use plasticity_core::data::{
    Lookup, Place, Source, Split, Status, glyphs, load, load_from, locate, locations, resolve, resolve_among,
};
use plasticity_core::error::DataError;

use crate::small_set::{gzip, small_set, store};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn offline(data_dir: Option<&Path>, env_dir: Option<&Path>, cache_dir: Option<&Path>) -> Lookup {
    let owned = |dir: Option<&Path>| dir.map(Path::to_path_buf);
    Lookup { data_dir: owned(data_dir), env_dir: owned(env_dir), cache_dir: owned(cache_dir), offline: true }
}

/// The built-in manifests and the small set.
fn manifests() -> Vec<Manifest> {
    let mut all = manifest::built_in().unwrap().to_vec();
    all.push(small_set(&[]).0);
    all
}

#[test]
fn the_named_folder_comes_before_the_environment_and_that_before_the_cache() {
    let (_, files) = small_set(&[]);
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let [a, b, c] = [0, 1, 2].map(|i| Some(dirs[i].path()));
    let find = |lookup: &Lookup| match locations(&manifests(), "small", lookup).unwrap().remove(0).status {
        Status::Found(source, dir) => Some((source, dir)),
        Status::Missing => None,
        other => panic!("{other:?}"),
    };
    let lookup = offline(a, b, c);
    assert_eq!(find(&lookup), None);
    for (source, dir) in [(Source::Cache, c), (Source::Environment, b), (Source::DataDir, a)] {
        store(&files, dir.unwrap());
        let place = dir.unwrap().join("small");
        assert_eq!(find(&lookup), Some((source, place.clone())));
        let resolved = resolve_among(&manifests(), &names(&["small"]), &lookup).unwrap().0;
        assert_eq!(resolved.place, Place::Dir(place));
    }
}

#[test]
fn the_first_candidate_that_resolves_wins_and_the_others_are_named() {
    let lookup = offline(None, None, None);
    let (resolved, passed_over) = resolve_among(&manifests(), &names(&["small", "glyphs", "mnist"]), &lookup).unwrap();
    assert_eq!((resolved.name.as_str(), resolved.place), ("glyphs", Place::BuiltIn));
    assert_eq!(passed_over.len(), 1);
    assert_eq!(passed_over[0].0, "small");
    assert!(passed_over[0].1.contains("cargo xtask data fetch small"), "{}", passed_over[0].1);

    let error = resolve_among(&manifests(), &names(&["small", "mnist"]), &lookup).unwrap_err();
    assert!(matches!(&error, DataError::Unresolved(all) if all.len() == 2), "{error}");
    assert_eq!(error.exit_code(), 3);
    let error = resolve_among(&manifests(), &[], &lookup).unwrap_err();
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn an_unknown_name_is_a_usage_error_with_a_suggestion_even_behind_a_good_one() {
    let error = resolve(&names(&["glyphs", "mnits"]), &offline(None, None, None)).unwrap_err();
    assert!(error.to_string().contains("did you mean `mnist`?"), "{error}");
    assert_eq!(error.exit_code(), 2);
    let error = locate("qqq", &offline(None, None, None)).unwrap_err();
    assert!(!error.to_string().contains("did you mean"), "{error}");
}

/// The error for the small set, followed by one that always resolves, after `harm` has
/// been done to its folder below a root that the user named.
fn harmed(harm: impl Fn(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    store(&small_set(&[]).1, dir.path());
    harm(&dir.path().join("small"));
    let lookups = [offline(Some(dir.path()), None, None), offline(None, Some(dir.path()), None)];
    let [one, two] = lookups.map(|lookup| {
        let error = resolve_among(&manifests(), &names(&["small", "glyphs"]), &lookup).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(matches!(locations(&manifests(), "small", &lookup).unwrap()[0].status, Status::Damaged(_)));
        error.to_string().replace(&dir.path().display().to_string(), "ROOT")
    });
    assert_eq!(one, two);
    one
}

#[test]
fn a_wrong_file_in_a_folder_that_the_user_named_is_an_error_that_names_it() {
    let file = "train-images.gz";
    let content = small_set(&[]).1[file].clone();
    let message = harmed(|dir| {
        let mut content = content.clone();
        content[20] ^= 1;
        fs::write(dir.join(file), content).unwrap();
    });
    assert!(message.starts_with("ROOT/small/train-images.gz: sha256 is "), "{message}");
    assert!(message.contains("plasticity changes nothing in a folder of yours"), "{message}");
    assert!(message.ends_with(
        "put the published file there (`cargo xtask data fetch --to DIR` gets one), or name another folder"
    ));

    let message = harmed(|dir| fs::write(dir.join(file), &content[..30]).unwrap());
    let whole = content.len();
    assert!(message.starts_with(&format!("ROOT/small/{file}: 30 bytes, the manifest says {whole}: ")), "{message}");

    let message = harmed(|dir| fs::write(dir.join(file), vec![0; 100_000]).unwrap());
    assert!(message.contains("100000 bytes, the manifest says"), "{message}");

    let message = harmed(|dir| fs::write(dir.join(file), "<!doctype html>\n<p>Sign in").unwrap());
    assert!(message.starts_with("ROOT/small/train-images.gz: an HTML page in place of the data"), "{message}");

    let message = harmed(|dir| fs::remove_file(dir.join(file)).unwrap());
    assert!(message.starts_with("ROOT/small lacks train-images.gz"), "{message}");
}

#[test]
fn a_named_folder_that_is_not_there_is_an_error() {
    let lookup = offline(Some(Path::new("no/such/folder")), None, None);
    let error = resolve_among(&manifests(), &names(&["small", "glyphs"]), &lookup).unwrap_err();
    assert!(error.to_string().starts_with("no/such/folder: No such file or directory"), "{error}");
    assert!(error.to_string().ends_with("; --data-dir names it"), "{error}");
    assert_eq!(error.exit_code(), 3);
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = resolve_among(&manifests(), &names(&["small"]), &offline(None, Some(file.path()), None)).unwrap_err();
    assert!(error.to_string().ends_with("; PLASTICITY_DATA names it"), "{error}");
    // The cache need not be there.
    assert!(
        resolve_among(&manifests(), &names(&["small", "glyphs"]), &offline(None, None, Some(Path::new("no")))).is_ok()
    );
}

#[test]
fn the_folder_of_the_set_itself_is_answered_with_the_one_above() {
    let (_, files) = small_set(&[]);
    let dir = tempfile::tempdir().unwrap();
    store(&files, dir.path());
    let small = dir.path().join("small");
    for lookup in [offline(Some(&small), None, None), offline(None, Some(&small), None)] {
        let error = resolve_among(&manifests(), &names(&["small", "glyphs"]), &lookup).unwrap_err();
        let DataError::Inside { dir: found, by, parent, .. } = &error else { panic!("{error}") };
        assert_eq!((found.as_path(), parent.as_path()), (small.as_path(), dir.path()));
        assert_eq!(by, if lookup.data_dir.is_some() { "--data-dir" } else { "PLASTICITY_DATA" });
        assert!(error.to_string().ends_with(&format!("must name the folder above, {}", dir.path().display())));
        assert_eq!(error.exit_code(), 3);
    }
    // A folder of that name that holds none of its files is a folder like others.
    let empty = dir.path().join("else/small");
    fs::create_dir_all(&empty).unwrap();
    assert!(resolve_among(&manifests(), &names(&["small", "glyphs"]), &offline(Some(&empty), None, None)).is_ok());
    // A set in a folder of its own name inside one of that name is found.
    store(&files, &small);
    assert!(resolve_among(&manifests(), &names(&["small"]), &offline(Some(&small), None, None)).is_ok());
}

/// Neither absent nor wrong: nobody can tell. (A test may run as root, which may read whatever it likes; a name that
/// leads to itself stops root too.)
#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_looked_for_is_an_error_and_not_missing() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("small");
    std::os::unix::fs::symlink(&small, &small).unwrap();
    let error = resolve_among(&manifests(), &names(&["small", "glyphs"]), &offline(Some(dir.path()), None, None));
    assert!(matches!(error, Err(DataError::Io { .. })), "{error:?}");
}

#[test]
fn an_error_is_one_line_and_says_its_cause_once() {
    let io = || std::io::Error::other("the cause");
    let errors: [Box<dyn std::error::Error>; 4] = [
        Box::new(DataError::io(Path::new("f"), io())),
        Box::new(plasticity_core::error::RunError::io(Path::new("f"), io())),
        Box::new(DataError::Unresolved(vec![("a".into(), "one".into()), ("b".into(), "two".into())])),
        Box::new(DataError::Download {
            file: "f".into(),
            tried: vec![("u".into(), "one".into()), ("v".into(), "two".into())],
        }),
    ];
    for error in errors {
        let (mut text, mut source) = (error.to_string(), error.source());
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.matches("the cause").count() <= 1, "{text}");
    }
}

#[test]
fn decompressed_files_are_taken_and_are_the_same_data() {
    let (manifest, files) = small_set(&[]);
    let manifests = [manifest];
    let [packed, plain] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    store(&files, packed.path());
    let unpacked = files.iter().map(|(name, content)| {
        let mut raw = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(content.as_slice()), &mut raw).unwrap();
        (name.trim_end_matches(".gz").to_string(), raw)
    });
    store(&unpacked.collect(), plain.path());
    let [one, two] = [packed, plain].map(|dir| {
        let resolved = resolve_among(&manifests, &names(&["small"]), &offline(Some(dir.path()), None, None)).unwrap().0;
        (resolved.sha256.clone(), load_from(&manifests[0], &resolved, Split::Train, None).unwrap())
    });
    assert_eq!(one, two);
}

#[test]
fn a_file_that_changes_between_plan_and_load_is_an_error() {
    let (manifest, files) = small_set(&[]);
    let dir = tempfile::tempdir().unwrap();
    store(&files, dir.path());
    let manifests = [manifest];
    let (resolved, _) = resolve_among(&manifests, &names(&["small"]), &offline(None, None, Some(dir.path()))).unwrap();
    let read = || load_from(&manifests[0], &resolved, Split::Train, None);
    assert!(read().is_ok());
    let labels = dir.path().join("small/train-labels.gz");
    let mut changed = files["train-labels.gz"].clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&labels, changed).unwrap();
    assert!(matches!(read(), Err(DataError::Checksum { file, .. }) if file == labels));
    fs::remove_file(&labels).unwrap();
    assert!(matches!(read(), Err(DataError::Io { .. })));
    // Another manifest than the one of the plan.
    let mut other = resolved.clone();
    other.sha256 = "0".repeat(64);
    assert!(matches!(load_from(&manifests[0], &other, Split::Train, None), Err(DataError::Manifest(_))));
}

#[test]
fn content_that_contradicts_the_manifest_is_malformed() {
    let (mut manifest, mut files) = small_set(&[]);
    manifest.classes = Some(2);
    let dir = tempfile::tempdir().unwrap();
    store(&files, dir.path());
    let read = |manifest: &Manifest| {
        let all = std::slice::from_ref(manifest);
        let resolved = resolve_among(all, &names(&["small"]), &offline(None, None, Some(dir.path()))).unwrap().0;
        load_from(manifest, &resolved, Split::Train, None).unwrap_err().to_string()
    };
    let message = read(&manifest);
    assert!(message.ends_with("small/train-labels.gz: label 2 of image 2 is not below 2 at byte 10"), "{message}");
    manifest.classes = Some(3);
    manifest.shape = Some([1, 3, 2]);
    assert!(read(&manifest).contains("the dimensions are [6, 2, 3] and should be [6, 3, 2]"));
    // Right checksum, wrong format.
    manifest.shape = Some([1, 2, 3]);
    let text = gzip(b"not an array at all");
    let entry = &mut manifest.variants[0].files[0];
    (entry.bytes, entry.sha256) = (text.len() as u64, crate::small_set::sha256(&text));
    files.insert(entry.name.clone(), text);
    store(&files, dir.path());
    assert!(read(&manifest).contains("not an IDX file"));
}

#[test]
fn every_built_in_manifest_is_right_and_has_its_own_name() {
    let built_in = manifest::built_in().unwrap();
    assert!(
        names(&["fashion-mnist", "glyphs", "mnist", "smollm2-135m", "tinyshakespeare"])
            .iter()
            .eq(built_in.iter().map(|manifest| &manifest.name))
    );
    assert!(plasticity_core::data::names().eq(built_in.iter().map(|manifest| manifest.name.as_str())));
}

#[test]
fn locate_tells_the_place_that_resolve_takes() {
    let dir = tempfile::tempdir().unwrap();
    let lookup = offline(Some(dir.path()), None, None);
    assert_eq!(locate("glyphs", &lookup).unwrap(), Some(Place::BuiltIn));
    assert_eq!(locate("mnist", &lookup).unwrap(), None);
    fs::create_dir(dir.path().join("mnist")).unwrap();
    fs::write(dir.path().join("mnist/train-images-idx3-ubyte.gz"), "short").unwrap();
    assert!(matches!(locate("mnist", &lookup), Err(DataError::Size { .. })));
}

#[test]
fn glyphs_resolve_and_load_anywhere() {
    let (resolved, passed_over) = resolve(&names(&["glyphs"]), &offline(None, None, None)).unwrap();
    assert!(passed_over.is_empty() && resolved.exact);
    assert_eq!(resolved.sha256.len(), 64);
    let images = load(&resolved, Split::Test, Some(30)).unwrap();
    assert_eq!(images, glyphs::generate(1, Split::Test, 30));
    assert_ne!(glyphs::digest(1, 10, 10), glyphs::digest(2, 10, 10));
    assert_eq!(load(&resolved, Split::Test, None).unwrap().len(), 10_000);
}

#[test]
fn a_manifest_is_checked() {
    let good = include_str!("../../datasets/mnist.toml");
    let parse = |text: &str| Manifest::parse(text, Path::new("m.toml"));
    assert!(parse(good).is_ok());
    let broken = [
        ("title =", "titel =", "m.toml:2: unknown field `titel`"),
        ("classes = 10", "classes = \"ten\"", "m.toml:7: invalid type"),
        ("classes = 10", "classes = 0", "classes"),
        ("role = \"test-labels\"", "role = \"test-images\"", "one file for each role"),
        ("https://ossci", "ftp://ossci", "must start with http"),
        ("name = \"t10k-images-idx3-ubyte.gz\"", "name = \"../t10k\"", "is not the name of a file"),
        ("sha256 = \"440f", "sha256 = \"440F", "64 lower-case hex digits"),
        ("exact = true", "exact = true\ngenerator = \"glyphs\"", "neither files nor mirrors"),
        ("train = 60000", "train = 0", "above 0"),
        ("bytes = 9912422", "bytes = 0", "bytes and raw-bytes must be above 0"),
        ("raw-bytes = 47040016", "raw-bytes = 9223372036854775807", "bytes and raw-bytes must be above 0 and at most"),
        ("name = \"mnist\"", "name = \"a/b\"", "folder's name"),
    ];
    for (from, to, words) in broken {
        assert!(good.contains(from), "{from}");
        let error = parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.starts_with("m.toml:") && error.contains(words), "{error}");
    }
}
