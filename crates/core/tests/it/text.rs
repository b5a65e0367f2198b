//! Texts as data sets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use plasticity_core::checkpoint::Fault;
use plasticity_core::data::manifest::{self, FileEntry, Kind, Manifest, Role, Variant};
use plasticity_core::data::testing::data_or_skip;
use plasticity_core::data::{
    Lookup, Place, Resolved, Split, load, load_from, load_text, load_text_from, resolve, resolve_among,
};
use plasticity_core::error::{DataError, RunError};
use plasticity_core::run::record::{CellSpec, FORMAT};
use plasticity_core::run::{RunContext, Setup};

use crate::small_set::{Answer, Server, gzip, sha256, small_set};

/// Six characters of more than one byte among thirteen.
const TEXT: &str = "Ünd dánn ist Ёnde…☂";

/// A text set named `play` in the folder `text/play`, split after `train` characters and before the last `test`.
fn play(content: &[u8], train: usize, test: usize) -> (Manifest, Vec<u8>) {
    let stored = gzip(content);
    let entry = FileEntry {
        role: Role::Text,
        name: "play.txt.gz".into(),
        bytes: stored.len() as u64,
        sha256: sha256(&stored),
        raw_bytes: content.len() as u64,
        raw_sha256: sha256(content),
    };
    let variant = Variant {
        name: "official".into(),
        exact: true,
        train,
        test,
        mirrors: Vec::new(),
        raw_mirrors: Vec::new(),
        package: None,
        files: vec![entry],
        generator: None,
        seed: 0,
    };
    let manifest = Manifest {
        name: "play".into(),
        title: "A play".into(),
        licence: "none".into(),
        citation: "none".into(),
        shape: None,
        classes: None,
        path: None,
        file: None,
        folder: Some("text/play".into()),
        variants: vec![variant],
    };
    (manifest, stored)
}

fn store(root: &Path, name: &str, content: &[u8]) -> PathBuf {
    let dir = root.join("text/play");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), content).unwrap();
    dir
}

fn resolved(manifest: &Manifest, lookup: &Lookup) -> Result<Resolved, DataError> {
    let (manifests, names) = (std::slice::from_ref(manifest), std::slice::from_ref(&manifest.name));
    resolve_among(manifests, names, lookup).map(|(resolved, _)| resolved)
}

fn offline(root: &Path) -> Lookup {
    Lookup { data_dir: Some(root.into()), offline: true, ..Lookup::default() }
}

#[test]
fn splits_are_the_first_and_the_last_characters_packed_or_not() {
    let n = TEXT.chars().count();
    for (train, test) in [(n - 5, 5), (3, 4), (1, 1)] {
        let (manifest, stored) = play(TEXT.as_bytes(), train, test);
        assert_eq!(manifest.kind(), Kind::Text);
        for (name, content) in [("play.txt.gz", stored.as_slice()), ("play.txt", TEXT.as_bytes())] {
            let root = tempfile::tempdir().unwrap();
            let dir = store(root.path(), name, content);
            let set = resolved(&manifest, &offline(root.path())).unwrap();
            assert_eq!(set.place, Place::Dir(dir));
            let read = |split| load_text_from(&manifest, &set, split).unwrap();
            assert_eq!(read(Split::Train), TEXT.chars().take(train).collect::<String>());
            assert_eq!(read(Split::Test), TEXT.chars().skip(n - test).collect::<String>());
        }
    }
}

#[test]
fn a_digest_tells_one_content_and_one_split_from_others() {
    let digest = |text: &str, train, test| play(text.as_bytes(), train, test).0.variants[0].digest();
    let all = [digest(TEXT, 9, 4), digest(TEXT, 8, 5), digest(TEXT, 9, 5), digest("another text", 9, 4)];
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    assert_eq!(digest(TEXT, 9, 4), all[0]);
    // A set of images keeps the digest that it had before there were texts.
    let mnist = &manifest::find("mnist").unwrap().variants[0];
    assert_eq!(mnist.digest(), "d71bac31c0bafd2c37989176ff3d180c47eaa76f07ea5199ab462b587a810149");
}

#[test]
fn content_that_contradicts_the_manifest_is_an_error() {
    // The manifest's checksum of the stored file is right in each case.
    let fails = |content: &[u8], change: &dyn Fn(&mut Manifest)| {
        let (mut manifest, stored) = play(content, 4, 2);
        change(&mut manifest);
        let root = tempfile::tempdir().unwrap();
        store(root.path(), "play.txt.gz", &stored);
        let set = resolved(&manifest, &offline(root.path())).unwrap();
        load_text_from(&manifest, &set, Split::Test).unwrap_err()
    };
    let unchanged = |_: &mut Manifest| {};
    let entry = |m: &mut Manifest| m.variants[0].files[0].clone();
    let malformed = |error: DataError, words: &str, at: u64| {
        let found =
            matches!(&error, DataError::Malformed { what, offset, .. } if what.contains(words) && *offset == at);
        assert!(found, "{error}");
    };
    malformed(fails(b"abcde", &unchanged), "5 characters, the splits of the manifest need 6", 5);
    malformed(fails(b"abc\xff\xfeabcdef", &unchanged), "not UTF-8", 3);
    let longer = |m: &mut Manifest| m.variants[0].files[0].raw_bytes += 1;
    malformed(fails(b"abcdef", &longer), "6 bytes decompressed, the manifest says 7", 6);
    let shorter = |m: &mut Manifest| m.variants[0].files[0].raw_bytes -= 2;
    malformed(fails(b"abcdef", &shorter), "more than 4 bytes decompressed, the manifest says 4", 4);
    let other = |m: &mut Manifest| m.variants[0].files[0] = FileEntry { raw_sha256: sha256(b"x"), ..entry(m) };
    assert!(matches!(fails(b"abcdef", &other), DataError::Checksum { .. }));
}

/// `cat a.gz b.gz` is a gzip file too, and what is none after its end is no content.
#[test]
fn a_text_of_several_gzip_members_is_read_whole_and_nothing_may_follow() {
    let text = TEXT.as_bytes();
    let read = |stored: Vec<u8>| {
        let (mut manifest, _) = play(text, 9, 4);
        let entry = &mut manifest.variants[0].files[0];
        (entry.bytes, entry.sha256) = (stored.len() as u64, sha256(&stored));
        let root = tempfile::tempdir().unwrap();
        store(root.path(), "play.txt.gz", &stored);
        let set = resolved(&manifest, &offline(root.path())).unwrap();
        load_text_from(&manifest, &set, Split::Test)
    };
    assert!(TEXT.ends_with(&read([gzip(&text[..5]), gzip(&text[5..])].concat()).unwrap()));
    for end in [b"more".to_vec(), vec![0; 8], gzip(b"more")] {
        let error = read([gzip(text), end].concat()).unwrap_err();
        assert!(matches!(error, DataError::Malformed { .. }), "{error}");
    }
}

#[test]
fn a_file_that_changes_between_plan_and_load_is_an_error() {
    let (manifest, stored) = play(TEXT.as_bytes(), 9, 4);
    let root = tempfile::tempdir().unwrap();
    let file = store(root.path(), "play.txt.gz", &stored).join("play.txt.gz");
    let set = resolved(&manifest, &offline(root.path())).unwrap();
    let mut changed = stored;
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&file, changed).unwrap();
    let error = load_text_from(&manifest, &set, Split::Train).unwrap_err();
    assert!(matches!(&error, DataError::Checksum { file: found, .. } if *found == file), "{error}");
    let planned = Resolved { sha256: "0".repeat(64), ..set };
    assert!(matches!(load_text_from(&manifest, &planned, Split::Train), Err(DataError::Manifest(_))));
}

#[test]
fn a_mirror_of_decompressed_files_is_used_and_a_wrong_packed_file_gives_way() {
    let text = TEXT.as_bytes();
    let (mut manifest, stored) = play(text, 9, 4);
    let server = Server::start(BTreeMap::from([("/raw/play.txt".to_string(), Answer::Body(text.to_vec()))]));
    manifest.variants[0].mirrors = vec![server.url("packed")];
    manifest.variants[0].raw_mirrors = vec![server.url("raw")];
    for wrong in [None, Some(b"wrong".as_slice())] {
        let cache = tempfile::tempdir().unwrap();
        let dir = cache.path().join("text/play");
        if let Some(wrong) = wrong {
            store(cache.path(), "play.txt.gz", wrong);
        }
        let lookup = Lookup { cache_dir: Some(cache.path().into()), ..Lookup::default() };
        let set = resolved(&manifest, &lookup).unwrap();
        assert_eq!(fs::read(dir.join("play.txt")).unwrap(), text);
        assert!(!dir.join("play.txt.gz").exists());
        assert_eq!(load_text_from(&manifest, &set, Split::Test).unwrap(), "nde…☂".chars().skip(1).collect::<String>());
    }
    assert_eq!(server.asked(), ["/packed/play.txt.gz", "/raw/play.txt"].repeat(2));
    // The bytes of a raw mirror are checked like others: the packed form is not taken for the raw one.
    let server = Server::start(BTreeMap::from([("/raw/play.txt".to_string(), Answer::Body(stored))]));
    manifest.variants[0].mirrors.clear();
    manifest.variants[0].raw_mirrors = vec![server.url("raw")];
    let cache = tempfile::tempdir().unwrap();
    let lookup = Lookup { cache_dir: Some(cache.path().into()), ..Lookup::default() };
    assert!(matches!(resolved(&manifest, &lookup), Err(DataError::Download { .. })));
}

#[test]
fn a_text_that_is_nowhere_names_its_folder() {
    let root = tempfile::tempdir().unwrap();
    let error = resolved(&play(TEXT.as_bytes(), 9, 4).0, &offline(root.path())).unwrap_err();
    assert!(error.to_string().ends_with("a folder that holds text/play/"), "{error}");
}

/// The folder of this set is two names deep: the user may stop at either.
#[test]
fn a_folder_inside_the_one_that_was_meant_is_answered_with_that_one() {
    let (manifest, stored) = play(TEXT.as_bytes(), 9, 4);
    let root = tempfile::tempdir().unwrap();
    let dir = store(root.path(), "play.txt.gz", &stored);
    for inside in [dir.as_path(), &root.path().join("text")] {
        let error = resolved(&manifest, &offline(inside)).unwrap_err();
        let found = matches!(&error, DataError::Inside { dir, parent, .. } if dir == inside && parent == root.path());
        assert!(found, "{error}");
    }
}

#[test]
fn images_of_a_text_and_a_text_of_images_are_refused() {
    let (manifest, stored) = play(TEXT.as_bytes(), 9, 4);
    let root = tempfile::tempdir().unwrap();
    store(root.path(), "play.txt.gz", &stored);
    let set = resolved(&manifest, &offline(root.path())).unwrap();
    let error = load_from(&manifest, &set, Split::Train, None).unwrap_err();
    assert_eq!(error.to_string(), "data set `play` consists of text, not of images: name another set in `data`");
    assert_eq!(error.exit_code(), 2);

    let (glyphs, _) = resolve(&["glyphs".into()], &offline(root.path())).unwrap();
    let error = load_text(&glyphs, Split::Train).unwrap_err();
    assert!(matches!(&error, DataError::Kind { name, found: "images", asked: "text" } if name == "glyphs"), "{error}");
    let (images, files) = small_set(&[]);
    crate::small_set::store(&files, root.path());
    let set = resolved(&images, &offline(root.path())).unwrap();
    assert!(matches!(load_text_from(&images, &set, Split::Test), Err(DataError::Kind { .. })));
}

#[test]
fn a_run_reads_the_text_of_its_plan() {
    let context = |data: Option<Resolved>| {
        let dir = tempfile::tempdir().unwrap();
        let spec = CellSpec {
            format: FORMAT,
            experiment: "test".into(),
            arm: "only".into(),
            seed: 0,
            device: "auto".into(),
            threads: 1,
            data,
            key: "key".into(),
            protocol: "key".into(),
        };
        let setup = Setup {
            dir: dir.path().into(),
            spec,
            device: plasticity_core::testing::cpu(),
            stop: Arc::new(AtomicBool::new(false)),
            progress: Box::new(|_| {}),
            fault: Fault::none(),
        };
        (RunContext::new(setup).unwrap(), dir)
    };
    assert!(matches!(context(None).0.text(Split::Test), Err(RunError::Config(_))));
    let (glyphs, _) = resolve(&["glyphs".into()], &Lookup { offline: true, ..Lookup::default() }).unwrap();
    assert!(matches!(context(Some(glyphs)).0.text(Split::Test), Err(RunError::Data(DataError::Kind { .. }))));
    let Some(set) = data_or_skip("tinyshakespeare") else { return };
    let (run, _dir) = context(Some(set.clone()));
    assert_eq!(run.text(Split::Test).unwrap(), load_text(&set, Split::Test).unwrap());
    assert!(matches!(run.images(Split::Test, 1), Err(RunError::Data(DataError::Kind { .. }))));
}

#[test]
fn a_manifest_of_a_text_is_checked() {
    let good = include_str!("../../datasets/tinyshakespeare.toml");
    let parse = |text: &str| Manifest::parse(text, Path::new("t.toml"));
    assert!(parse(good).is_ok());
    let broken = [
        ("folder = \"text/", "folder = \"../", "must be names of folders"),
        ("folder = \"text/", "folder = \"/", "must be names of folders"),
        ("folder = \"text/", "folder = \"text//", "must be names of folders"),
        ("folder = \"text/", "shape = [1, 28, 28]\nfolder = \"text/", "a text and a model have neither"),
        ("folder = \"text/", "shape = [1, 2, 2]\nclasses = 2\nfolder = \"text/", "one file for each role of images"),
        ("folder = \"text/", "classes = 3\nfolder = \"text/", "a text and a model have neither"),
        ("folder = \"text/", "folders = \"text/", "t.toml:5: unknown field `folders`"),
        ("role = \"text\"", "role = \"test-images\"", "one file, of role text"),
        ("raw-mirrors = [\"https", "raw-mirrors = [\"ftp", "must start with http"),
        ("exact = true", "exact = true\ngenerator = \"glyphs\"", "the generator makes images"),
        ("test = 111540", "test = 0", "above 0"),
    ];
    for (from, to, words) in broken {
        assert!(good.contains(from), "{from}");
        let error = parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.starts_with("t.toml:") && error.contains(words), "{error}");
    }
}

#[test]
fn tinyshakespeare_has_its_known_splits_and_symbols() {
    let Some(set) = data_or_skip("tinyshakespeare") else { return };
    assert!(set.exact);
    let (train, test) = (load_text(&set, Split::Train).unwrap(), load_text(&set, Split::Test).unwrap());
    assert_eq!((train.chars().count(), test.chars().count()), (1_003_854, 111_540));
    assert!(train.starts_with("First Citizen:\nBefore we proceed any further, hear me speak."));
    assert_eq!(train.chars().chain(test.chars()).collect::<BTreeSet<_>>().len(), 65);
    assert_eq!(train.chars().collect::<BTreeSet<_>>().len(), 65, "training knows every symbol of the test text");
    assert!(matches!(load(&set, Split::Train, None), Err(DataError::Kind { .. })));
}
