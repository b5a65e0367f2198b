//! Python wheels: zip archives, of which a member is read. A directory at the end names the members, a head stands before
//! each. Checksums of the archive are left alone: who reads knows a better one.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::read::DeflateDecoder;

use crate::error::DataError;

/// The record at the end, and the longest comment after it.
const END: usize = 22;
const MOST_COMMENT: u64 = u16::MAX as u64;
/// No directory is longer: a wheel has some hundred members.
const MOST_DIRECTORY: u64 = 1 << 24;

/// Why a wheel cannot be read.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    Not(String),
}

impl Fault {
    fn not(what: impl Into<String>) -> Self {
        Self::Not(what.into())
    }

    /// The error for this file.
    pub(super) fn at(self, file: &Path, refused: impl Fn(String) -> DataError) -> DataError {
        match self {
            Self::Io(error) => DataError::io(file, error),
            Self::Not(what) => refused(what),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An open archive whose directory has been read.
pub(super) struct Archive {
    file: File,
    /// Where the directory begins: members lie before it.
    end: u64,
    directory: Vec<u8>,
}

/// The little-endian number of `N` bytes at a place, where there are as many.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(N)?)?;
    Some(part.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let tail = length.min(END as u64 + MOST_COMMENT);
        let tail = read(&mut file, length - tail, tail)?;
        // The last place where the record's mark stands and its comment ends with the file.
        let whole = |at: &usize| {
            tail[*at..].starts_with(b"PK\x05\x06")
                && number::<2>(&tail, at + 20).is_some_and(|comment| at + END + comment as usize == tail.len())
        };
        let damaged = || Fault::not("not a zip archive, or one that is cut off");
        let at = (0..=tail.len().checked_sub(END).ok_or_else(damaged)?).rev().find(whole).ok_or_else(damaged)?;
        let field = |skip: usize| number::<4>(&tail, at + skip).ok_or_else(damaged);
        let (size, start) = (field(12)?, field(16)?);
        if start == u64::from(u32::MAX) || size > MOST_DIRECTORY {
            return Err(Fault::not("an archive of a kind that wheels of some hundred MB are not"));
        }
        if start + size > length {
            return Err(damaged());
        }
        let directory = read(&mut file, start, size)?;
        Ok(Self { file, end: start, directory })
    }

    /// The content of a member.
    pub(super) fn member(&mut self, name: &str) -> Result<Box<dyn Read + '_>, Fault> {
        let damaged = || Fault::not("its directory is damaged");
        let mut rest = self.directory.as_slice();
        let entry = loop {
            if rest.is_empty() {
                return Err(Fault::not(format!("there is no `{name}` in it")));
            }
            let part = |at: usize| number::<2>(rest, at).map(|n| n as usize).ok_or_else(damaged);
            let (length, extra, comment) = (part(28)?, part(30)?, part(32)?);
            if !rest.starts_with(b"PK\x01\x02") || rest.len() < 46 + length + extra + comment {
                return Err(damaged());
            }
            if rest[46..46 + length] == *name.as_bytes() {
                break rest;
            }
            rest = &rest[46 + length + extra + comment..];
        };
        let field = |at: usize| number::<4>(entry, at).ok_or_else(damaged);
        let (packed, start) = (field(20)?, field(42)?);
        let [flags, method] = [8, 10].map(|at| number::<2>(entry, at).unwrap_or(u64::MAX));
        if start + 30 > self.end {
            return Err(damaged());
        }
        let head = read(&mut self.file, start, 30)?;
        let (Some(length), Some(extra)) = (number::<2>(&head, 26), number::<2>(&head, 28)) else {
            return Err(damaged());
        };
        let content = start + 30 + length + extra;
        if !head.starts_with(b"PK\x03\x04") || content + packed > self.end {
            return Err(damaged());
        }
        self.file.seek(SeekFrom::Start(content))?;
        let packed = BufReader::new((&mut self.file).take(packed));
        match (flags & 1, method) {
            (0, 0) => Ok(Box::new(packed)),
            (0, 8) => Ok(Box::new(DeflateDecoder::new(packed))),
            _ => Err(Fault::not(format!("`{name}` is encrypted, or packed by method {method}"))),
        }
    }
}

/// `n` bytes, of which the file has been seen to have as many.
fn read(file: &mut File, from: u64, n: u64) -> Result<Vec<u8>, Fault> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    match file.take(n).read_to_end(&mut bytes)? as u64 == n {
        true => Ok(bytes),
        false => Err(Fault::not("it became shorter while it was read")),
    }
}
