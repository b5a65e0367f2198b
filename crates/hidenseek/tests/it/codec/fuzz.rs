//! Messages changed at random: an error or a valid message, never a panic (O22).

use hidenseek::codec::exchange::{decode_bitmap, encode_bitmap};
use hidenseek::codec::payload::bitmap_hash;
use hidenseek::codec::{Coding, Downlink, Form, HEADER, Kind, Known, Stamp, Upload, WireError};
use plasticity_core::rng::Stream;
use proptest::prelude::*;

/// How a message is read.
#[derive(Debug, Clone, Copy)]
pub enum Reader {
    Up(Kind),
    Down(Form),
    Bitmap,
}

/// A message of each kind about the same survivors, with what a receiver knows.
pub struct Scene {
    pub known: Known,
    pub stamp: Stamp,
    pub messages: Vec<(Reader, Vec<u8>)>,
}

impl Scene {
    pub fn new(seed: u64, layers: &[usize]) -> Self {
        let n: usize = layers.iter().sum();
        let mut stream = Stream::new(seed, "scene", n as u64);
        let state = stream.uniform_vec(n, -0.1, 0.1);
        let known = Known::new(layers, &state, 0.1).unwrap();
        let near: Vec<bool> = known.signs.iter().map(|sign| sign ^ stream.bernoulli(0.05)).collect();
        let rare: Vec<bool> = (0..n).map(|_| stream.bernoulli(0.1)).collect();
        let scales: Vec<f32> = layers.iter().map(|_| stream.uniform() as f32).collect();
        let symbols = (0..n).map(|_| stream.below(3) as i8 - 1).collect();
        let few = (0..n).map(|_| i8::from(stream.bernoulli(0.02))).collect();
        let voters = 1 + stream.below(12) as u32;
        let counts = (0..n).map(|_| stream.below(u64::from(voters) + 1) as u32).collect();
        let bitmap = hidenseek::codec::bits::pack(&near);
        let stamp = Stamp { round: 7, client: 3, mask_hash: bitmap_hash(&bitmap) };
        let uploads = [
            (Upload::Signs(near.clone()), Coding::Raw),
            (Upload::Signs(rare), Coding::Coded),
            (Upload::Signs(near.clone()), Coding::Xor),
            (Upload::Scores(state.clone()), Coding::Raw),
            (Upload::SignDelta { scales: scales.clone(), signs: near.clone() }, Coding::Raw),
            (Upload::TernaryDelta { scales: scales.clone(), symbols }, Coding::Raw),
            (Upload::TernaryDelta { scales, symbols: few }, Coding::Raw),
        ];
        let downs = [Downlink::Scores(state), Downlink::Signs(near), Downlink::Votes { counts, voters }];
        let mut messages = vec![(Reader::Bitmap, encode_bitmap(&bitmap, n, stamp))];
        for (upload, coding) in &uploads {
            let bytes = upload.encode(stamp, *coding, &known);
            assert_eq!(Upload::decode(&bytes, upload.kind(*coding), stamp, &known).as_ref(), Ok(upload));
            messages.push((Reader::Up(upload.kind(*coding)), bytes));
        }
        for down in &downs {
            let bytes = down.encode(stamp);
            assert_eq!(Downlink::decode(&bytes, down.form(), n, stamp).as_ref(), Ok(down));
            messages.push((Reader::Down(down.form()), bytes));
        }
        Self { known, stamp, messages }
    }

    /// Reads a message, and writes what was read again.
    pub fn read(&self, reader: Reader, bytes: &[u8]) -> Result<Vec<u8>, WireError> {
        let n = self.known.n();
        Ok(match reader {
            Reader::Up(kind) => {
                let coding = match kind {
                    Kind::CodedSigns => Coding::Coded,
                    Kind::CodedXor => Coding::Xor,
                    _ => Coding::Raw,
                };
                let upload = Upload::decode(bytes, kind, self.stamp, &self.known)?;
                assert_eq!(upload.n(), n);
                upload.encode(self.stamp, coding, &self.known)
            }
            Reader::Down(form) => Downlink::decode(bytes, form, n, self.stamp)?.encode(self.stamp),
            Reader::Bitmap => {
                let keep = decode_bitmap(bytes, n, self.stamp)?;
                encode_bitmap(&hidenseek::codec::bits::pack(&keep), n, self.stamp)
            }
        })
    }
}

/// Gives a changed message a valid checksum, so that what lies behind it is reached.
pub fn seal(bytes: &mut [u8]) {
    if bytes.len() >= HEADER {
        bytes[32..36].fill(0);
        let crc = crc32fast::hash(bytes);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Changes a message by one to four random edits.
fn mutate(bytes: &mut Vec<u8>, stream: &mut Stream) {
    for _ in 0..=stream.below(4) {
        let at = stream.below(bytes.len().max(1) as u64) as usize;
        match stream.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.extend((0..stream.below(9)).map(|_| stream.bits() as u8)),
            2 if at < bytes.len() => bytes[at] = stream.bits() as u8,
            3 if bytes.len() > 36 => {
                // The declared length, right or wrong.
                let length = if stream.bernoulli(0.5) { stream.bits() as u32 } else { bytes.len() as u32 - 36 };
                bytes[28..32].copy_from_slice(&length.to_le_bytes());
            }
            4 if bytes.len() > 37 => bytes[36] = stream.below(4) as u8,
            _ if at < bytes.len() => bytes[at] ^= 1 << stream.below(8),
            _ => {}
        }
    }
}

/// Attacks every message of a random scene.
fn attack(seed: u64) {
    let mut stream = Stream::new(seed, "attack", 0);
    let layers = [stream.below(70) as usize, stream.below(3) as usize, stream.below(40) as usize];
    let scene = Scene::new(seed, &layers);
    for (reader, bytes) in &scene.messages {
        let mut changed = bytes.clone();
        mutate(&mut changed, &mut stream);
        if changed != *bytes {
            assert!(scene.read(*reader, &changed).is_err(), "{reader:?} read a changed message");
        }
        seal(&mut changed);
        let Ok(again) = scene.read(*reader, &changed) else { continue };
        // Only the entropy-coded kinds can be written in more than one way (raw, or in other contexts).
        let coded = [Kind::CodedSigns, Kind::CodedXor, Kind::TernaryDelta];
        if !matches!(reader, Reader::Up(kind) if coded.contains(kind)) {
            assert_eq!(again, changed, "{reader:?} accepts two messages for the same content");
        }
    }
}

proptest! {
    /// O22, a few hundred scenes of eleven messages.
    #[test]
    fn o22_changed_messages_are_refused_or_read(seed: u64) {
        attack(seed);
    }

    /// O22, bytes that never were a message.
    #[test]
    fn o22_noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let scene = Scene::new(0, &[9, 4]);
        for (reader, _) in &scene.messages {
            prop_assert!(scene.read(*reader, &bytes).is_err());
        }
    }
}

/// O22 for a minute: `cargo test --release -p hidenseek --test it -- --ignored fuzz`
#[test]
#[ignore = "runs for a minute"]
fn o22_fuzz_for_a_minute() {
    let begin = std::time::Instant::now();
    let mut seed = 0;
    while begin.elapsed().as_secs() < 60 {
        attack(seed);
        seed += 1;
    }
    println!("{seed} scenes, {} messages", 11 * seed);
}
