//! What a cell's key holds: whatever the compiler reads of this workspace.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::lexer::{Token, tokens};
use crate::sources::{Crate, compiled_in, crates, hash, watched, workspace as of_all};

/// A workspace of two crates, one built on the other.
fn workspace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("crates/core/Cargo.toml", "[package]\nname = \"plasticity-core\"\n[dependencies]\nburn = \"1\"\n");
    write("crates/core/src/lib.rs", "const SET: &str = include_str!(\"../../../datasets/a.toml\");");
    write(
        "crates/paper/Cargo.toml",
        "[package]\nname = \"a-paper\"\n[dependencies]\nplasticity-core.workspace = true\n[dev-dependencies]\nother.workspace = true\n",
    );
    write("crates/paper/src/lib.rs", "mod inner;\n");
    write("crates/paper/src/inner.rs", "const A: &[u8] = include_bytes!(\"../fixtures/permutations.json\");");
    write("crates/paper/fixtures/permutations.json", "[1, 0]");
    write("crates/paper/tests/it/main.rs", "");
    write("crates/other/Cargo.toml", "[package]\nname = \"other\"\n");
    write("crates/other/src/lib.rs", "");
    write("datasets/a.toml", "name = \"a\"");
    dir
}

fn find<'a>(all: &'a [Crate], folder: &str) -> &'a Crate {
    all.iter().find(|one| one.folder == folder).unwrap()
}

/// The hashes that the key of a cell of a crate holds.
fn key_of(root: &Path, folder: &str) -> Vec<String> {
    let all = crates(root).unwrap();
    let needs = &find(&all, folder).needs;
    needs.iter().map(|name| hash(root, &find(&all, name).files).unwrap()).collect()
}

#[test]
fn whatever_is_compiled_in_changes_the_key() {
    let dir = workspace();
    let root = dir.path();
    let needs = find(&crates(root).unwrap(), "paper").needs.clone();
    assert_eq!(
        needs,
        BTreeSet::from(["core".to_owned(), "paper".to_owned()]),
        "a test's crate is none that it is built on"
    );
    let before = key_of(root, "paper");
    for (file, changes) in [
        ("crates/paper/fixtures/permutations.json", true),
        ("crates/paper/src/inner.rs", true),
        ("crates/paper/Cargo.toml", true),
        ("crates/core/Cargo.toml", true),
        ("crates/core/src/lib.rs", true),
        ("datasets/a.toml", true),
        ("crates/paper/tests/it/main.rs", false),
        ("crates/other/src/lib.rs", false),
    ] {
        let path = root.join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}\n")).unwrap();
        assert_eq!(key_of(root, "paper") != before, changes, "{file}");
        fs::write(&path, text).unwrap();
    }
    assert_eq!(key_of(root, "paper"), before);
}

/// A build script that is added later, Cargo's configuration, and a file beside the crates.
#[test]
fn whatever_may_change_the_key_is_watched() {
    let dir = workspace();
    let root = dir.path();
    let seen = watched(&crates(root).unwrap());
    let added = Path::new("crates/paper/build.rs");
    assert!(seen.iter().any(|path| added.starts_with(path)) && !seen.contains(Path::new("crates")), "{seen:?}");
    assert!(seen.contains(Path::new("datasets/a.toml")), "{seen:?}");
    fs::write(root.join("Cargo.toml"), "[workspace]\n").unwrap();
    let key = || hash(root, &of_all(root)).unwrap();
    let without = key();
    fs::create_dir(root.join(".cargo")).unwrap();
    fs::write(root.join(".cargo/config.toml"), "[profile.release]\nopt-level = 1\n").unwrap();
    let with = key();
    fs::write(root.join(".cargo/config.toml"), "[profile.release]\nopt-level = 3\n").unwrap();
    let other = key();
    assert!(without != with && with != other);
    fs::create_dir(root.join("crates/unify")).unwrap();
    fs::write(root.join("crates/unify/Cargo.toml"), "[package]\nname = \"unify\"\n").unwrap();
    assert_ne!(key(), other, "it sets the features of what all crates are built on");
}

#[test]
fn a_module_of_another_place_is_read_as_well() {
    let dir = workspace();
    let root = dir.path();
    fs::write(root.join("crates/paper/src/inner.rs"), "#[path = \"../shared/more.rs\"]\nmod more;").unwrap();
    fs::create_dir(root.join("crates/paper/shared")).unwrap();
    fs::write(root.join("crates/paper/shared/more.rs"), "const B: &str = include_str!(\"b.txt\");").unwrap();
    assert!(crates(root).unwrap_err().contains("there is no b.txt"));
    fs::write(root.join("crates/paper/shared/b.txt"), "b").unwrap();
    let all = crates(root).unwrap();
    for file in ["crates/paper/shared/more.rs", "crates/paper/shared/b.txt"] {
        assert!(find(&all, "paper").files.contains(Path::new(file)), "{file}");
    }
}

#[test]
fn what_cannot_be_told_is_an_error_of_the_build() {
    let file = Path::new("/w/crates/paper/src/lib.rs");
    let found = |text: &str| compiled_in(text, file, Path::new("/w/crates/paper"));
    for (text, part) in [
        ("include_str!($file)", "a name that is not written out"),
        ("include_bytes!(concat!(\"a\", \"b\"))", "a name that is not written out"),
        ("include_str!(\"nowhere.txt\")", "there is no nowhere.txt"),
        ("include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/nowhere.txt\"))", "there is no"),
        ("option_env!(\"BUILD_NUMBER\")", "BUILD_NUMBER"),
        ("const A: &str = env!(\"HOME\");", "HOME"),
    ] {
        assert!(found(text).unwrap_err().contains(part), "{text}");
    }
    for text in [
        "// include_str!($file)",
        "/* include_str!(\"a\") /* nested */ include_str!(\"b\") */",
        "/// Like `include_str!(name)`.\nfn f<'a>(x: &'a str) -> char { '\"' }",
        "let text = \"include_str!(name) \\\" include!(x)\"; let raw = r#\"include!(\"x\")\"#;",
        "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));",
        "env!(\"CARGO_PKG_VERSION\")",
        "let path = \"a\"; include_str(name)",
    ] {
        assert_eq!(found(text), Ok(Vec::new()), "{text}");
    }
    let text = "a('x', '\\'', b'\"', \"s\\\"t\", br##\"u\"#v\"##)";
    let texts = tokens(text).into_iter().filter_map(|t| if let Token::Text(text) = t { Some(text) } else { None });
    assert_eq!(texts.collect::<Vec<_>>(), ["s\"t", "u\"#v"]);
}

#[test]
fn sources_in_other_places_are_an_error() {
    let dir = workspace();
    let root = dir.path();
    let manifest = root.join("crates/paper/Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    for (more, part) in [
        ("[lib]\npath = \"lib/lib.rs\"\n", "a library lies in src/"),
        ("[package]\nbuild = \"other.rs\"\n", "a build script has the name build.rs"),
    ] {
        fs::write(&manifest, format!("{text}{more}")).unwrap();
        assert!(crates(root).unwrap_err().contains(part), "{more}");
    }
    fs::write(&manifest, text).unwrap();
    let before = key_of(root, "paper");
    fs::write(root.join("crates/paper/build.rs"), "fn main() {}").unwrap();
    assert_ne!(key_of(root, "paper"), before);
    fs::write(root.join("crates/paper/build.rs"), "mod more;\nfn main() {}").unwrap();
    assert!(crates(root).unwrap_err().contains("a build script is one file"));
}

#[test]
fn a_crate_from_a_path_outside_is_an_error() {
    let dir = workspace();
    let lock = "version = 4\n\n[[package]]\nname = \"a-paper\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"burn\"\nversion = \"1.0.0\"\nsource = \"registry\"\n";
    fs::write(dir.path().join("Cargo.lock"), lock).unwrap();
    crates(dir.path()).unwrap();
    fs::write(dir.path().join("Cargo.lock"), format!("{lock}\n[[package]]\nname = \"patched\"\nversion = \"1.0.0\"\n"))
        .unwrap();
    assert!(crates(dir.path()).unwrap_err().contains("package `patched`"));
}

/// Cargo packs the folder of a crate and nothing else.
#[test]
fn a_published_crate_is_compiled_from_its_own_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for one in crates(root).unwrap() {
        let folder = Path::new("crates").join(&one.folder);
        let outside: Vec<_> = one.files.iter().filter(|file| !file.starts_with(&folder)).collect();
        assert!(outside.is_empty(), "{}: no package holds {outside:?}", one.folder);
        if one.folder != "unify" {
            let licence = fs::read(root.join(&folder).join("LICENSE")).unwrap();
            assert!(licence == fs::read(root.join("LICENSE")).unwrap(), "{}: another licence", one.folder);
        }
    }
}

/// What the compiler says that it read is what the keys hold.
#[test]
fn the_compiler_reads_no_file_that_no_key_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let all = crates(root).unwrap();
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
    for one in all.iter().filter(|one| one.folder != "unify") {
        let package = if one.folder == "core" { "plasticity_core".to_owned() } else { one.folder.replace('-', "_") };
        let infos = fs::read_dir(&deps).unwrap().flatten().map(|entry| entry.path());
        let infos = infos.filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // The library's, not those of its tests, which are executables.
            let library = path.with_file_name(format!("lib{}", name.replace(".d", ".rlib")));
            name.starts_with(&format!("{package}-")) && name.ends_with(".d") && library.exists()
        });
        let newest = infos.max_by_key(|path| path.metadata().unwrap().modified().unwrap());
        let text = fs::read_to_string(newest.unwrap_or_else(|| panic!("no .d file of {package} in {deps:?}"))).unwrap();
        let read: BTreeSet<PathBuf> = text
            .lines()
            .filter_map(|line| line.strip_suffix(':').filter(|name| !name.contains(' ')))
            .map(|name| root.join(name))
            .filter_map(|path| path.canonicalize().ok())
            .filter_map(|path| path.strip_prefix(root.canonicalize().unwrap()).map(Path::to_path_buf).ok())
            .collect();
        assert!(read.len() > 3, "{package}: {text}");
        // What is held by a link is the file that it leads to.
        let real = |file: &PathBuf| {
            let path = root.join(file).canonicalize().ok()?;
            path.strip_prefix(root.canonicalize().ok()?).map(Path::to_path_buf).ok()
        };
        let held: BTreeSet<PathBuf> = one.files.iter().filter_map(real).collect();
        let missing: Vec<_> = read.difference(&held).collect();
        assert!(missing.is_empty(), "{package}: no key holds {missing:?}");
    }
    assert!(
        find(&all, "hebbian-snn").files.contains(Path::new("crates/hebbian-snn/fixtures/pmnist_permutations.json"))
    );
    assert!(find(&all, "core").files.contains(Path::new("crates/core/datasets/mnist.toml")));
    for one in all.iter().filter(|one| !["core", "unify"].contains(&one.folder.as_str())) {
        assert!(one.needs.contains("core") && one.needs.len() == 2, "{}: {:?}", one.folder, one.needs);
    }
}
