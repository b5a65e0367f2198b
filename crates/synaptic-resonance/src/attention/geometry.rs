//! What the queries of a pass may see, as windows, documents and the ring have it.

use crate::rope::angles_at;

/// A pass as attention sees it. Its columns are those of sinks that have left the ring, those of the ring, and the tokens.
#[derive(Debug, Clone)]
pub struct Geometry<'a> {
    /// w; none for full attention.
    pub window: Option<usize>,
    /// T.
    pub time: usize,
    /// Columns of the ring, 0 without.
    pub ring: usize,
    /// How many of them hold a token, per row: the last ones.
    pub filled: &'a [usize],
    /// Valid tokens of each row.
    pub lengths: &'a [usize],
    /// First tokens of documents, `[batch, time]` row-major; none: no document begins.
    pub starts: Option<&'a [bool]>,
    /// First tokens of a document that stay visible; none: the window alone is.
    pub sinks: Option<Sinks<'a>>,
}

/// First tokens of documents that later queries see although their window has passed them (arXiv 2309.17453). They keep
/// their positions: a query is as far from them as it is in the text.
#[derive(Debug, Clone, Copy)]
pub struct Sinks<'a> {
    /// How many of a document, at least 1.
    pub most: usize,
    /// Columns of those that have left the ring, 0 without.
    pub columns: usize,
    /// How many of these hold a token, per row: the last ones. A row that has some has a full ring.
    pub filled: &'a [usize],
    /// Tokens of its document that each row has seen.
    pub position: &'a [u64],
}

/// What a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its first column; it sees all from there to its own.
    pub(super) first: usize,
    /// The columns before that which it sees as well, from and to.
    pub(super) sinks: (usize, usize),
}

impl Geometry<'_> {
    /// Columns before the tokens.
    pub(super) fn before(&self) -> usize {
        self.ring + self.sinks.map_or(0, |sinks| sinks.columns)
    }

    /// Rows of the batch that may differ in what they see: the first one stands for all, or none does.
    pub(super) fn kinds(&self) -> usize {
        let alike = self.starts.is_none() && self.filled.iter().all(|n| *n == self.filled[0]);
        let sinks = self.sinks.filter(|sinks| sinks.columns > 0);
        let alike = alike
            && sinks.is_none_or(|Sinks { filled, position, .. }| {
                filled.iter().all(|n| *n == filled[0]) && position.iter().all(|n| *n == position[0])
            });
        if alike { 1 } else { self.filled.len() }
    }

    /// The first column of the document that a row is in before the pass.
    pub(super) fn document(&self, row: usize) -> usize {
        self.before() - self.filled[row] - self.sinks.map_or(0, |sinks| sinks.filled[row])
    }

    /// What each of a row's `queries` queries sees. Queries after the last token are padding.
    pub(super) fn seen(&self, row: usize, queries: usize) -> impl Iterator<Item = Seen> {
        let Self { window, time, starts, .. } = *self;
        let (before, most) = (self.before(), self.sinks.map_or(0, |sinks| sinks.most));
        let mut document = self.document(row);
        (0..queries).map(move |query| {
            let own = before + query;
            if starts.is_some_and(|s| query < time && s[row * time + query]) {
                document = own;
            }
            let first = window.map_or(document, |w| document.max((own + 1).saturating_sub(w)));
            // Columns of a document follow each other, from its first token on: what is missing lies behind the sinks.
            Seen { first, sinks: (document, first.min(document + most)) }
        })
    }

    /// Sine and cosine of the sinks that have left the ring, `[kinds, columns, width / 2]`: their angles count from the
    /// ring's first column, as those of all others do.
    pub(super) fn kept_angles(&self, width: usize, base: f64) -> Vec<(f64, f64)> {
        let Some(Sinks { columns, filled, position, .. }) = self.sinks else { return Vec::new() };
        let mut all = Vec::with_capacity(self.kinds() * columns * width / 2);
        for row in 0..self.kinds() {
            for column in 0..columns {
                // Position in the document, less that of the ring's first column.
                let at = (column + filled[row]).saturating_sub(columns) as f64;
                all.extend(angles_at(at - (position[row] as f64 - self.ring as f64), width, base));
            }
        }
        all
    }
}
