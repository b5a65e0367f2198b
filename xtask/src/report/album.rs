//! Pictures among the artifacts of the finished cells.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use plasticity_core::run::record::Picture;

use crate::text::bytes;

/// A page with larger pictures would not open any more.
const MOST_BYTES: u64 = 8 << 20;

/// Pictures of the same title, to be shown side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Album {
    /// Which experiment of the suite.
    pub experiment: usize,
    /// What they show.
    pub title: String,
    /// The pictures, by arm and seed.
    pub shots: Vec<Shot>,
}

/// One picture of one cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shot {
    /// Id of the arm.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// The arm's first finished seed.
    pub first: bool,
    /// What the run says of it.
    pub caption: String,
    /// The whole picture as an address that a page can hold.
    pub address: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// Reads a picture below a cell's directory; a reason in words if it cannot be shown.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn read(cell: &Path, picture: &Picture) -> Result<Result<String, String>> {
    let name = &picture.file;
    let kind = match name.rsplit_once('.') {
        Some((_, "png")) => "png",
        Some((_, "svg")) => "svg+xml",
        _ => return Ok(Err(format!("`{name}` is not a picture that can be shown"))),
    };
    if name.contains(['/', '\\']) {
        return Ok(Err(format!("`{name}` is not among the artifacts")));
    }
    let path = cell.join("artifacts").join(name);
    let Ok(found) = path.metadata() else {
        return Ok(Err(format!("the picture `{name}` is missing")));
    };
    if found.len() > MOST_BYTES {
        return Ok(Err(format!("the picture `{name}` is too large to be shown ({})", bytes(found.len()))));
    }
    let content = std::fs::read(&path).with_context(|| format!("{}", path.display()))?;
    Ok(Ok(format!("data:image/{kind};base64,{}", base64(&content))))
}

/// The first seed's pictures with the names under which they are published, in the report's order: name and place.
pub fn published(albums: &[Album]) -> Vec<(String, PathBuf)> {
    let shots = albums.iter().flat_map(|album| &album.shots).filter(|shot| shot.first);
    let name = |(at, shot): (usize, &Shot)| {
        let file = shot.path.file_name().unwrap_or_default().to_string_lossy();
        (format!("picture-{:02}-{}-{file}", at + 1, shot.arm), shot.path.clone())
    };
    shots.enumerate().map(name).collect()
}

/// Adds a picture to the album of its title.
pub fn put(albums: &mut Vec<Album>, experiment: usize, title: &str, shot: Shot) {
    match albums.iter_mut().find(|a| a.experiment == experiment && a.title == title) {
        Some(album) => album.shots.push(shot),
        None => albums.push(Album { experiment, title: title.into(), shots: vec![shot] }),
    }
}

/// Bytes in the alphabet that an address may hold.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_standard() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (text, expected) in cases {
            assert_eq!(base64(text.as_bytes()), expected);
        }
        assert_eq!(base64(&[255, 239, 191]), "/++/");
    }

    #[test]
    fn only_pictures_among_the_artifacts_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("artifacts")).unwrap();
        std::fs::write(dir.path().join("artifacts/a.svg"), "<svg/>").unwrap();
        std::fs::write(dir.path().join("secret.png"), "x").unwrap();
        let read = |file: &str| {
            let picture = Picture { file: file.into(), title: "t".into(), caption: String::new() };
            read(dir.path(), &picture).unwrap()
        };
        assert_eq!(read("a.svg").unwrap(), "data:image/svg+xml;base64,PHN2Zy8+");
        for (file, why) in [("b.png", "missing"), ("../secret.png", "not among"), ("a.gif", "not a picture")] {
            assert!(read(file).unwrap_err().contains(why), "{file}");
        }
    }
}
