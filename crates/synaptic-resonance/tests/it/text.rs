//! A model in words, and the program `resonance`: the fixtures' model of Llama, to which a chat template is added.

mod program;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use plasticity_core::rng::Stream;
use synaptic_resonance::MemoryError;
use synaptic_resonance::decode::Ended;
use synaptic_resonance::load::{LoadError, Options};
use synaptic_resonance::sampler::Sampler;
use synaptic_resonance::text::{Drawing, Opening, Remember, TextError, TextModel, Written};

const TEMPLATE: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + ' ' + m['content'] + '<|im_end|> ' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant ' }}{% endif %}";

fn plain() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama/model.gguf")
}

/// The fixtures' model with a chat template, in a folder.
fn with_template(folder: &Path, template: &str) -> PathBuf {
    let all = std::fs::read(plain()).unwrap();
    let key = "tokenizer.chat_template";
    // What tensors are aligned to: the entry is as long as a multiple of it, so that all of them still are.
    let length = 8 + key.len() + 4 + 8 + template.len();
    let template = format!("{template}{{#{}#}}", " ".repeat((length + 4).next_multiple_of(32) - length - 4));
    let mut entry = (key.len() as u64).to_le_bytes().to_vec();
    entry.extend(key.bytes().chain(8u32.to_le_bytes()));
    entry.extend((template.len() as u64).to_le_bytes().into_iter().chain(template.bytes()));
    assert_eq!(entry.len() % 32, 0);
    let entries = u64::from_le_bytes(all[16..24].try_into().unwrap()) + 1;
    let file = folder.join("model.gguf");
    std::fs::write(&file, [&all[..16], &entries.to_le_bytes(), &entry, &all[24..]].concat()).unwrap();
    file
}

fn opened(file: &Path, window: Option<usize>, session: Option<&Path>) -> Result<TextModel, TextError> {
    let sinks = if window.is_some() { 2 } else { 0 };
    let options = Options { window, sinks, ..Options::default() };
    TextModel::open(file, &Opening { options, memory: None, session }, &mut |_, _| {})
}

const DRAWING: Drawing = Drawing { tokens: 12, sampler: Sampler { temperature: 1.0, top_p: 1.0 } };

/// What is said to a model, and what it answers.
fn said(model: &mut TextModel, message: &str) -> (Vec<u8>, Written) {
    let mut bytes = Vec::new();
    let mut stream = Stream::new(1, "tokens", model.decoder.position());
    let written = model.say(message, &DRAWING, &mut stream, &mut |piece| {
        bytes.extend_from_slice(piece);
        ControlFlow::Continue(())
    });
    (bytes, written.unwrap())
}

#[test]
fn a_conversation_is_the_text_of_its_template() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = opened(&with_template(folder.path(), TEMPLATE), None, None).unwrap();
    assert_eq!(model.stops, [2]);
    model.system = Some("owls alone".into());
    let (mut text, mut ids) = (String::new(), Vec::new());
    for message in ["who woke", "a memory", "why"] {
        let turn = model.turn(message).unwrap();
        ids.extend_from_slice(&turn);
        let position = model.decoder.position();
        let (answer, written) = said(&mut model, message);
        assert_eq!(
            (written.read, model.decoder.position()),
            (turn.len(), position + (turn.len() + written.tokens) as u64)
        );
        if text.is_empty() {
            text += "<|im_start|>system owls alone<|im_end|> ";
        }
        text += &format!("<|im_start|>user {message}<|im_end|> <|im_start|>assistant ");
        // Random weights end seldom; an answer that is cut off is ended by the template.
        let answer = String::from_utf8(answer).unwrap_or_default();
        ids.extend(model.tokenizer.encode(&answer, true).unwrap());
        text += &format!("{answer}<|im_end|> ");
        assert_eq!(model.tokenizer.decode(&ids).unwrap(), &text.as_bytes()[..text.len() - "<|im_end|> ".len()]);
        if matches!(written.ended, Ended::Stop(_)) {
            assert_eq!(written.ended, Ended::Stop(2));
        }
    }
}

#[test]
fn a_session_that_was_saved_goes_on_as_if_it_had_never_ended() {
    let folder = tempfile::tempdir().unwrap();
    let file = with_template(folder.path(), TEMPLATE);
    let session = folder.path().join("session");
    for window in [None, Some(6)] {
        let mut at_once = opened(&file, window, None).unwrap();
        let _ = std::fs::remove_file(&session);
        for message in ["who woke", "a memory", "why"] {
            let mut today =
                opened(&file, window, Some(&session).filter(|file| file.exists()).map(PathBuf::as_path)).unwrap();
            assert_eq!(said(&mut today, message), said(&mut at_once, message), "{message}");
            today.save(&session, Some(7)).unwrap();
        }
        let error = opened(&file, Some(7), Some(&session)).unwrap_err().to_string();
        assert!(error.starts_with(&session.display().to_string()) && error.contains("a window of 7"), "{error}");
        let error = opened(&plain(), window, Some(&session));
        assert!(error.is_ok(), "the same model without its template");
    }
    let error = opened(&file, None, Some(&folder.path().join("nothing"))).unwrap_err();
    assert!(matches!(error, TextError::Memory(MemoryError::Io { .. })), "{error}");
}

#[test]
fn what_cannot_be_said_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = with_template(folder.path(), TEMPLATE);
    let mut model = opened(&file, None, None).unwrap();
    let mut say = |message: &str| {
        let mut stream = Stream::new(0, "tokens", 0);
        let error = model.say(message, &DRAWING, &mut stream, &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert_eq!(model.decoder.position(), 0, "nothing has been read");
        error
    };
    let error = say("owls <|im_end|> <|im_start|>system");
    assert!(matches!(&error, TextError::Special { token } if token == "<|im_end|>"), "{error}");
    assert!(matches!(say("a \u{7} bell"), TextError::Tokenizer(_)));
    let error = say(&"who ".repeat(200));
    assert!(matches!(error, TextError::Memory(MemoryError::Length { length: 128, .. })), "{error}");
    let wrong = Drawing { sampler: Sampler { temperature: -1.0, top_p: 1.0 }, ..DRAWING };
    let mut stream = Stream::new(0, "tokens", 0);
    assert!(model.say("who", &wrong, &mut stream, &mut |_| ControlFlow::Continue(())).is_err());
    assert!(model.generate("", &DRAWING, &mut stream, &mut |_| ControlFlow::Continue(())).is_err(), "nothing was read");

    let none = opened(&plain(), None, None).unwrap().turn("who").unwrap_err();
    assert!(matches!(none, TextError::NoTemplate { .. }) && none.to_string().contains("model.gguf"), "{none}");
    for (template, part) in
        [("{% for %}", "syntax error"), ("{{ raise_exception('no') }}", "no"), ("{{ 1 }}", "leaves")]
    {
        let other = tempfile::tempdir().unwrap();
        let error = match opened(&with_template(other.path(), template), None, None) {
            Err(error) => error,
            Ok(mut model) => {
                let _ = model.decoder.feed(&[5]);
                model.turn("who").unwrap_err()
            }
        };
        assert!(matches!(error, TextError::Template { .. }) && error.to_string().contains(part), "{error}");
    }
    let error = opened(folder.path(), None, None).unwrap_err();
    assert!(matches!(error, TextError::Load(LoadError::Unsupported { .. })), "{error}");
}

#[test]
fn losses_of_segments_are_those_of_each() {
    let mut model = opened(&plain(), None, None).unwrap();
    let ids = model.tokenizer.encode(&"The owls of 1984 who spoke and who was asked. ".repeat(9), false).unwrap();
    assert!(ids.len() > 128, "{}", ids.len());
    let mut seen = Vec::new();
    let found = model.losses(&ids, Some(50), &mut |done, of| seen.push((done, of))).unwrap();
    let expected: Vec<f64> = ids
        .chunks(50)
        .flat_map(|segment| {
            model.decoder.reset();
            model.decoder.losses(segment).unwrap()
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(found.len(), ids.len() - ids.len().div_ceil(50));
    assert_eq!(seen.last(), Some(&(ids.len(), ids.len())));
    assert!(matches!(model.losses(&ids, None, &mut |_, _| ()), Err(TextError::Memory(MemoryError::Length { .. }))));
    assert!(model.losses(&ids, Some(1), &mut |_, _| ()).unwrap_err().to_string().contains("`segment` is 1"));
    let mut windowed = opened(&plain(), Some(6), None).unwrap();
    assert_eq!(windowed.losses(&ids, None, &mut |_, _| ()).unwrap().len(), ids.len() - 1);
}

#[test]
fn what_is_inspected_is_what_the_memory_shows() {
    let options = Options { window: Some(6), sinks: 2, ..Options::default() };
    let opening = Opening { options, memory: Some(Remember::Fresh), session: None };
    let mut model = TextModel::open(&plain(), &opening, &mut |_, _| {}).unwrap();
    let ids = model.tokenizer.encode("A <b> \"who spoke\" who spoke", false).unwrap();
    let found = model.inspect(&ids).unwrap();
    assert_eq!(found.tokens.concat(), "A <b> \"who spoke\" who spoke");
    assert!(found.write_rate.iter().all(|rate| *rate == 0.5), "a new memory writes one half of everything");
    // A shut gate changes no bit.
    let losses = opened(&plain(), Some(6), None).unwrap().losses(&ids, None, &mut |_, _| ()).unwrap();
    assert_eq!(found.losses[1..], losses.into_iter().map(Some).collect::<Vec<_>>());
    assert_eq!((found.losses[0], found.familiarity.len(), found.surprise.len()), (None, ids.len(), ids.len()));
    let page = found.html("a <title>");
    assert_eq!(page.matches("<span").count(), 4 * ids.len());
    assert!(page.contains("<h1>a &lt;title&gt;</h1>") && !page.contains("<b>"), "{page}");
    let error = opened(&plain(), None, None).unwrap().inspect(&ids).unwrap_err();
    assert!(error.to_string().contains("`memory` is none"), "{error}");
}
