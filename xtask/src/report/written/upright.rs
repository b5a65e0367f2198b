//! A table that is wide and low, set upright: what is wide has to be scrolled.

use super::table::{Table, Text, Tone};

/// So many columns fit on a page.
const WIDE: usize = 6;

impl Table {
    /// As it is, or with rows and columns exchanged where that makes it narrower than it is.
    pub fn upright(self) -> Self {
        if self.head.len() <= WIDE || self.head.len() <= self.rows.len() + 1 {
            return self;
        }
        let first = |row: &Vec<Text>| row.first().map_or(String::new(), |cell| cell.text.clone());
        let head = std::iter::once("What".to_owned()).chain(self.rows.iter().map(first)).collect();
        let row = |(at, name): (usize, &String)| {
            let name = Text { text: name.clone(), tone: Tone::Plain };
            std::iter::once(name).chain(self.rows.iter().filter_map(|row| row.get(at).cloned())).collect()
        };
        let rows = self.head.iter().enumerate().skip(1).map(row).collect();
        let right = (0..=self.rows.len()).map(|i| i > 0).collect();
        Self { head, right, rows, notes: self.notes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: usize, rows: usize) -> Table {
        let text = |row: usize, column: usize| Text { text: format!("{row}/{column}"), tone: Tone::Good };
        Table {
            head: (0..columns).map(|i| format!("c{i}")).collect(),
            right: vec![false; columns],
            rows: (0..rows).map(|row| (0..columns).map(|column| text(row, column)).collect()).collect(),
            notes: vec!["n".into()],
        }
    }

    #[test]
    fn a_wide_and_low_table_is_set_upright() {
        let set = table(8, 2).upright();
        assert_eq!((set.head.join(" "), set.rows.len()), ("What 0/0 1/0".into(), 7));
        let row: Vec<&str> = set.rows[2].iter().map(|cell| cell.text.as_str()).collect();
        assert_eq!((row, set.rows[2][1].tone), (vec!["c3", "0/3", "1/3"], Tone::Good));
        assert_eq!((set.right, set.notes), (vec![false, true, true], vec!["n".to_owned()]));
        for (columns, rows) in [(6, 1), (8, 7), (8, 20)] {
            assert_eq!(table(columns, rows).upright(), table(columns, rows));
        }
    }
}
