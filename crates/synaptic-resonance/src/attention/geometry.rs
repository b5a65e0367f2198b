//! What the queries of a pass may see, as windows, documents and the ring have it.

/// A pass as attention sees it.
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
}

impl Geometry<'_> {
    /// Rows of the batch that may differ in what they see: the first one stands for all, or none does.
    pub(super) fn kinds(&self) -> usize {
        let alike = self.starts.is_none() && self.filled.iter().all(|n| *n == self.filled[0]);
        if alike { 1 } else { self.filled.len() }
    }

    /// The first column (of ring and tokens) that each of a row's `queries` queries sees. It sees all from there to its
    /// own. Queries after the last token are padding.
    pub(super) fn first_columns(&self, row: usize, queries: usize) -> impl Iterator<Item = usize> {
        let Self { window, time, ring, filled, starts, .. } = *self;
        let mut document = ring - filled[row];
        (0..queries).map(move |query| {
            let own = ring + query;
            if starts.is_some_and(|s| query < time && s[row * time + query]) {
                document = own;
            }
            window.map_or(document, |w| document.max((own + 1).saturating_sub(w)))
        })
    }
}
