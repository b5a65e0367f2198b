//! A picture is called what it shows: what a network drew is apart from stored images and from test images, and what
//! the study of the start ends at are stored images.

use std::path::Path;

use plasticity_core::run::record::{CellResult, Picture};

use super::resume::{glyphs, process};

fn pictures(dir: &Path, text: &str) -> Vec<Picture> {
    process(dir, text, glyphs(), false).unwrap();
    let result = std::fs::read(dir.join("result.json")).unwrap();
    serde_json::from_slice::<CellResult>(&result).unwrap().outcome.pictures
}

/// Images across and down: each of 14 pixels three times as large, and a gap of 2.
fn grid(dir: &Path, file: &str) -> (u32, u32) {
    let png = std::fs::read(dir.join("artifacts").join(file)).unwrap();
    let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    let images = |pixels: u32| {
        assert_eq!((pixels - 2) % 44, 0, "{file}: {pixels}");
        (pixels - 2) / 44
    };
    (images(side(16)), images(side(20)))
}

#[test]
fn what_a_network_drew_is_apart_from_stored_and_from_test_images() {
    let dir = tempfile::tempdir().unwrap();
    let found = pictures(
        dir.path(),
        "study = \"network\"\ntrain_images = 100\ntest_images = 20\n\
         network = { base = 4, multipliers = [1] }\ntraining = { steps = 1, batch = 16, warmup = 1 }\n\
         sampling = [\n\
           { id = \"few\", kind = \"ddim\", calls = 2, sd_max = 10.0, samples = 3 },\n\
           { id = \"more\", kind = \"ddim\", calls = 2, sd_max = 10.0, samples = 19 },\n\
         ]",
    );
    let names: Vec<(&str, &str)> = found.iter().map(|p| (p.file.as_str(), p.title.as_str())).collect();
    let expected = [
        ("images-drawn-few.png", "Images drawn, few"),
        ("nearest-stored-few.png", "Stored images nearest to those drawn, few"),
        ("images-drawn-more.png", "Images drawn, more"),
        ("nearest-stored-more.png", "Stored images nearest to those drawn, more"),
        ("test-images.png", "Real test images"),
    ];
    assert_eq!(names, expected);
    // As many images as were drawn, in whole rows, and nothing below them.
    let sizes: Vec<(u32, u32)> = names.iter().map(|(file, _)| grid(dir.path(), file)).collect();
    assert_eq!(sizes, [(3, 1), (3, 1), (8, 2), (8, 2), (8, 2)]);
    for picture in &found {
        assert!(!picture.caption.to_lowercase().contains("sample"), "{}", picture.caption);
    }
    let read = |file: &str| std::fs::read(dir.path().join("artifacts").join(file)).unwrap();
    assert!(read("images-drawn-more.png") != read("nearest-stored-more.png"));
}

#[test]
fn stored_images_that_a_start_leads_to_are_not_called_samples() {
    let dir = tempfile::tempdir().unwrap();
    let text =
        "study = \"prior\"\ntrain_images = 50\nprior = { start = \"pca\", sd_max = 0.8, calls = 7, samples = 20 }";
    let found = pictures(dir.path(), text);
    assert_eq!(found.len(), 1);
    let Picture { file, title, caption } = &found[0];
    assert_eq!((file.as_str(), title.as_str()), ("stored-images-reached.png", "Stored images that the start leads to"));
    assert!(caption.contains("over 50 stored images in place of a network"), "{caption}");
    assert!(!format!("{title} {caption}").to_lowercase().contains("sample"));
    assert_eq!(grid(dir.path(), file), (16, 2));
}
