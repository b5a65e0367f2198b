//! The head of a GGUF file, read a field at a time. No count in it is believed: what is not in the file ends the reading
//! before it is allocated.

use std::collections::BTreeMap;
use std::io::Read;

use super::Value;
use super::kinds;
use crate::blocks::BlockType;
use crate::load::weights::Place;

/// No array has more elements: the vocabularies of today have a quarter of a million.
const MOST_ELEMENTS: u64 = 1 << 24;
/// No text is longer: chat templates of today have some ten thousand bytes.
const MOST_TEXT: u64 = 1 << 24;
/// What tensors are aligned to, unless the file says otherwise.
const ALIGNMENT: u64 = 32;

/// What is wrong with a file, and where; or what of it is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed(String, u64),
    Unsupported(String, &'static str),
    /// It could not be read.
    Io(std::io::ErrorKind, String),
}

/// The head.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Head {
    pub(super) version: u32,
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, Place>,
}

/// A reader that knows where it is and how much there is.
struct Cursor<R> {
    from: R,
    at: u64,
    length: u64,
}

impl<R: Read> Cursor<R> {
    fn fault<T>(&self, what: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::Malformed(what.into(), self.at))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, to: &mut [u8]) -> Result<(), Fault> {
        if to.len() as u64 > self.length - self.at {
            return self.fault(format!("{} bytes are missing", to.len() as u64 - (self.length - self.at)));
        }
        self.from.read_exact(to).map_err(|e| Fault::Io(e.kind(), e.to_string()))?;
        self.at += to.len() as u64;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn text(&mut self) -> Result<String, Fault> {
        let n = self.u64()?;
        if n > MOST_TEXT.min(self.length - self.at) {
            return self.fault(format!("a text of {n} bytes"));
        }
        let mut bytes = vec![0; n as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).or_else(|_| self.fault("a text that is not UTF-8"))
    }

    /// A number or a truth value of one of the format's types.
    fn single(&mut self, kind: u32) -> Result<Value, Fault> {
        Ok(match kind {
            0 => Value::Unsigned(u8::from_le_bytes(self.bytes()?).into()),
            1 => Value::Signed(i8::from_le_bytes(self.bytes()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.bytes()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.bytes()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.bytes()?).into()),
            6 => Value::Float(decimal(f32::from_le_bytes(self.bytes()?))),
            7 => match self.bytes::<1>()? {
                [flag @ 0..=1] => Value::Bool(flag == 1),
                [flag] => return self.fault(format!("{flag} where 0 or 1 must stand")),
            },
            8 => Value::Text(self.text()?),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            other => return self.fault(format!("a value of type {other}, which the format does not have")),
        })
    }

    fn value(&mut self) -> Result<Value, Fault> {
        match self.u32()? {
            9 => self.array(),
            kind => self.single(kind),
        }
    }

    fn array(&mut self) -> Result<Value, Fault> {
        let (kind, count) = (self.u32()?, self.u64()?);
        if kind == 9 {
            let mend = "nothing that is read here has them: convert the model anew";
            return Err(Fault::Unsupported("an array of arrays".into(), mend));
        }
        // Each element has at least a byte, a text its length.
        let least = if kind == 8 { 8 } else { 1 };
        if count > MOST_ELEMENTS.min((self.length - self.at) / least) {
            return self.fault(format!("an array of {count} elements"));
        }
        if kind == 8 {
            // Grows as texts are read.
            let texts: Result<Vec<String>, Fault> = (0..count).map(|_| self.text()).collect();
            return Ok(Value::Texts(texts?));
        }
        let mut numbers = Vec::new();
        for _ in 0..count {
            match self.single(kind)? {
                Value::Unsigned(x) => numbers.push(x as f64),
                Value::Signed(x) => numbers.push(x as f64),
                Value::Float(x) => numbers.push(x),
                Value::Bool(x) => numbers.push(f64::from(u8::from(x))),
                _ => return self.fault("an array of no numbers"),
            }
        }
        Ok(Value::Numbers(numbers))
    }

    /// Name, type, shape (rows first) and offset in the data.
    fn tensor(&mut self) -> Result<(String, Place), Fault> {
        let name = self.text()?;
        let dims = self.u32()?;
        if !(1..=4).contains(&dims) {
            return self.fault(format!("the tensor `{name}` has {dims} dimensions"));
        }
        let mut shape = Vec::new();
        for _ in 0..dims {
            let n = self.u64()?;
            match usize::try_from(n) {
                Ok(n) if n > 0 => shape.push(n),
                _ => return self.fault(format!("the tensor `{name}` has a size of {n}")),
            }
        }
        shape.reverse();
        let id = self.u32()?;
        let Some(kind) = BlockType::of_id(id) else {
            let mend = "F32, F16, BF16, Q8_0, Q4_0 and Q4_1 can be read: take a file in one of these";
            return Err(Fault::Unsupported(format!("the tensor `{name}` is of type {}", kinds::name(id)), mend));
        };
        let offset = self.u64()?;
        match Place::size(kind, &shape) {
            Ok(bytes) => Ok((name, Place { kind, shape, offset, bytes })),
            Err(what) => self.fault(format!("the tensor `{name}`: {what}")),
        }
    }
}

/// The number that somebody has written into the file in single precision: 1e-5, not 9.999999747e-6.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// Reads the head of a file of this length.
pub(super) fn head(from: impl Read, length: u64) -> Result<Head, Fault> {
    let mut from = Cursor { from, at: 0, length };
    match from.bytes()? {
        [b'G', b'G', b'U', b'F'] => {}
        _ => return Err(Fault::Malformed("this is not a GGUF file: it does not begin with `GGUF`".into(), 0)),
    }
    let version = from.u32()?;
    if !(2..=3).contains(&version) {
        let mend = "versions 2 and 3, little-endian, can be read: convert the model anew";
        return Err(Fault::Unsupported(format!("GGUF of version {version}"), mend));
    }
    let (tensors, entries) = (from.u64()?, from.u64()?);
    let mut metadata = BTreeMap::new();
    for _ in 0..entries {
        let key = from.text()?;
        let value = from.value()?;
        if metadata.contains_key(&key) {
            return from.fault(format!("a second `{key}`"));
        }
        metadata.insert(key, value);
    }
    let mut places = BTreeMap::new();
    for _ in 0..tensors {
        let (name, place) = from.tensor()?;
        if places.contains_key(&name) {
            return from.fault(format!("a second tensor `{name}`"));
        }
        places.insert(name, place);
    }
    let alignment = match metadata.get("general.alignment") {
        None => ALIGNMENT,
        Some(Value::Unsigned(n)) if n.is_power_of_two() && *n <= 1 << 20 => *n,
        Some(other) => return from.fault(format!("`general.alignment` is {other}")),
    };
    // At most 2^20 beyond what has been read.
    let data = from.at.next_multiple_of(alignment);
    for (name, place) in &mut places {
        let offset = place.offset;
        let start = offset.checked_add(data).filter(|_| offset.is_multiple_of(alignment));
        let fits = start.filter(|start| start.checked_add(place.bytes as u64).is_some_and(|end| end <= length));
        let Some(start) = fits else {
            let what = format!("the tensor `{name}` of {} bytes at {offset} does not lie in the file", place.bytes);
            return Err(Fault::Malformed(what, from.at));
        };
        place.offset = start;
    }
    Ok(Head { version, metadata, tensors: places })
}
