//! Recall tasks and the character model's data.

use std::collections::{BTreeMap, BTreeSet};

use burn::prelude::*;
use plasticity_core::data::testing::data_or_skip;
use plasticity_core::data::{Split, load_text};
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, cpu, values};
use proptest::prelude::*;
use synaptic_resonance::MemoryError;
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::settings::ModelConfig;
use synaptic_resonance::tasks::retention::curve;
use synaptic_resonance::tasks::text::{
    Alphabet, ByPosition, TextBatch, evaluate, evaluate_carried, segments, streams, windows,
};
use synaptic_resonance::tasks::{Batch, Count, Fill, Mqar, Point, Question, Recall, Retention, half_distance, recall};
use synaptic_resonance::tokens::Tokens;

/// Settings that fit, from numbers of any size.
fn task() -> impl Strategy<Value = Mqar> {
    let fill = prop_oneof![Just(Fill::Zero), Just(Fill::Random)];
    (1usize..9, 0usize..9, 1usize..4, 0usize..20, 0usize..40, 0usize..30, fill).prop_map(
        |(pairs, updates, repeats, pause, spare, more, fill)| {
            let (updates, pause) = (updates.min(pairs), 2 * pause);
            let vocabulary = 2 * (pairs + 1).max(pairs + updates) + more;
            let time = 2 * (2 * pairs + updates * repeats) + pause + spare;
            Mqar { vocabulary, pairs, time, updates, repeats, pause, fill }
        },
    )
}

fn draw(task: &Mqar, rows: usize, seed: u64) -> Batch {
    task.batch(rows, &mut Stream::new(seed, "test/tasks", 0)).unwrap()
}

proptest! {
    /// Everything that sections 8.2 and 8.3 say of a sequence, read from the sequence alone.
    #[test]
    fn answers_are_the_latest_values(task in task(), seed: u64) {
        let (rows, half) = (3, task.vocabulary as u32 / 2);
        let batch = draw(&task, rows, seed);
        prop_assert_eq!((batch.tokens.batch(), batch.tokens.time()), (rows, task.time));
        prop_assert!(batch.questions.is_sorted_by_key(|q| (q.row, q.position)));
        for row in 0..rows {
            let ids = batch.tokens.row(row);
            prop_assert!(ids.iter().all(|id| (*id as usize) < task.vocabulary));
            let shown = 2 * (task.pairs + task.updates * task.repeats);
            let keys: Vec<u32> = ids[..2 * task.pairs].iter().step_by(2).copied().collect();
            let distinct: BTreeSet<u32> = keys.iter().copied().collect();
            prop_assert_eq!(distinct.len(), task.pairs, "keys are distinct");
            prop_assert!(keys.iter().all(|k| (1..half).contains(k)));

            // What followed each key, in order.
            let mut followed: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for pair in ids[..shown].chunks(2) {
                prop_assert!(distinct.contains(&pair[0]) && pair[1] >= half);
                followed.entry(pair[0]).or_default().push(pair[1]);
            }
            let all: Vec<u32> = followed.values().flat_map(|v| v.iter().copied().collect::<BTreeSet<_>>()).collect();
            prop_assert_eq!(all.len(), task.pairs + task.updates);
            prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "values are distinct");

            let questions: Vec<&Question> = batch.questions.iter().filter(|q| q.row == row).collect();
            let places: BTreeSet<usize> = questions.iter().map(|q| q.position).collect();
            prop_assert_eq!(places.len(), task.pairs);
            let asked: BTreeSet<u32> = questions.iter().map(|q| ids[q.position]).collect();
            prop_assert_eq!(&asked, &distinct, "each key is asked for once");
            for q in &questions {
                prop_assert!(q.position >= shown + task.pause && (q.position - shown).is_multiple_of(2));
                let last = (0..q.position).rev().find(|i| ids[*i] == ids[q.position]);
                prop_assert_eq!(last, Some(q.written));
                prop_assert_eq!(ids[q.written + 1], q.answer);
                prop_assert_eq!(q.distance(), q.position - q.written);
                let values = &followed[&ids[q.position]];
                match q.updated {
                    false => prop_assert_eq!(values.len(), 1),
                    true => {
                        prop_assert_eq!(values.len(), task.repeats + 1);
                        let (new, old) = values.split_last().unwrap();
                        prop_assert!(old.iter().all(|v| *v == old[0] && v != new));
                    }
                }
            }
            prop_assert_eq!(questions.iter().filter(|q| q.updated).count(), task.updates);
            let fill = (shown..task.time).filter(|i| !places.contains(i)).map(|i| ids[i]);
            for token in fill {
                match task.fill {
                    Fill::Zero => prop_assert_eq!(token, 0),
                    Fill::Random => prop_assert!(!distinct.contains(&token)),
                }
            }
        }
    }

    #[test]
    fn a_batch_is_a_function_of_its_stream(task in task(), seed: u64) {
        prop_assert_eq!(draw(&task, 2, seed), draw(&task, 2, seed));
        // The first rows do not depend on how many follow.
        let (one, three) = (draw(&task, 1, seed), draw(&task, 3, seed));
        prop_assert_eq!(one.tokens.row(0), three.tokens.row(0));
    }

    #[test]
    fn windows_are_pieces_of_the_text_and_what_follows(
        n in 2usize..80,
        rows in 1usize..5,
        seed: u64,
        share in 0.0..1.0,
    ) {
        let ids: Vec<u32> = (0..n as u32).collect();
        let time = 1 + ((n - 2) as f64 * share) as usize;
        let draw = || windows(&ids, rows, time, &mut Stream::new(seed, "w", 0)).unwrap();
        let batch = draw();
        prop_assert_eq!(&batch, &draw());
        prop_assert_eq!((batch.inputs.batch(), batch.inputs.time()), (rows, time));
        for row in 0..rows {
            let (read, next) = (batch.inputs.row(row), batch.targets.row(row));
            let from = read[0] as usize;
            prop_assert_eq!(read, &ids[from..from + time]);
            prop_assert_eq!(next, &ids[from + 1..from + time + 1]);
        }
    }

    #[test]
    fn segments_and_streams_read_the_text_once(n in 2usize..200, time in 1usize..12, size in 1usize..5) {
        prop_assume!(n > time);
        let ids: Vec<u32> = (0..n as u32).collect();
        let whole = (n - 1) / time;
        let batches = segments(&ids, size, time).unwrap();
        let read: Vec<u32> = batches.iter().flat_map(|b| b.inputs.ids().to_vec()).collect();
        prop_assert_eq!(&read, &ids[..whole * time]);
        prop_assert!(batches.iter().all(|b| b.inputs.batch() <= size));
        prop_assert!(batches.iter().all(|b| b.targets.ids().iter().zip(b.inputs.ids()).all(|(y, x)| *y == x + 1)));

        let Ok(batches) = streams(&ids, size, time) else {
            prop_assert!(whole < size);
            return Ok(());
        };
        let mut read = Vec::new();
        for row in 0..size {
            let one: Vec<u32> = batches.iter().flat_map(|b| b.inputs.row(row).to_vec()).collect();
            prop_assert!(one.windows(2).all(|pair| pair[1] == pair[0] + 1), "a stream is continuous");
            read.extend(one);
        }
        prop_assert_eq!(&read, &ids[..whole / size * size * time]);
    }
}

/// Every place of a question, every pair for an update, and every filler is as likely as any other.
#[test]
fn questions_updates_and_filler_are_uniform() {
    let task = Mqar { vocabulary: 12, pairs: 2, time: 17, updates: 1, repeats: 1, pause: 0, fill: Fill::Random };
    let n = 6000;
    let batch = draw(&task, n, 1);
    let (mut places, mut updated, mut filler) = ([0; 5], [0; 2], [0; 12]);
    for q in &batch.questions {
        places[(q.position - 6) / 2] += 1;
        let ids = batch.tokens.row(q.row);
        if q.updated {
            updated[usize::from(ids[2] == ids[q.position])] += 1;
        }
    }
    for row in 0..n {
        filler[batch.tokens.row(row)[16] as usize] += 1;
    }
    let uniform = |counts: &[i32], trials: usize, p: f64| {
        let (mean, sd) = (trials as f64 * p, (trials as f64 * p * (1.0 - p)).sqrt());
        assert!(counts.iter().all(|c| (f64::from(*c) - mean).abs() < 4.5 * sd), "{counts:?}, expected {mean}");
    };
    uniform(&places, n, 2.0 / 5.0);
    uniform(&updated, n, 0.5);
    // A token that can be a key is one of the two in 2 of 5 cases; of the ten that are left each is as likely.
    uniform(&filler[1..6], n, 0.6 / 10.0);
    uniform(&[&filler[..1], &filler[6..]].concat(), n, 1.0 / 10.0);
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let good = Mqar { pairs: 8, updates: 4, repeats: 3, ..Mqar::default() };
    good.check().unwrap();
    let at_least = |time| Mqar { time, ..good.clone() };
    assert!(at_least(56).check().is_ok() && at_least(55).check().is_err());
    let wrong = [
        ("pairs", Mqar { pairs: 0, ..good.clone() }),
        ("updates", Mqar { updates: 9, ..good.clone() }),
        ("repeats", Mqar { repeats: 0, ..good.clone() }),
        ("pause", Mqar { pause: 3, ..good.clone() }),
        ("time", Mqar { pause: 10, ..good.clone() }),
        ("time", Mqar { repeats: usize::MAX, ..good.clone() }),
        ("time", Mqar { time: usize::MAX, ..good.clone() }),
        // 8 keys fit below 18, 12 values below 24.
        ("vocabulary", Mqar { vocabulary: 22, ..good.clone() }),
        ("vocabulary", Mqar { vocabulary: 16, updates: 0, ..good.clone() }),
        ("vocabulary", Mqar { vocabulary: 0, ..good.clone() }),
    ];
    for (name, task) in wrong {
        let error = task.batch(1, &mut Stream::new(0, "", 0)).unwrap_err();
        assert!(matches!(error, MemoryError::Setting { field, .. } if field == name), "{name}: {error}");
    }
    for vocabulary in [18, 19] {
        assert!(Mqar { vocabulary, updates: 0, ..good.clone() }.check().is_ok());
    }
    assert!(Mqar { vocabulary: 24, ..good.clone() }.check().is_ok());
    assert!(good.batch(0, &mut Stream::new(0, "", 0)).is_err());
    let config: Mqar = serde_json::from_str(r#"{"pairs": 8, "fill": "random"}"#).unwrap();
    assert_eq!(config, Mqar { pairs: 8, fill: Fill::Random, ..Mqar::default() });
    assert!(serde_json::from_str::<Mqar>(r#"{"pears": 8}"#).is_err());
}

#[test]
fn retention_adds_its_length_between_pairs_and_questions() {
    let retention = Retention::default();
    retention.check().unwrap();
    for length in [256, 512, 1024, 2048] {
        let task = retention.test(length).unwrap();
        let batch = draw(&task, 4, length as u64);
        assert_eq!(batch.tokens.time(), length);
        let more = length - 256;
        // Pairs in the first 16 tokens, questions in the last 240.
        assert!(batch.questions.iter().all(|q| q.written < 16 && q.position >= 16 + more));
        assert!(batch.questions.iter().all(|q| (more + 2..length).contains(&q.distance())));
    }
    for length in [254, 257] {
        assert!(matches!(retention.test(length), Err(MemoryError::Setting { field: "lengths", .. })), "{length}");
        assert!(Retention { lengths: vec![512, length], ..retention.clone() }.check().is_err());
    }
}

/// Logits whose largest entries are `answers`.
fn logits(answers: &[usize], vocabulary: usize) -> Tensor<2> {
    let device = cpu();
    let mut data = vec![0.0f32; answers.len() * vocabulary];
    for (row, answer) in answers.iter().enumerate() {
        data[row * vocabulary + answer] = 1.0;
    }
    Tensor::from_data(TensorData::new(data, [answers.len(), vocabulary]), &device)
}

fn count(right: u64, asked: u64) -> Count {
    Count { right, asked }
}

#[test]
fn answers_are_counted_by_distance_and_by_update() {
    let question = |position, written, answer, updated| Question { row: 0, position, answer, written, updated };
    let questions =
        [question(10, 0, 3, false), question(12, 2, 4, false), question(13, 2, 4, true), question(20, 10, 1, true)];
    let mut found = Recall::of(logits(&[3, 3, 4, 0], 6), &questions).unwrap();
    assert_eq!(found.by_distance, BTreeMap::from([(10, count(1, 3)), (11, count(1, 1))]));
    assert_eq!((found.kept, found.updated, found.total()), (count(1, 2), count(1, 2), count(2, 4)));
    assert_eq!(found.total().accuracy(), Some(0.5));
    assert_eq!(Count::default().accuracy(), None);
    found.add(&Recall::of(logits(&[3], 6), &questions[..1]).unwrap());
    assert_eq!((found.by_distance[&10], found.kept), (count(2, 4), count(2, 3)));

    assert!(matches!(Recall::of(logits(&[3], 6), &questions), Err(MemoryError::Shape { .. })));
    let bad = logits(&[3], 6) * f32::NAN;
    assert!(matches!(Recall::of(bad, &questions[..1]), Err(MemoryError::NotFinite { .. })));
}

#[test]
fn the_half_distance_is_where_accuracy_falls_through_one_half() {
    let by_distance = BTreeMap::from([(2, count(4, 4)), (6, count(2, 4)), (9, count(3, 4)), (10, count(1, 4))]);
    let recall = Recall { by_distance, ..Recall::default() };
    let points = curve(&recall, 8);
    assert_eq!(points, [Point { distance: 4.0, count: count(6, 8) }, Point { distance: 9.5, count: count(4, 8) }]);
    assert!(curve(&recall, 0).is_empty());

    let points = |all: &[(f64, u64)]| -> Vec<Point> {
        all.iter().map(|(distance, right)| Point { distance: *distance, count: count(*right, 8) }).collect()
    };
    assert_eq!(half_distance(&points(&[(100.0, 8), (200.0, 6), (400.0, 2), (800.0, 1)])), Some(300.0));
    assert_eq!(half_distance(&points(&[(100.0, 4), (200.0, 2)])), Some(100.0));
    assert_eq!(half_distance(&points(&[(100.0, 8), (200.0, 4)])), None);
    assert_eq!(half_distance(&points(&[(100.0, 3), (200.0, 1)])), None);
    assert_eq!(half_distance(&[]), None);
}

fn model(vocabulary: usize) -> Model {
    let config = ModelConfig { vocabulary, width: 16, window: Some(4), ..ModelConfig::default() };
    let mut model = Model::new(&config, &mut Stream::new(3, "model", 0), &cpu()).unwrap();
    for block in &mut model.blocks {
        // The memory speaks.
        let memory = block.memory.as_mut().unwrap();
        memory.gamma = memory.gamma.clone().map(|gamma| gamma + 0.7);
    }
    model
}

/// The answers are those of the largest logits at the questions, found without the selection of rows.
#[test]
fn recall_reads_the_logits_at_the_questions() {
    let task = Mqar { vocabulary: 20, pairs: 3, time: 30, updates: 1, ..Mqar::default() };
    let (batch, model) = (draw(&task, 64, 5), model(20));
    let found = recall(&model, &batch).unwrap();
    let (logits, _) = model.forward(&batch.tokens, model.start(64), &Pass::default()).unwrap();
    let logits = values(logits);
    let right = |q: &Question| {
        let row = &logits[(q.row * 30 + q.position) * 20..][..20];
        (0..20).all(|token| row[token] <= row[q.answer as usize])
    };
    let expected = |updated| {
        let all: Vec<_> = batch.questions.iter().filter(|q| q.updated == updated).collect();
        count(all.iter().filter(|q| right(q)).count() as u64, all.len() as u64)
    };
    assert_eq!((found.updated, found.kept), (expected(true), expected(false)));
    assert!(found.total().right > 0, "an untrained model guesses right now and then");
    let other = Mqar { vocabulary: 30, ..task };
    assert!(matches!(recall(&model, &draw(&other, 8, 5)), Err(MemoryError::Token { .. })));
}

#[test]
fn an_alphabet_is_sorted_and_knows_its_text_only() {
    let alphabet = Alphabet::of("to be, ☂ or not").unwrap();
    assert_eq!(alphabet.symbols(), [' ', ',', 'b', 'e', 'n', 'o', 'r', 't', '☂']);
    assert_eq!(alphabet.encode("not ☂").unwrap(), [4, 5, 7, 0, 8]);
    assert_eq!(alphabet.decode(&alphabet.encode("be or be not").unwrap()).unwrap(), "be or be not");
    let error = alphabet.encode("to bx").unwrap_err();
    assert_eq!(error.to_string(), "`text` is 'x' at character 4: must hold only the 9 symbols of the training text");
    assert!(matches!(alphabet.decode(&[0, 9]), Err(MemoryError::Token { token: 9, position: 1, vocabulary: 9, .. })));
    assert!(Alphabet::of("").is_err());
}

#[test]
fn texts_that_are_too_short_are_refused() {
    let ids = [0, 1, 2, 3];
    let stream = || Stream::new(0, "", 0);
    assert!(windows(&ids, 1, 3, &mut stream()).is_ok() && segments(&ids, 1, 3).is_ok() && streams(&ids, 1, 3).is_ok());
    for (rows, time) in [(1, 4), (0, 1), (1, 0)] {
        assert!(matches!(windows(&ids, rows, time, &mut stream()), Err(MemoryError::Setting { .. })), "{rows} {time}");
        assert!(matches!(segments(&ids, rows, time), Err(MemoryError::Setting { .. })), "{rows} {time}");
        assert!(matches!(streams(&ids, rows, time), Err(MemoryError::Setting { .. })), "{rows} {time}");
    }
}

#[test]
fn noise_replaces_its_share_of_the_inputs_and_no_target() {
    let (symbols, n) = (65u64, 40_000);
    let mut stream = Stream::new(9, "text", 0);
    let ids: Vec<u32> = (0..=n).map(|_| stream.below(symbols) as u32).collect();
    let batch = segments(&ids, 8, 100).unwrap().remove(0);
    let clean = TextBatch {
        inputs: Tokens::new(ids[..n].to_vec(), 8, n / 8).unwrap(),
        targets: Tokens::new(ids[1..].to_vec(), 8, n / 8).unwrap(),
    };
    let noisy = |p| clean.noisy(p, symbols as usize, &mut Stream::new(9, "noise", 0)).unwrap();
    let changed = |b: &TextBatch| -> BTreeSet<usize> {
        (0..n).filter(|i| b.inputs.ids()[*i] != clean.inputs.ids()[*i]).collect()
    };
    assert_eq!(noisy(0.0), clean);
    let mut before = BTreeSet::new();
    for p in [0.02, 0.05, 0.1, 0.2, 1.0] {
        let found = noisy(p);
        assert_eq!(found.targets, clean.targets);
        assert_eq!(found, noisy(p));
        // A replaced symbol stays the same in one of 65 cases.
        let share = p * 64.0 / 65.0;
        let sd = (share * (1.0 - share) / n as f64).sqrt();
        let hits = changed(&found);
        assert!((hits.len() as f64 / n as f64 - share).abs() < 4.5 * sd, "{p}: {}", hits.len());
        assert!(hits.is_superset(&before), "what a smaller share replaces");
        before = hits;
    }
    let mut counts = vec![0.0; symbols as usize];
    noisy(1.0).inputs.ids().iter().for_each(|id| counts[*id as usize] += 1.0);
    let mean = n as f64 / symbols as f64;
    assert!(counts.iter().all(|c| (c - mean).abs() < 5.0 * mean.sqrt()), "{counts:?}");
    for p in [-0.1, 1.1, f64::NAN] {
        assert!(batch.noisy(p, 65, &mut Stream::new(0, "", 0)).is_err(), "{p}");
    }
    assert!(batch.noisy(0.5, 0, &mut Stream::new(0, "", 0)).is_err());
}

#[test]
fn losses_are_averaged_by_position() {
    let mut loss = ByPosition::default();
    assert_eq!(loss.mean(), None);
    loss.add(&[1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 5.0, 6.0], 4);
    loss.add(&[5.0, 6.0, 7.0, 8.0], 4);
    assert_eq!((loss.n(), loss.mean()), (12, Some(54.0 / 12.0)));
    let buckets = loss.buckets(&[0, 1, 3, 9, 12]);
    let found: Vec<_> = buckets.iter().map(|b| (b.from, b.to, b.nats, b.n)).collect();
    assert_eq!(found, [(0, 1, 3.0, 3), (1, 3, 4.5, 6), (3, 9, 6.0, 3)]);
    assert!(loss.buckets(&[3, 1]).is_empty());
}

#[test]
fn the_loss_of_a_text_is_the_cross_entropy_of_its_logits() {
    let model = model(12);
    let mut stream = Stream::new(2, "text", 0);
    let ids: Vec<u32> = (0..82).map(|_| stream.below(12) as u32).collect();
    let batches = segments(&ids, 3, 10).unwrap();
    let found = evaluate(&model, &batches).unwrap();
    let (mut sum, mut n) = (vec![0.0; 10], 0);
    for batch in &batches {
        let rows = batch.inputs.batch();
        let (logits, _) = model.forward(&batch.inputs, model.start(rows), &Pass::default()).unwrap();
        for (i, row) in values(logits).chunks(12).enumerate() {
            let largest = row.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = row.iter().map(|x| (x - largest).exp()).sum();
            sum[i % 10] += largest + total.ln() - row[batch.targets.ids()[i] as usize];
            n += 1;
        }
    }
    assert_eq!((found.n(), n), (80, 80));
    let buckets = found.buckets(&(0..=10).collect::<Vec<_>>());
    let means: Vec<f64> = buckets.iter().map(|b| b.nats).collect();
    assert_close(&means, &sum.iter().map(|s| s / 8.0).collect::<Vec<_>>(), 1e-5);
    assert_close(&[found.mean().unwrap()], &[sum.iter().sum::<f64>() / 80.0], 1e-5);
}

/// Segments with a carried state are one long text, and a model with memory reads them differently without it.
#[test]
fn a_carried_state_is_as_good_as_one_long_segment() {
    let model = model(12);
    let mut stream = Stream::new(4, "text", 0);
    let ids: Vec<u32> = (0..61).map(|_| stream.below(12) as u32).collect();
    let whole = evaluate(&model, &segments(&ids, 1, 60).unwrap()).unwrap().mean().unwrap();
    let carried = evaluate_carried(&model, &streams(&ids, 1, 12).unwrap()).unwrap();
    assert_eq!(carried.n(), 60);
    assert_close(&[carried.mean().unwrap()], &[whole], 1e-5);
    let reset = evaluate(&model, &streams(&ids, 1, 12).unwrap()).unwrap().mean().unwrap();
    assert!((reset - whole).abs() > 1e-4, "{reset} {whole}");
    // Two streams: the halves, each by itself.
    let halves = evaluate_carried(&model, &streams(&ids, 2, 15).unwrap()).unwrap().mean().unwrap();
    let long = evaluate(&model, &segments(&ids, 2, 30).unwrap()).unwrap().mean().unwrap();
    assert_close(&[halves], &[long], 1e-5);
}

#[test]
fn tinyshakespeare_as_tokens() {
    let Some(set) = data_or_skip("tinyshakespeare") else { return };
    let (train, test) = (load_text(&set, Split::Train).unwrap(), load_text(&set, Split::Test).unwrap());
    let alphabet = Alphabet::of(&train).unwrap();
    assert_eq!(alphabet.size(), 65);
    assert_eq!(alphabet.symbols()[..3], ['\n', ' ', '!']);
    let (train, test) = (alphabet.encode(&train).unwrap(), alphabet.encode(&test).unwrap());
    assert_eq!((train.len(), test.len()), (1_003_854, 111_540));
    let batches = segments(&test, 64, 192).unwrap();
    assert_eq!(batches.iter().map(|b| b.inputs.batch()).sum::<usize>(), 111_539 / 192);
    assert_eq!(alphabet.decode(&train[..14]).unwrap(), "First Citizen:");
}

/// Sizes of which the product overflows, or would not fit into any memory: refused before anything is allocated.
#[test]
fn sizes_that_nobody_has_room_for_are_refused() {
    let huge = [usize::MAX, 1 << 63, 1 << 40];
    let mut stream = Stream::new(0, "huge", 0);
    for n in huge {
        assert!(Tokens::new(Vec::new(), n, 2).is_err() && Tokens::new(Vec::new(), 2, n).is_err(), "{n}");
        assert!(Mqar::default().batch(n, &mut stream).is_err(), "{n}");
        let ids = [1; 50];
        assert!(windows(&ids, n, 8, &mut stream).is_err(), "{n}");
        assert!(windows(&ids, 2, n, &mut stream).is_err() && segments(&ids, 2, n).is_err(), "{n}");
        assert!(streams(&ids, n, 8).is_err() && streams(&ids, 2, n).is_err(), "{n}");
        // More rows than there are segments are one batch of all.
        assert_eq!(segments(&ids, n, 8).unwrap().len(), 1);
        let mut loss = ByPosition::default();
        loss.add(&[1.0, 2.0], n);
        assert_eq!((loss.n(), loss.mean()), (2, Some(1.5)));
        assert!(Retention { lengths: vec![n], ..Retention::default() }.check().is_err(), "{n}");
    }
    let ids = Tokens::new(vec![u32::MAX], 1, 1).unwrap();
    assert!(matches!(ids.upload(usize::MAX, &cpu()), Err(MemoryError::Token { token: u32::MAX, .. })));
}

#[test]
fn answers_that_are_no_numbers_are_none() {
    let question = Question { row: 0, position: 3, answer: 1, written: 1, updated: false };
    let of = |logits: &[f32], n: usize| {
        let width = logits.len() / n.max(1);
        let logits = Tensor::<2>::from_data(TensorData::new(logits.to_vec(), [n, width]), &cpu());
        Recall::of(logits, &vec![question.clone(); n])
    };
    assert_eq!(of(&[0.0, 1.0, f32::NEG_INFINITY], 1).unwrap().total(), Count { right: 1, asked: 1 });
    for wrong in [[f32::NAN, 1.0, 0.0], [0.0, 1.0, f32::NAN], [0.0, f32::INFINITY, 0.0]] {
        assert!(matches!(of(&wrong, 1), Err(MemoryError::NotFinite { .. })), "{wrong:?}");
    }
    let nothing = Tensor::<2>::zeros([0, 3], &cpu());
    assert_eq!(Recall::of(nothing, &[]).unwrap(), Recall::default());
    assert!(Recall::of(Tensor::zeros([1, 0], &cpu()), &[question]).is_err());
}
