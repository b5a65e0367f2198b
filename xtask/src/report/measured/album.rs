//! Pictures among the artifacts of the finished cells.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
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

/// One picture of one cell, or of several arms that made the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shot {
    /// Ids of the arms.
    pub arms: Vec<String>,
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

impl Shot {
    /// Whose it is, in a few words.
    pub fn owner(&self) -> String {
        match self.arms.as_slice() {
            [first, others @ ..] if others.len() > 2 => format!("{first} and {} more arms", others.len()),
            arms => arms.join(", "),
        }
    }
}

/// Reads a picture below a cell's directory; a reason in words if it cannot be shown.
pub fn read(cell: &Path, picture: &Picture) -> Result<String, String> {
    let name = &picture.file;
    let kind = match name.rsplit_once('.') {
        Some((_, "png")) => "png",
        Some((_, "svg")) => "svg+xml",
        _ => return Err(format!("`{name}` is not a picture that can be shown")),
    };
    if name.contains(['/', '\\']) {
        return Err(format!("`{name}` is not among the artifacts"));
    }
    let path = cell.join("artifacts").join(name);
    let Ok(found) = path.metadata() else {
        return Err(format!("the picture `{name}` is missing"));
    };
    if found.len() > MOST_BYTES {
        return Err(format!("the picture `{name}` is too large to be shown ({})", bytes(found.len())));
    }
    let content = std::fs::read(&path).map_err(|e| format!("the picture `{name}` cannot be read ({e})"))?;
    Ok(format!("data:image/{kind};base64,{}", BASE64_STANDARD.encode(&content)))
}

/// Adds a picture to the album of its title; the same picture of another arm is shown once.
pub fn put(albums: &mut Vec<Album>, experiment: usize, title: &str, shot: Shot) {
    let Some(album) = albums.iter_mut().find(|a| a.experiment == experiment && a.title == title) else {
        albums.push(Album { experiment, title: title.into(), shots: vec![shot] });
        return;
    };
    let same = |s: &Shot| s.seed == shot.seed && s.caption == shot.caption && s.address == shot.address;
    match album.shots.iter_mut().find(|s| same(s)) {
        Some(known) => {
            known.first |= shot.first;
            known.arms.extend(shot.arms);
        }
        None => album.shots.push(shot),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_picture_of_several_arms_is_one() {
        let shot = |arm: &str, seed: u64, address: &str| Shot {
            arms: vec![arm.into()],
            seed,
            first: seed == 0,
            caption: String::new(),
            address: address.into(),
            path: PathBuf::new(),
        };
        let mut albums = Vec::new();
        for arm in ["a", "b", "c", "d"] {
            for seed in 0..2 {
                put(&mut albums, 0, "Who holds what", shot(arm, seed, &format!("data:{seed}")));
            }
        }
        put(&mut albums, 0, "Who holds what", shot("e", 0, "data:another"));
        let owners: Vec<(String, u64)> = albums[0].shots.iter().map(|s| (s.owner(), s.seed)).collect();
        let many = || "a and 3 more arms".to_owned();
        assert_eq!(owners, [(many(), 0), (many(), 1), ("e".into(), 0)]);
    }

    #[test]
    fn only_pictures_among_the_artifacts_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("artifacts")).unwrap();
        std::fs::write(dir.path().join("artifacts/a.svg"), "<svg/>").unwrap();
        std::fs::write(dir.path().join("secret.png"), "x").unwrap();
        let read = |file: &str| {
            let picture = Picture { file: file.into(), title: "t".into(), caption: String::new() };
            read(dir.path(), &picture)
        };
        assert_eq!(read("a.svg").unwrap(), "data:image/svg+xml;base64,PHN2Zy8+");
        for (file, why) in [("b.png", "missing"), ("../secret.png", "not among"), ("a.gif", "not a picture")] {
            assert!(read(file).unwrap_err().contains(why), "{file}");
        }
    }
}
