//! The IDX format of MNIST: two zero bytes, a type, the number of dimensions, one
//! big-endian `u32` per dimension, then the values in row-major order.
//!
//! A file is not trusted: its header is checked against a limit before anything is
//! allocated for it.

use std::io::{self, Cursor, Read, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::DataError;

const UNSIGNED_BYTE: u8 = 0x08;
const FLOAT: u8 = 0x0D;
/// Most dimensions that a file may have.
const MAX_DIMS: usize = 4;

/// An array from an IDX file.
#[derive(Debug, Clone, PartialEq)]
pub struct Idx {
    /// The dimensions that the header gives.
    pub dims: Vec<usize>,
    /// The values, row by row.
    pub values: Values,
}

/// The values of an IDX file.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Type 0x08.
    U8(Vec<u8>),
    /// Type 0x0D.
    F32(Vec<f32>),
}

/// Length of the header of an array of `dims` dimensions.
pub fn header_bytes(dims: usize) -> u64 {
    4 + 4 * dims as u64
}

/// Reads an IDX file, gzip or not. A gzip file may have several members, as `cat a.gz b.gz`
/// makes them; they are one content, and nothing else may follow.
///
/// `max_bytes` bounds the decompressed file: a header that promises more is an error,
/// and no more than that is allocated. With `first`, only that many items of the first
/// dimension are read, and what follows them is not looked at; without it the file must
/// end where the header says. `file` is for error messages, whose offsets count
/// decompressed bytes.
///
/// # Errors
/// When it cannot be read or is not such a file; the error names the byte.
pub fn read(mut source: impl Read, file: &Path, max_bytes: u64, first: Option<usize>) -> Result<Idx, DataError> {
    let mut start = Vec::new();
    source.by_ref().take(2).read_to_end(&mut start).map_err(|e| DataError::io(file, e))?;
    let gzip = start == [0x1f, 0x8b];
    let whole = Cursor::new(start).chain(source);
    if gzip {
        Reader { inner: MultiGzDecoder::new(whole), file, offset: 0 }.idx(max_bytes, first)
    } else {
        Reader { inner: whole, file, offset: 0 }.idx(max_bytes, first)
    }
}

/// Writes an array as an IDX file, not compressed.
///
/// # Errors
/// `InvalidInput` where the dimensions do not fit the values or the format, and what `out`
/// reports.
pub fn write(idx: &Idx, out: &mut impl Write) -> io::Result<()> {
    let (kind, len) = match &idx.values {
        Values::U8(values) => (UNSIGNED_BYTE, values.len()),
        Values::F32(values) => (FLOAT, values.len()),
    };
    let product = idx.dims.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
    if product != Some(len) || !(1..=MAX_DIMS).contains(&idx.dims.len()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    out.write_all(&[0, 0, kind, idx.dims.len() as u8])?;
    for dim in &idx.dims {
        out.write_all(&u32::try_from(*dim).map_err(|_| io::ErrorKind::InvalidInput)?.to_be_bytes())?;
    }
    match &idx.values {
        Values::U8(values) => out.write_all(values),
        Values::F32(values) => values.iter().try_for_each(|value| out.write_all(&value.to_be_bytes())),
    }
}

/// A source that knows how far it has been read.
struct Reader<'a, R> {
    inner: R,
    file: &'a Path,
    offset: u64,
}

impl<R: Read> Reader<'_, R> {
    fn idx(mut self, max_bytes: u64, first: Option<usize>) -> Result<Idx, DataError> {
        let mut head = [0; 4];
        self.fill(&mut head)?;
        let [zero, also_zero, kind, count] = head;
        if (zero, also_zero) != (0, 0) {
            return Err(self.malformed(0, "not an IDX file: it does not begin with two zero bytes"));
        }
        let width = match kind {
            UNSIGNED_BYTE => 1,
            FLOAT => 4,
            _ => return Err(self.malformed(2, format!("type 0x{kind:02x} where 0x08 or 0x0d should be"))),
        };
        let count = usize::from(count);
        if !(1..=MAX_DIMS).contains(&count) {
            return Err(self.malformed(3, format!("{count} dimensions where 1 to {MAX_DIMS} should be")));
        }
        let mut dims = Vec::with_capacity(count);
        // A zero dimension hides nothing: the product counts it as one.
        let mut bytes = width;
        for _ in 0..count {
            let at = self.offset;
            let mut dim = [0; 4];
            self.fill(&mut dim)?;
            let dim = u32::from_be_bytes(dim);
            bytes = u64::from(dim.max(1)).saturating_mul(bytes);
            if bytes.saturating_add(header_bytes(count)) > max_bytes {
                let what = format!("the header promises more than the {max_bytes} bytes that the file may have");
                return Err(self.malformed(at, what));
            }
            dims.push(dim as usize);
        }
        let item: usize = dims[1..].iter().product();
        let items = first.map_or(dims[0], |first| first.min(dims[0]));
        let values = match kind {
            UNSIGNED_BYTE => {
                let mut values = vec![0; items * item];
                self.fill(&mut values)?;
                Values::U8(values)
            }
            _ => {
                let mut values = Vec::with_capacity(items * item);
                for _ in 0..items * item {
                    let mut value = [0; 4];
                    let at = self.offset;
                    self.fill(&mut value)?;
                    let value = f32::from_be_bytes(value);
                    if !value.is_finite() {
                        return Err(self.malformed(at, format!("{value} is not a finite number")));
                    }
                    values.push(value);
                }
                Values::F32(values)
            }
        };
        if items == dims[0] && self.more()? {
            return Err(self.malformed(self.offset, "bytes after the end that the header gives"));
        }
        Ok(Idx { dims, values })
    }

    /// Reads exactly `buffer.len()` bytes.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DataError> {
        let mut done = 0;
        while done < buffer.len() {
            match self.inner.read(&mut buffer[done..]) {
                Ok(0) => {
                    let what = format!("the file ends, {} bytes too early", buffer.len() - done);
                    return Err(self.malformed(self.offset, what));
                }
                Ok(n) => {
                    done += n;
                    self.offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.broken(e)),
            }
        }
        Ok(())
    }

    /// There is at least one more byte. At a gzip file's end this checks its CRC.
    fn more(&mut self) -> Result<bool, DataError> {
        let mut byte = Vec::new();
        self.inner.by_ref().take(1).read_to_end(&mut byte).map_err(|e| self.broken(e))?;
        Ok(!byte.is_empty())
    }

    /// A fault of the gzip stream is one of the content, any other one of the machine.
    fn broken(&self, e: io::Error) -> DataError {
        match e.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                self.malformed(self.offset, format!("broken gzip stream ({e})"))
            }
            _ => DataError::io(self.file, e),
        }
    }

    fn malformed(&self, offset: u64, what: impl Into<String>) -> DataError {
        DataError::Malformed { file: self.file.to_path_buf(), what: what.into(), offset }
    }
}
