//! Downloads: the next mirror after a bad one, and nothing half-written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use plasticity_core::data::{Lookup, Place, Split, load_from, resolve_among};
use plasticity_core::error::DataError;

use crate::small_set::{Answer, Files, Server, TEST, TRAIN, gzip, small_set, store};

fn names() -> Vec<String> {
    vec!["small".into()]
}

fn cache(dir: &Path) -> Lookup {
    Lookup { cache_dir: Some(dir.to_path_buf()), ..Lookup::default() }
}

/// A server whose folder `good` holds the set and whose folder `bad` gives `answer` for
/// each file.
fn server(files: &Files, answer: impl Fn(&[u8]) -> Answer) -> Server {
    let mut answers = BTreeMap::new();
    for (name, content) in files {
        answers.insert(format!("/good/{name}"), Answer::Body(content.clone()));
        answers.insert(format!("/bad/{name}"), answer(content));
    }
    Server::start(answers)
}

fn listing(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Words of the reason that is given for a bad answer, and the answer to a file's content.
type BadAnswer = (&'static str, fn(&[u8]) -> Answer);

fn bad_answers() -> Vec<BadAnswer> {
    fn with(content: &[u8], change: fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut content = content.to_vec();
        change(&mut content);
        content
    }
    vec![
        ("404", |_| Answer::Status(404)),
        ("503", |_| Answer::Status(503)),
        ("HTML page", |_| Answer::Body(b"\n<!DOCTYPE html><html>Please log in</html>".to_vec())),
        ("HTML page", |_| Answer::Body(format!("<HTML>{}</HTML>", "login ".repeat(1000)).into_bytes())),
        ("broke off", |content| Answer::Half(content.to_vec())),
        ("bytes, the manifest says", |content| Answer::Endless(content[..content.len() - 1].to_vec())),
        ("bytes, the manifest says", |_| Answer::Body(Vec::new())),
        ("sha256 is", |content| Answer::Body(with(content, |c| c[20] ^= 1))),
        ("more than the", |content| Answer::Body(with(content, |c| c.push(0)))),
        ("in the encoding `br`", |content| Answer::Encoded("br", with(content, |c| c.reverse()))),
        ("bytes, the manifest says", |content| Answer::Encoded("gzip", gzip(&content[1..]))),
        ("more than the", |content| Answer::Encoded("gzip", gzip(&with(content, |c| c.resize(1 << 20, 7))))),
        ("broke off", |content| Answer::Encoded("gzip", with(&gzip(content), |c| c.push(7)))),
        ("more than the", |content| Answer::Endless(with(content, |c| c.resize(1 << 20, 7)))),
    ]
}

#[test]
fn after_a_bad_mirror_the_next_one_is_taken() {
    for (words, answer) in bad_answers() {
        let server = server(&small_set(&[]).1, answer);
        let (manifest, files) = small_set(&[server.url("bad"), server.url("good")]);
        let dir = tempfile::tempdir().unwrap();
        let (resolved, passed_over) =
            resolve_among(std::slice::from_ref(&manifest), &names(), &cache(dir.path())).unwrap();
        assert!(passed_over.is_empty(), "{words}");
        assert_eq!(resolved.place, Place::Dir(dir.path().join("small")));
        assert_eq!(listing(&dir.path().join("small")), files.keys().cloned().collect::<Vec<_>>(), "{words}");
        for (name, content) in &files {
            assert_eq!(&fs::read(dir.path().join("small").join(name)).unwrap(), content);
        }
        let asked = server.asked();
        assert_eq!(asked[..2], ["/bad/train-images.gz", "/good/train-images.gz"], "{words}");
        // And it can be read.
        let train = load_from(&manifest, &resolved, Split::Train, None).unwrap();
        assert_eq!((train.len(), train.height, train.width, train.classes), (TRAIN, 2, 3, 3));
        assert_eq!(train.image(1), [30, 35, 40, 45, 50, 55]);
        assert_eq!(load_from(&manifest, &resolved, Split::Test, None).unwrap().labels, [0, 1, 2, 0]);
        assert_eq!(load_from(&manifest, &resolved, Split::Train, Some(2)).unwrap(), train.take(2));
        assert_eq!(TEST, 4);
    }
}

/// What web servers say of a `.gz`: nothing, that it is gzip (and send it as it is), or that they have packed it
/// once more, in one member or several.
#[test]
fn a_mirror_may_name_the_encoding_of_a_gz_or_pack_it_again() {
    let answers: [fn(&[u8]) -> Answer; 6] = [
        |content| Answer::Encoded("gzip", content.to_vec()),
        |content| Answer::Encoded("x-gzip", content.to_vec()),
        |content| Answer::Encoded("identity", content.to_vec()),
        |content| Answer::Encoded("GZIP", gzip(content)),
        |content| Answer::Encoded("gzip", [gzip(&content[..9]), gzip(&content[9..])].concat()),
        |content| Answer::Encoded("br", content.to_vec()),
    ];
    for (i, answer) in answers.into_iter().enumerate() {
        let server = server(&small_set(&[]).1, answer);
        let (manifest, files) = small_set(&[server.url("bad")]);
        let dir = tempfile::tempdir().unwrap();
        resolve_among(&[manifest], &names(), &cache(dir.path())).unwrap_or_else(|e| panic!("answer {i}: {e}"));
        for (name, content) in &files {
            assert_eq!(&fs::read(dir.path().join("small").join(name)).unwrap(), content, "answer {i}");
        }
        assert_eq!(listing(&dir.path().join("small")).len(), files.len());
    }
}

#[test]
fn where_every_mirror_is_bad_nothing_is_left_behind_and_each_reason_is_given() {
    for (words, answer) in bad_answers() {
        let server = server(&small_set(&[]).1, answer);
        let (manifest, _) = small_set(&[server.url("bad"), server.url("bad")]);
        let dir = tempfile::tempdir().unwrap();
        let error = resolve_among(&[manifest], &names(), &cache(dir.path())).unwrap_err();
        let DataError::Download { file, tried } = &error else { panic!("{error}") };
        assert_eq!(file, "train-images.gz");
        assert_eq!(tried.len(), 2);
        for (url, why) in tried {
            assert!(url.starts_with("http://127.0.0.1"), "{url}");
            assert!(why.contains(words), "{words}: {why}");
        }
        assert_eq!(listing(&dir.path().join("small")), [""; 0], "{words}");
        assert_eq!(error.exit_code(), 3);
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}

#[test]
fn a_server_that_is_not_there_is_passed_over() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/x/", listener.local_addr().unwrap())
    };
    let server = server(&small_set(&[]).1, |_| Answer::Status(404));
    let (manifest, _) = small_set(&[gone, server.url("good")]);
    let dir = tempfile::tempdir().unwrap();
    assert!(resolve_among(&[manifest], &names(), &cache(dir.path())).is_ok());
}

#[test]
fn offline_asks_no_server() {
    let server = server(&small_set(&[]).1, |_| Answer::Status(404));
    let (manifest, files) = small_set(&[server.url("good")]);
    let manifests = [manifest];
    let dir = tempfile::tempdir().unwrap();
    let offline = Lookup { offline: true, ..cache(dir.path()) };
    let error = resolve_among(&manifests, &names(), &offline).unwrap_err();
    assert!(matches!(&error, DataError::Offline { name, .. } if name == "small"), "{error}");
    assert_eq!(listing(dir.path()), [""; 0]);
    // What the cache holds is taken.
    store(&files, dir.path());
    assert!(resolve_among(&manifests, &names(), &offline).is_ok());
    assert!(server.asked().is_empty());
}

#[test]
fn only_what_is_missing_or_wrong_in_the_cache_is_downloaded() {
    let server = server(&small_set(&[]).1, |_| Answer::Status(404));
    let (manifest, files) = small_set(&[server.url("good")]);
    let manifests = [manifest];
    let dir = tempfile::tempdir().unwrap();
    store(&files, dir.path());
    let small = dir.path().join("small");
    fs::remove_file(small.join("train-labels.gz")).unwrap();
    fs::write(small.join("test-images.gz"), "nothing").unwrap();
    // Offline, the wrong file is named.
    let offline = Lookup { offline: true, ..cache(dir.path()) };
    let error = resolve_among(&manifests, &names(), &offline).unwrap_err();
    assert!(matches!(&error, DataError::Size { file, .. } if file.ends_with("small/test-images.gz")), "{error}");

    assert!(resolve_among(&manifests, &names(), &cache(dir.path())).is_ok());
    assert_eq!(server.asked(), ["/good/train-labels.gz", "/good/test-images.gz"]);
    assert_eq!(fs::read(small.join("test-images.gz")).unwrap(), files["test-images.gz"]);
}

#[test]
fn what_a_stopped_download_left_goes_with_the_next_one() {
    let files = small_set(&[]).1;
    let server = server(&files, |_| Answer::Status(404));
    let (manifest, files) = small_set(&[server.url("good")]);
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("small");
    fs::create_dir(&dir).unwrap();
    // The second may belong to a download that goes on.
    for (name, age) in [(".stopped.part", 3600), (".live.part", 0)] {
        let file = fs::File::create(dir.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
    }
    resolve_among(std::slice::from_ref(&manifest), &names(), &cache(root.path())).unwrap();
    let expected = [".live.part".to_owned()].into_iter().chain(files.into_keys());
    assert_eq!(listing(&dir), expected.collect::<Vec<_>>());
}
