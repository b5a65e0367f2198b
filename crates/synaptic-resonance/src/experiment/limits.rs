//! What a config asks for, held against what there is: a data set, and the limits of a pass.

use plasticity_core::config::Invalid;
use plasticity_core::data::Facts;

use super::config::{Config, Study};
use crate::error::MemoryError;
use crate::tokens::count;

impl Config {
    /// Holds the config against a data set.
    pub(super) fn fits(&self, data: &Facts) -> Result<(), Invalid> {
        let (name, text) = (&data.name, &self.text);
        if self.study != Study::Characters {
            let what = format!("makes its own sequences and reads no data: leave `data` with {name} out");
            return Err(Invalid::new("study", what));
        }
        if data.shape.is_some() {
            let what =
                format!("`characters` reads a text, and {name} holds images: name a text such as tinyshakespeare");
            return Err(Invalid::new("study", what));
        }
        let (segment, train, test) = (text.segment, data.train, data.test);
        if segment >= train.min(test) {
            let what = format!("is {segment}: {name} has {train} characters for training and {test} for validation");
            return Err(Invalid::new("text.segment", what));
        }
        let segments = (test - 1) / segment;
        let each = segments / text.readers;
        if each == 0 {
            let what =
                format!("is {}: the validation text of {name} has {segments} segments of {segment}", text.readers);
            return Err(Invalid::new("text.readers", what));
        }
        if text.part > each {
            let what = format!(
                "is {}: each of {} readers has {each} segments of {segment} characters of {name}",
                text.part, text.readers
            );
            return Err(Invalid::new("text.part", what));
        }
        Ok(())
    }

    /// Sizes whose products are tokens of one pass.
    pub(super) fn check_passes(&self) -> Result<(), Invalid> {
        let (training, text) = (&self.training, &self.text);
        let passes = match self.study {
            Study::Characters => {
                vec![("training.batch", training.batch, text.segment), ("text.readers", text.readers, text.segment)]
            }
            _ => vec![("training.batch", training.batch, self.task.time)],
        };
        let lengths = self.lengths().into_iter().map(|length| ("evaluation.lengths", 1, length));
        for (field, rows, time) in passes.into_iter().chain(lengths) {
            if count(rows, time).is_err() {
                return Err(Invalid::new(field, format!("makes {rows} x {time} tokens at once: at most 2^31 - 1")));
            }
        }
        // A run counts its steps and the parts of its tests.
        let most = 1 << 40;
        for (field, value) in [("training.steps", training.steps), ("evaluation.sequences", self.evaluation.sequences)]
        {
            if value > most {
                return Err(Invalid::new(field, format!("is {value}: at most {most}")));
            }
        }
        Ok(())
    }
}

/// A fault of the library as one of a key in a suite: `table` is where the library's settings are written, and `all` the
/// key that a fault of any of them is a fault of, where that is one key.
pub(super) fn invalid(error: MemoryError, table: &str, all: Option<&'static str>) -> Invalid {
    let MemoryError::Setting { field, found, expected } = error else {
        return Invalid::new(all.unwrap_or("study"), error.to_string());
    };
    if let Some(key) = all {
        return Invalid::new(key, format!("`{field}` is {found}: {expected}"));
    }
    let key = match field {
        "vocabulary" => "task.vocabulary".into(),
        field => format!("{table}.{}", field.trim_start_matches("memory.")),
    };
    Invalid::new(key, format!("is {found}: {expected}"))
}

#[cfg(test)]
mod tests {
    use plasticity_core::config::Source;

    use super::*;

    fn read(text: &str) -> plasticity_core::config::Checked<Config> {
        let source = Source { file: "suite.toml".into(), text: text.into() };
        source.checked(source.table().unwrap()).unwrap()
    }

    /// What a text cannot give is refused before anything runs, by the key that asks for it.
    #[test]
    fn a_text_that_is_too_short_or_no_text_is_refused() {
        let text = |train, test| Facts { name: "tiny".into(), shape: None, classes: None, train, test };
        let fits = |config: &str, data: &Facts| {
            let config = read(&format!("study = \"characters\"\n{config}"));
            config.fits(data).map_err(|e| (e.field.into_owned(), e.message))
        };
        // 10 readers of 3 segments of 8: the last character of the text is only predicted.
        let asked = "text = { segment = 8, readers = 10, part = 3 }";
        assert_eq!(fits(asked, &text(9, 241)), Ok(()));
        for (field, words, data) in [
            ("text.segment", "8 characters for training", text(8, 241)),
            ("text.segment", "8 for validation", text(9, 8)),
            ("text.readers", "has 9 segments of 8", text(9, 80)),
            ("text.part", "has 2 segments", text(9, 240)),
        ] {
            let (found, message) = fits(asked, &data).unwrap_err();
            assert_eq!(found, field, "{message}");
            assert!(message.contains(words) && message.contains("tiny"), "{message}");
        }
        let images = Facts { shape: Some([1, 28, 28]), classes: Some(10), ..text(60_000, 10_000) };
        let (field, message) = fits("", &images).unwrap_err();
        assert!(field == "study" && message.contains("holds images"), "{message}");
        // A recall task would name data that it does not read.
        let recall = read("").fits(&text(9, 241)).unwrap_err();
        assert!(recall.field == "study" && recall.message.contains("leave `data`"), "{recall:?}");
        assert!(read("study = \"characters\"").fits(&text(1_003_854, 111_540)).is_ok());
    }
}
