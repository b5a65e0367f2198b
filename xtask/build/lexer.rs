//! As much of Rust's tokens as it takes to find macros and attributes outside of comments and texts.

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A name, a keyword or a number.
    Word(String),
    /// The content of a text, raw or not.
    Text(String),
    /// Any other sign.
    Mark(char),
}

/// The tokens of a source, without comments, characters and lifetimes.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skip = |n: usize| rest.get(n..).unwrap_or("");
        if first.is_whitespace() {
            rest = skip(first.len_utf8());
        } else if rest.starts_with("//") {
            rest = skip(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            rest = after_comment(rest);
        } else if first == '"' {
            let (text, after) = text(skip(1));
            tokens.push(Token::Text(text));
            rest = after;
        } else if first == '\'' {
            rest = after_quote(skip(1));
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            match word {
                "r" | "br" | "cr" if raw(after).is_some() => {
                    let (text, after) = raw(after).unwrap_or_default();
                    tokens.push(Token::Text(text.to_owned()));
                    rest = after;
                }
                // The text or character itself comes next.
                "b" | "c" if after.starts_with(['"', '\'']) => rest = after,
                _ => {
                    tokens.push(Token::Word(word.to_owned()));
                    rest = after;
                }
            }
        } else {
            tokens.push(Token::Mark(first));
            rest = skip(first.len_utf8());
        }
    }
    tokens
}

/// What follows a comment, which may hold others.
fn after_comment(source: &str) -> &str {
    let (mut rest, mut depth) = (source, 0);
    loop {
        if let Some(after) = rest.strip_prefix("/*") {
            (rest, depth) = (after, depth + 1);
        } else if let Some(after) = rest.strip_prefix("*/") {
            (rest, depth) = (after, depth - 1);
            if depth == 0 {
                return rest;
            }
        } else {
            let mut letters = rest.chars();
            if letters.next().is_none() {
                return "";
            }
            rest = letters.as_str();
        }
    }
}

/// The content of a text whose opening sign has been read, and what follows it.
fn text(source: &str) -> (String, &str) {
    let mut content = String::new();
    let mut letters = source.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                Some(sign @ ('"' | '\\' | '\'')) => content.push(sign),
                Some(other) => content.extend(['\\', other]),
                None => break,
            },
            other => content.push(other),
        }
    }
    (content, letters.as_str())
}

/// A raw text after its letters (`#"..."#`), and what follows it.
fn raw(source: &str) -> Option<(&str, &str)> {
    let fences = source.len() - source.trim_start_matches('#').len();
    let body = source[fences..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(fences));
    Some(body.split_once(end.as_str()).unwrap_or((body, "")))
}

/// What follows a character or a lifetime whose first sign has been read.
fn after_quote(source: &str) -> &str {
    let mut letters = source.chars();
    match letters.next() {
        Some('\\') => {
            letters.next();
            letters.as_str().split_once('\'').map_or("", |(_, after)| after)
        }
        Some(_) if letters.as_str().starts_with('\'') => &letters.as_str()[1..],
        // A lifetime: its name is a word like any other.
        _ => source,
    }
}
