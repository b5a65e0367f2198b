//! TOML to a checked config.
//!
//! A config type derives `Deserialize` with `deny_unknown_fields` and `default`, and
//! implements [`Validate`]. [`Source::decode`] reads it and every mistake names the
//! file, the line, the key and, for an unknown key, the nearest known one. What goes
//! further in is a [`Checked`] config, which can only be made here.
//!
//! No number is infinite or nan, wherever it stands: neither JSON nor a key has a form for one,
//! so that what a suite or a config holds could not be written down.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::{DeserializeOwned, IntoDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::ConfigError;

/// A table that still knows the place of each key and value in its file.
pub type Table<'a> = Spanned<DeTable<'a>>;

/// A value outside its range, found by [`Validate::validate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The key, as the file spells it (`hidden`), after its tables (`training.steps`) and
    /// places in lists, from 0 (`samplers.2.id`).
    pub field: Cow<'static, str>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Invalid {
    /// A fault of `field`.
    pub fn new(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// What a config promises beyond its types. That its numbers are finite need not be said: it is
/// looked at before this is asked.
pub trait Validate: Serialize {
    /// # Errors
    /// Names the first field whose value cannot be used.
    fn validate(&self) -> Result<(), Invalid>;
}

/// The first of some counts that is 0 is a fault.
///
/// # Errors
/// Names it.
pub fn at_least_one(fields: &[(&'static str, usize)]) -> Result<(), Invalid> {
    match fields.iter().find(|(_, value)| *value == 0) {
        Some((field, _)) => Err(Invalid::new(*field, "must be at least 1")),
        None => Ok(()),
    }
}

/// The first of some numbers that is not finite and above 0 is a fault.
///
/// # Errors
/// Names it.
pub fn above_zero(fields: &[(&'static str, f64)]) -> Result<(), Invalid> {
    match fields.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
        Some((field, _)) => Err(Invalid::new(*field, "must be above 0")),
        None => Ok(()),
    }
}

/// A list of sizes has one at least, and none is 0. `noun` is what each of them is: `"width"`.
///
/// # Errors
/// Names the field.
pub fn sizes(field: &'static str, noun: &str, values: &[usize]) -> Result<(), Invalid> {
    if values.is_empty() || values.contains(&0) {
        return Err(Invalid::new(field, format!("must name at least one {noun}, each at least 1")));
    }
    Ok(())
}

fn not_finite(number: &str) -> String {
    format!("{number} is not a number that a record can hold: give a finite one")
}

/// Every float of a config is finite, also one that was made in code, or that a file gives in
/// digits and its type cannot hold (1e39 as an f32).
fn all_finite<C: Serialize>(config: &C) -> Result<(), Invalid> {
    fn look(path: &str, value: &toml::Value) -> Result<(), Invalid> {
        let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            toml::Value::Float(number) if !number.is_finite() => {
                Err(Invalid::new(path.to_owned(), not_finite(&number.to_string())))
            }
            toml::Value::Table(table) => table.iter().try_for_each(|(key, value)| look(&join(key), value)),
            toml::Value::Array(items) => {
                items.iter().enumerate().try_for_each(|(i, item)| look(&join(&i.to_string()), item))
            }
            _ => Ok(()),
        }
    }
    // What has no form in TOML is refused where it is written.
    toml::Value::try_from(config).map_or(Ok(()), |value| look("", &value))
}

/// A config that has been validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked<C>(C);

impl<C: Validate> Checked<C> {
    /// Checks a config that was made in code.
    ///
    /// # Errors
    /// When a number is not finite or [`Validate::validate`] finds a fault.
    pub fn new(config: C) -> Result<Self, ConfigError> {
        match all_finite(&config).and_then(|()| config.validate()) {
            Ok(()) => Ok(Self(config)),
            Err(fault) => Err(ConfigError::new(format!("`{}`: {}", fault.field, fault.message))),
        }
    }
}

impl<C> Deref for Checked<C> {
    type Target = C;
    fn deref(&self) -> &C {
        &self.0
    }
}

/// The text of a config file with its name.
#[derive(Debug, Clone)]
pub struct Source {
    /// As the user named it.
    pub file: PathBuf,
    /// Its content.
    pub text: String,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|e| ConfigError::new(e.to_string()).in_file(file))?;
        Ok(Self { file: file.to_path_buf(), text })
    }

    /// The whole document as a table.
    ///
    /// # Errors
    /// When it is not TOML, and for a number that is infinite or nan.
    pub fn table(&self) -> Result<Table<'_>, ConfigError> {
        let table = DeTable::parse(&self.text).map_err(|e| self.explain(&e))?;
        self.finite(table.get_ref())?;
        Ok(table)
    }

    fn finite(&self, table: &DeTable<'_>) -> Result<(), ConfigError> {
        table.iter().try_for_each(|(key, value)| self.finite_value(key.get_ref(), value))
    }

    fn finite_value(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<(), ConfigError> {
        match value.get_ref() {
            // Also what is written in digits and is beyond an f64 (`1e999`).
            DeValue::Float(number) if !number.as_str().parse::<f64>().is_ok_and(f64::is_finite) => {
                let message = format!("`{key}`: {}", not_finite(number.as_str()));
                Err(ConfigError::new(message).in_file(&self.file).at_line(self.line(value.span().start)))
            }
            DeValue::Table(inner) => self.finite(inner),
            DeValue::Array(items) => items.iter().try_for_each(|item| self.finite_value(key, item)),
            _ => Ok(()),
        }
    }

    /// Decodes a table of this source.
    ///
    /// # Errors
    /// For an unknown key, a wrong type, a missing key.
    pub fn decode<T: DeserializeOwned>(&self, table: Table<'_>) -> Result<T, ConfigError> {
        T::deserialize(table.into_deserializer()).map_err(|e| self.explain(&e))
    }

    /// Decodes and validates a table of this source.
    ///
    /// # Errors
    /// As [`Source::decode`], and for a value out of range.
    pub fn checked<C: DeserializeOwned + Validate>(&self, table: Table<'_>) -> Result<Checked<C>, ConfigError> {
        let places = self.places(&table);
        let config: C = self.decode(table)?;
        match all_finite(&config).and_then(|()| config.validate()) {
            Ok(()) => Ok(Checked(config)),
            Err(fault) => Err(places.explain(fault)),
        }
    }

    /// Where each key of a table stands in this source.
    pub fn places(&self, table: &Table<'_>) -> Places {
        let mut lines = BTreeMap::new();
        self.note_keys(table.get_ref(), "", &mut lines);
        Places { file: self.file.clone(), lines }
    }

    fn note_keys(&self, table: &DeTable<'_>, prefix: &str, lines: &mut BTreeMap<String, usize>) {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            lines.insert(path.clone(), self.line(key.span().start));
            self.note_value(value, &path, lines);
        }
    }

    fn note_value(&self, value: &Spanned<DeValue<'_>>, path: &str, lines: &mut BTreeMap<String, usize>) {
        match value.get_ref() {
            DeValue::Table(inner) => self.note_keys(inner, &format!("{path}."), lines),
            DeValue::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    let path = format!("{path}.{i}");
                    lines.insert(path.clone(), self.line(item.span().start));
                    self.note_value(item, &path, lines);
                }
            }
            _ => {}
        }
    }

    /// The line of a byte offset, from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }

    fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let (message, suggestion) = in_our_words(&in_one_line(error.message()));
        let mut out = ConfigError { suggestion, ..ConfigError::new(message) }.in_file(&self.file);
        if let Some(span) = error.span() {
            out = out.at_line(self.line(span.start));
            let before = self.text[..span.start.min(self.text.len())].rsplit('\n').next().unwrap_or("").trim();
            // `seeds = [0, "x"` and `right = { arm = 3`: the key of the line, and within a table of one line that of the value.
            let key = before.rsplit(['{', ',']).next().and_then(|part| part.trim().strip_suffix('='));
            let key = key.or_else(|| before.split_once('=').map(|(key, _)| key)).map(str::trim);
            if let Some(key) = key.filter(|key| !key.is_empty() && !key.starts_with(['#', '['])) {
                out.message = format!("`{key}`: {}", out.message);
            }
        }
        out
    }
}

/// The lines at which the keys of a config stand, for faults that are found once the config
/// has left its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    file: PathBuf,
    /// By the key's path, as [`Invalid::field`] spells it.
    lines: BTreeMap<String, usize>,
}

impl Places {
    /// The fault with file and line: those of the key, or of the innermost of its tables
    /// that is there. Of a key that the file does not have it says so: its default does not go
    /// with what is written there.
    pub fn explain(&self, fault: Invalid) -> ConfigError {
        let written = self.lines.contains_key(fault.field.as_ref());
        // `data` is a key of the experiment's, not of its config's.
        let default =
            if written || fault.field == "data" { "" } else { " (not written in this file, so it has its default)" };
        let error = ConfigError::new(format!("`{}`: {}{default}", fault.field, fault.message)).in_file(&self.file);
        match self.line(&fault.field) {
            Some(line) => error.at_line(line),
            None => error,
        }
    }

    fn line(&self, field: &str) -> Option<usize> {
        let mut path = field;
        loop {
            match (self.lines.get(path), path.rsplit_once('.')) {
                (Some(line), _) => return Some(*line),
                (None, Some((outer, _))) => path = outer,
                (None, None) => return None,
            }
        }
    }
}

/// Lays `over` on `base`: its keys win, tables are merged key by key.
pub fn merge<'a>(base: &Table<'a>, over: &Table<'a>) -> Table<'a> {
    fn lay<'a>(base: &mut DeTable<'a>, over: &DeTable<'a>) {
        for (key, value) in over {
            if let (Some(DeValue::Table(below)), DeValue::Table(above)) =
                (base.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value.get_ref())
            {
                lay(below, above);
                continue;
            }
            // Removed first, so that the key keeps the place of the value that wins.
            base.remove(key.get_ref().as_ref());
            base.insert(key.clone(), value.clone());
        }
    }
    let mut merged = base.clone();
    lay(merged.get_mut(), over.get_ref());
    merged
}

/// An empty table.
pub fn empty<'a>() -> Table<'a> {
    Spanned::new(0..0, DeTable::default())
}

/// The nearest of some names, when it is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(name.len()) / 3)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

fn in_one_line(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Serde's message about a type or a name, in our words and with a suggestion.
fn in_our_words(message: &str) -> (String, Option<String>) {
    for start in ["invalid type: ", "invalid value: "] {
        let found = message.strip_prefix(start).and_then(|rest| rest.rsplit_once(", expected "));
        if let Some((found, wanted)) = found.and_then(|(found, wanted)| Some((found, kind(wanted)?))) {
            let found = match found.split_once(' ') {
                Some(("integer" | "floating", value)) => value.trim_start_matches("point ").replace('`', ""),
                Some(("string", value)) => value.to_owned(),
                Some(("boolean", value)) => value.replace('`', ""),
                _ if found == "sequence" => "a list".into(),
                _ if found == "map" => "a table".into(),
                _ => found.to_owned(),
            };
            return (format!("is {found}: give {wanted}"), None);
        }
    }
    for (start, what) in [("unknown field `", "unknown key"), ("unknown variant `", "unknown value")] {
        let Some(rest) = message.strip_prefix(start) else { continue };
        let Some((name, known)) = rest.split_once('`') else { continue };
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let suggestion = nearest(name, known.iter().copied());
        return (format!("{what} `{name}`; known are {}", known.join(", ")), suggestion);
    }
    (message.to_owned(), None)
}

/// What a file must have where serde expects this type; `None` for one that our configs do not have.
fn kind(rust: &str) -> Option<&'static str> {
    Some(match rust.split(' ').next()? {
        "u8" | "u16" | "u32" | "u64" | "usize" | "nonzero" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        _ => match rust {
            "a boolean" => "true or false",
            "a string" => "text in quotation marks",
            "a sequence" => "a list in square brackets",
            "a map" => "a table",
            _ if rust.starts_with("struct ") => "a table",
            _ => return None,
        },
    })
}

/// A config as JSON with sorted keys: equal configs give equal text, whatever the
/// order and the defaults in their files.
///
/// # Errors
/// When the config cannot be written as JSON.
pub fn canonical<C: Serialize>(config: &C) -> Result<String, ConfigError> {
    fn sorted(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(map) => {
                let sorted: std::collections::BTreeMap<_, _> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
                serde_json::Value::Object(sorted.into_iter().collect())
            }
            serde_json::Value::Array(items) => items.into_iter().map(sorted).collect(),
            other => other,
        }
    }
    let value = serde_json::to_value(config).map_err(|e| ConfigError::new(e.to_string()))?;
    Ok(sorted(value).to_string())
}

/// SHA-256 of the canonical form, in hexadecimal.
///
/// # Errors
/// As [`canonical`].
pub fn fingerprint<C: Serialize>(config: &C) -> Result<String, ConfigError> {
    Ok(sha256_hex(canonical(config)?.as_bytes()))
}

/// SHA-256 in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Demo {
        hidden: Vec<usize>,
        rate: f64,
        rule: Rule,
    }
    #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Rule {
        Naive,
        Hlop,
    }
    impl Default for Demo {
        fn default() -> Self {
            Self { hidden: vec![10], rate: 0.1, rule: Rule::Naive }
        }
    }
    impl Validate for Demo {
        fn validate(&self) -> Result<(), Invalid> {
            if self.hidden.is_empty() && self.rate >= 0.1 {
                return Err(Invalid::new("rate", "must be below 0.1 without hidden layers"));
            }
            if self.rate > 0.0 { Ok(()) } else { Err(Invalid::new("rate", "must be above 0")) }
        }
    }

    fn read(text: &str) -> Result<Checked<Demo>, ConfigError> {
        let source = Source { file: "demo.toml".into(), text: text.into() };
        let table = source.table()?;
        source.checked(table)
    }
    fn message(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_name_file_line_key_and_mend() {
        assert_eq!(
            message("rate = 0.5\nhiden = [3]\n"),
            "demo.toml:2: unknown key `hiden`; known are hidden, rate, rule; did you mean `hidden`?"
        );
        assert_eq!(
            message("\n\nrule = \"hlpo\"\n"),
            "demo.toml:3: `rule`: unknown value `hlpo`; known are naive, hlop; did you mean `hlop`?"
        );
        for (text, said) in [
            ("rate = \"fast\"", "`rate`: is \"fast\": give a number"),
            ("rate = [1.0]", "`rate`: is a list: give a number"),
            ("hidden = [3, -1]", "`hidden`: is -1: give a whole number that is not negative"),
            ("hidden = [3, 1.5]", "`hidden`: is 1.5: give a whole number that is not negative"),
            ("hidden = 3", "`hidden`: is 3: give a list in square brackets"),
            ("hidden = { a = true }", "`hidden`: is a table: give a list in square brackets"),
            ("rate = true", "`rate`: is true: give a number"),
        ] {
            assert_eq!(message(text), format!("demo.toml:1: {said}"));
        }
        assert_eq!(message("# a comment\nrate = -1.0\n"), "demo.toml:2: `rate`: must be above 0");
        // A key that the user never wrote, whose default does not fit the ones that are there.
        assert_eq!(
            message("hidden = []\n"),
            "demo.toml: `rate`: must be below 0.1 without hidden layers (not written in this file, so it has its default)"
        );
        assert!(message("rate = = 3\n").starts_with("demo.toml:1: "));
    }

    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Nested {
        inner: Inner,
        list: Vec<Inner>,
    }
    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        small: f32,
        maybe: Option<f64>,
        rows: Vec<Vec<f64>>,
    }
    impl Validate for Nested {
        fn validate(&self) -> Result<(), Invalid> {
            Ok(())
        }
    }

    #[test]
    fn a_number_that_no_record_can_hold_is_refused_wherever_it_stands() {
        let read = |text: &str| {
            let source = Source { file: "demo.toml".into(), text: text.into() };
            source.table().and_then(|table| source.checked::<Nested>(table)).map(drop).map_err(|e| e.to_string())
        };
        let right = "[inner]\nsmall = 3e38\nmaybe = 1e308\nrows = [[1.0, -0.0], [1e-400]]\n[[list]]\nsmall = 1e-50\n";
        assert_eq!(read(right), Ok(()));
        for (number, said) in
            [("inf", "inf"), ("+inf", "+inf"), ("-inf", "-inf"), ("nan", "nan"), ("-nan", "-nan"), ("1e999", "1e999")]
        {
            let end = format!("{said} is not a number that a record can hold: give a finite one");
            for (text, place) in [
                (format!("[inner]\nsmall = {number}"), "demo.toml:2: `small`: "),
                (format!("\n[inner]\n\nmaybe = {number}"), "demo.toml:4: `maybe`: "),
                (format!("[inner]\nrows = [[1.0],\n[2.0, {number}]]"), "demo.toml:3: `rows`: "),
                (format!("[[list]]\n[[list]]\nsmall = {number}"), "demo.toml:3: `small`: "),
                (format!("list = [{{ maybe = {number} }}]"), "demo.toml:1: `maybe`: "),
            ] {
                assert_eq!(read(&text), Err(format!("{place}{end}")), "{text}");
            }
        }
        // In digits, and beyond its type.
        let wrong = read("[[list]]\nmaybe = 1e39\n[[list]]\nsmall = 1e39\n").unwrap_err();
        assert!(wrong.starts_with("demo.toml:4: `list.1.small`: inf is not a number"), "{wrong}");
        // Made in code.
        let config = Nested { inner: Inner { maybe: Some(f64::NAN), ..Inner::default() }, list: Vec::new() };
        let wrong = Checked::new(config).map(drop).unwrap_err().to_string();
        assert!(wrong.starts_with("`inner.maybe`: NaN is not a number"), "{wrong}");
    }

    #[test]
    fn a_number_of_a_base_or_an_arm_is_refused_where_it_is_written() {
        for (base, arm, line) in [("inf", "0.1", 2), ("0.1", "nan", 4)] {
            let text = format!("[base]\nrate = {base}\n[arm]\nrate = {arm}\n");
            let source = Source { file: "suite.toml".into(), text };
            let wrong = source.table().unwrap_err().to_string();
            assert!(wrong.starts_with(&format!("suite.toml:{line}: `rate`: ")), "{wrong}");
        }
    }

    #[test]
    fn a_key_of_a_table_is_found_in_it() {
        let text = "a = 1\n[training]\nbatch = 2\nsteps = 0\n";
        let source = Source { file: "demo.toml".into(), text: text.into() };
        let places = source.places(&source.table().unwrap());
        assert_eq!(places.line("training.steps"), Some(4));
        assert_eq!(places.line("training.clip"), Some(2));
        assert_eq!(places.line("evaluation.every"), None);
    }

    #[test]
    fn a_key_in_a_list_of_tables_is_found_in_its_item() {
        let text = "[[samplers]]\nid = \"a\"\n\n[[samplers]]\nkind = 2\nid = \"b\"\n";
        let source = Source { file: "demo.toml".into(), text: text.into() };
        let places = source.places(&source.table().unwrap());
        assert_eq!(places.line("samplers.0.id"), Some(2));
        assert_eq!(places.line("samplers.1.id"), Some(6));
        let fault = Invalid::new(format!("samplers.{}.steps", 1), "must be at least 1");
        let message = "`samplers.1.steps`: must be at least 1 (not written in this file, so it has its default)";
        assert_eq!(places.explain(fault).to_string(), format!("demo.toml:4: {message}"));
    }

    #[test]
    fn the_canonical_form_does_not_depend_on_order_or_defaults() {
        let all = read("rule = \"naive\"\nrate = 0.1\nhidden = [10]\n").unwrap();
        let none = read("").unwrap();
        assert_eq!(canonical(&*all).unwrap(), canonical(&*none).unwrap());
        assert_eq!(canonical(&*none).unwrap(), r#"{"hidden":[10],"rate":0.1,"rule":"naive"}"#);
        assert_ne!(fingerprint(&*none).unwrap(), fingerprint(&*read("rate = 0.2").unwrap()).unwrap());
    }

    #[test]
    fn an_arm_is_laid_over_its_base_and_keeps_its_place() {
        let source =
            Source { file: "suite.toml".into(), text: "[base]\nrate = 0.5\nhidden = [4]\n[arm]\nrate = -2.0\n".into() };
        let mut table = source.table().unwrap();
        let mut part = |name: &str| {
            let value = table.get_mut().remove(name).unwrap();
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(table) => Spanned::new(span, table),
                _ => panic!("not a table"),
            }
        };
        let (base, arm) = (part("base"), part("arm"));
        let config: Demo = source.decode(merge(&base, &arm)).unwrap();
        assert_eq!(config, Demo { hidden: vec![4], rate: -2.0, rule: Rule::Naive });
        let error = source.checked::<Demo>(merge(&base, &arm)).unwrap_err();
        assert_eq!(error.to_string(), "suite.toml:5: `rate`: must be above 0");
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        assert_eq!(nearest("hiden", ["hidden", "rate"]), Some("hidden".into()));
        assert_eq!(nearest("zzz", ["hidden", "rate"]), None);
    }
}
