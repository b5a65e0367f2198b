//! Weights in blocks of 4 and 8 bits, as GGUF files hold them.
//!
//! A block is 32 neighbouring weights of a row with a scale `d` of their own, in half precision, and for one type a
//! minimum `m`. All numbers are little-endian.
//!
//! | type | values | bytes | what they mean |
//! | --- | --- | --- | --- |
//! | F32, F16, BF16 | 1 | 4, 2, 2 | the number |
//! | Q8_0 | 32 | 34: `d`, 32 signed bytes `q` | `x = d q` |
//! | Q4_0 | 32 | 18: `d`, 16 bytes of two nibbles `q` | `x = d (q - 8)` |
//! | Q4_1 | 32 | 20: `d`, `m`, 16 bytes of two nibbles `q` | `x = d q + m` |
//!
//! The low nibbles are the weights 0 to 15, the high ones 16 to 31.

mod convert;
mod matrix;
mod product;

pub use matrix::Matrix;
pub(crate) use matrix::PART_ROWS;
pub(crate) use product::Inputs;

/// How numbers are kept in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "the names that the format has")]
pub enum BlockType {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// The upper half of single precision.
    BF16,
    /// 8 bits and a scale for 32.
    Q8_0,
    /// 4 bits and a scale for 32.
    Q4_0,
    /// 4 bits, a scale and a minimum for 32.
    Q4_1,
}

/// Why numbers cannot be put into blocks or taken out of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// A part of a block.
    #[error("{values} values are no whole number of {kind} blocks, which have {block} each")]
    Partial {
        /// Their type.
        kind: &'static str,
        /// The values.
        values: usize,
        /// Those of a block.
        block: usize,
    },
    /// More than can be counted.
    #[error("{rows} rows of {columns} {kind} values are more bytes than this machine can address")]
    TooMany {
        /// Their type.
        kind: &'static str,
        /// The rows.
        rows: usize,
        /// The values of a row.
        columns: usize,
    },
    /// Bytes that are not those of the values.
    #[error("{values} {kind} values take {expected} bytes, there are {found}")]
    Bytes {
        /// Their type.
        kind: &'static str,
        /// The values.
        values: usize,
        /// What they take.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// A number that the type does not have.
    #[error("value {index}, {value}, is outside what {kind} can hold: it must be finite and its scale below 65,520")]
    Range {
        /// The type.
        kind: &'static str,
        /// Which number.
        index: usize,
        /// The number as text.
        value: String,
    },
    /// A number or a scale that is not finite.
    #[error("block {block} of the {kind} weights is not finite: the file is damaged, or its model has diverged")]
    NotFinite {
        /// The type.
        kind: &'static str,
        /// Which block.
        block: usize,
    },
    /// A row that is not there.
    #[error("row {row} is outside the matrix, which has {rows}")]
    Row {
        /// The row.
        row: usize,
        /// How many there are.
        rows: usize,
    },
    /// A slice of another length.
    #[error("`{field}` has {found} numbers, expected {expected}")]
    Length {
        /// Name of the argument.
        field: &'static str,
        /// The numbers needed.
        expected: usize,
        /// The numbers given.
        found: usize,
    },
}

impl BlockType {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::F32, Self::F16, Self::BF16, Self::Q8_0, Self::Q4_0, Self::Q4_1];

    /// Its name in the format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
        }
    }

    /// Its number in a GGUF file.
    pub const fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q8_0 => 8,
            Self::BF16 => 30,
        }
    }

    /// The type of a number in a GGUF file; `None` for one that is not read here.
    pub fn of_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }

    /// The values of a block.
    pub const fn values(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 => 32,
        }
    }

    /// The bytes of a block.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
        }
    }

    /// The bytes of `values` values.
    ///
    /// # Errors
    /// [`BlockError::Partial`] for a part of a block, [`BlockError::TooMany`] for more than can be counted.
    pub fn bytes_of(self, values: usize) -> Result<usize, BlockError> {
        self.bytes_of_rows(1, values)
    }

    /// The bytes of `rows` rows of `columns` values each; a row is a whole number of blocks.
    ///
    /// # Errors
    /// As [`BlockType::bytes_of`].
    pub fn bytes_of_rows(self, rows: usize, columns: usize) -> Result<usize, BlockError> {
        let (kind, block) = (self.name(), self.values());
        if !columns.is_multiple_of(block) {
            return Err(BlockError::Partial { kind, values: columns, block });
        }
        let bytes = (columns / block).checked_mul(self.bytes()).and_then(|row| row.checked_mul(rows));
        // No slice is longer than that.
        bytes.filter(|bytes| *bytes <= isize::MAX as usize).ok_or(BlockError::TooMany { kind, rows, columns })
    }
}

impl std::fmt::Display for BlockType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
