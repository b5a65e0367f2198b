//! The program itself: what it prints, and how it ends.

use std::io::{Read, Seek, Write};
use std::process::{Command, Output, Stdio};

use super::*;

fn program(flags: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_resonance"))
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// What it prints when all is well.
fn printed(flags: &[&str], input: &str) -> Vec<u8> {
    let output = program(flags, input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{flags:?}: {said}");
    output.stdout
}

#[test]
fn a_text_depends_on_its_seed_and_not_on_threads() {
    let model = plain();
    let model = model.to_str().unwrap();
    let text = |seed: &str, threads: &str| {
        printed(&["generate", model, "-n", "20", "-p", "The owls", "--seed", seed, "--threads", threads], "")
    };
    let first = text("1", "1");
    assert_eq!(text("1", "2"), first);
    assert_eq!(text("1", "3"), first);
    assert_ne!(text("2", "1"), first);
    // The prompt may come from standard input.
    assert_eq!(printed(&["generate", model, "-n", "20", "--seed", "1"], "The owls"), first);
}

/// On a terminal both streams are one: what is said about a text begins a line of its own.
#[test]
fn what_is_said_of_a_text_stands_below_it() {
    let (model, mut both) = (plain(), tempfile::tempfile().unwrap());
    let status = Command::new(env!("CARGO_BIN_EXE_resonance"))
        .args(["generate", model.to_str().unwrap(), "-n", "5", "-p", "The owls", "--times"])
        .stdin(Stdio::null())
        .stdout(both.try_clone().unwrap())
        .stderr(both.try_clone().unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    let mut said = Vec::new();
    both.rewind().and_then(|()| both.read_to_end(&mut said)).unwrap();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("read ") && last.contains(" a second, wrote "), "{said}");
}

#[test]
fn a_chat_goes_on_in_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let model = with_template(folder.path(), TEMPLATE);
    let (model, session) = (model.to_str().unwrap(), folder.path().join("session"));
    let session = session.to_str().unwrap();
    let flags = |more: &[&'static str]| {
        let mut all = vec!["chat", model, "-n", "9", "--temperature", "1", "--seed", "4"];
        all.extend(more);
        all
    };
    let window = ["--window", "8", "--sinks", "1"];
    let whole = printed(&flags(&window), "who woke\n\na memory\nwhy");
    let mut parts = Vec::new();
    for (i, message) in ["who woke", "a memory", "why"].into_iter().enumerate() {
        let mut all = flags(if i == 0 { &window } else { &[] });
        all.extend(["--session", session, "--message", message]);
        parts.extend(printed(&all, ""));
    }
    assert_eq!(String::from_utf8_lossy(&parts), String::from_utf8_lossy(&whole));
    // The session's window is taken; another one is refused, and so is another beginning.
    for (more, part) in [(["--window", "9"], "a window of 9"), (["--system", "owls"], "--system")] {
        let mut all = flags(&[]);
        all.extend(["--session", session, "--message", "who"]);
        all.extend(more);
        refused(&all, part);
    }
}

/// It ends with one line that says what is wrong, and with 2.
fn refused(flags: &[&str], part: &str) {
    let output = program(flags, "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
    assert!(said.starts_with("error: ") && said.contains(part), "{said}");
    assert!(said.trim_end().lines().count() == 1, "{said}");
}

#[test]
fn bad_input_is_one_line_and_the_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let model = plain();
    let model = model.to_str().unwrap();
    refused(&["generate", &path("nothing.gguf"), "-p", "x"], "nothing.gguf");
    std::fs::write(path("short.gguf"), &std::fs::read(model).unwrap()[..3000]).unwrap();
    refused(&["generate", &path("short.gguf"), "-p", "x"], "cut off or damaged");
    refused(&["generate", model, "-p", "x", "--temperature", "-1"], "`temperature` is -1");
    refused(&["generate", model, "-p", "x", "--window", "0", "--sinks", "3"], "--sinks");
    refused(&["generate", model, "--prompt-file", &path("none.txt")], "none.txt");
    refused(&["generate", model], "feed at least one first");
    refused(&["chat", model, "--message", "who"], "use `generate`");
    std::fs::write(path("session"), "no session").unwrap();
    refused(&["generate", model, "-p", "x", "--session", &path("session")], "damaged");
    std::fs::write(path("one.txt"), "T").unwrap();
    refused(&["perplexity", model, &path("one.txt")], "1 tokens");
    std::fs::write(path("long.txt"), "who was asked ".repeat(99)).unwrap();
    refused(&["perplexity", model, &path("long.txt"), "--segment", "500"], "more than the 128");
}

#[test]
fn perplexity_is_that_of_the_library() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.txt");
    let text = "The owls of 1984 who spoke and who was asked. ".repeat(9);
    std::fs::write(&file, &text).unwrap();
    let (path, file) = (plain(), file.to_str().unwrap());
    let mut model = opened(&path, None, None).unwrap();
    let ids = model.tokenizer.encode(&text, false).unwrap();
    let losses = model.losses(&ids, Some(128), &mut |_, _| ()).unwrap();
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    let line = format!("{} tokens: {mean:.6} nats a token, perplexity {:.3}\n", losses.len(), mean.exp());
    let said = printed(&["perplexity", path.to_str().unwrap(), file], "");
    assert_eq!(String::from_utf8(said).unwrap(), line);
    let said = printed(&["perplexity", path.to_str().unwrap(), file, "--each", "--tokens", "40"], "");
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said.lines().count(), 40);
    for (line, loss) in said.lines().zip(&losses[..39]) {
        assert!(line.starts_with(&format!("{loss:.6}\t")), "{line}");
    }
}
