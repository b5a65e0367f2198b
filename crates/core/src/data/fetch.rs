//! Downloads into the cache: mirrors in turn, whole and verified or not at all.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use super::manifest::{FileEntry, Form, Variant};
use super::resolved::hex;
use super::verify;
use crate::error::DataError;
use crate::files::{forget_temporaries, where_possible};

/// Time for connecting in vain, all mirrors of a set together: without a network the
/// answer comes after this long at most.
const CONNECT: Duration = Duration::from_secs(5);
/// A server that sends nothing for this long is given up.
const STALL: Duration = Duration::from_secs(15);

/// Why a mirror's answer was not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Http(#[from] ureq::Error),
    #[error("could not be reached just now")]
    Unreachable,
    #[error("broke off after {0} bytes: {1}")]
    BrokeOff(u64, std::io::Error),
    #[error("an HTML page in place of the file, as a proxy or a login form sends it")]
    Html,
    #[error("more than the {0} bytes that the manifest says")]
    TooLong(u64),
    #[error("{found} bytes, the manifest says {expected}")]
    TooShort { expected: u64, found: u64 },
    #[error("sha256 is {found}, the manifest says {expected}")]
    Checksum { expected: String, found: String },
    #[error("cannot be written to {0}: {1}")]
    Disk(String, std::io::Error),
}

/// Makes `dir` hold all files of the variant: downloads those that are missing or wrong.
pub(super) fn variant(variant: &Variant, dir: &Path) -> Result<(), DataError> {
    fs::create_dir_all(dir).map_err(|e| DataError::io(dir, e))?;
    // What a download that was stopped has left.
    forget_temporaries(dir, |name| name.starts_with('.') && name.ends_with(".part"));
    let mirror = |raw: bool| move |url| Mirror { url, raw, reached: true };
    let mut mirrors: Vec<Mirror> = variant.mirrors.iter().map(mirror(false)).collect();
    mirrors.extend(variant.raw_mirrors.iter().map(mirror(true)));
    let mut patience = CONNECT;
    for entry in &variant.files {
        let there = verify::stored(entry, dir).is_some_and(|path| verify::file(entry, &path).is_ok());
        if !there {
            file(entry, &mut mirrors, dir, &mut patience)?;
        }
    }
    Ok(())
}

/// A place to download from, whether it holds decompressed files, and whether the last
/// attempt reached it.
struct Mirror<'a> {
    url: &'a String,
    raw: bool,
    reached: bool,
}

fn file(entry: &FileEntry, mirrors: &mut [Mirror], dir: &Path, patience: &mut Duration) -> Result<(), DataError> {
    let mut tried = Vec::new();
    let count = mirrors.len();
    for (i, mirror) in mirrors.iter_mut().enumerate() {
        let form = if mirror.raw { entry.raw() } else { entry.stored() };
        let url = format!("{}{}", mirror.url, form.name);
        // Half of what is left for each but the last, so that there is always a next one.
        let share = if i + 1 < count { *patience / 2 } else { *patience };
        let start = Instant::now();
        let result = if mirror.reached && !share.is_zero() {
            attempt(form, &url, dir, share)
        } else {
            Err(Refusal::Unreachable)
        };
        let refusal = match result {
            Ok(()) => return forget_other(entry, form, dir),
            Err(refusal) => refusal,
        };
        if let Refusal::Http(error) = &refusal
            && !matches!(error, ureq::Error::StatusCode(_))
        {
            mirror.reached = false;
            *patience = patience.saturating_sub(start.elapsed().min(share));
        }
        tracing::debug!(url, %refusal, "mirror passed over");
        tried.push((url, refusal.to_string()));
    }
    Err(DataError::Download { file: entry.name.clone(), tried })
}

/// Removes the other form of a file that has been downloaded: it was wrong, and would be
/// found first.
fn forget_other(entry: &FileEntry, form: Form, dir: &Path) -> Result<(), DataError> {
    if form.name == entry.name {
        return Ok(());
    }
    let other = dir.join(&entry.name);
    match fs::remove_file(&other) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(DataError::io(&other, e)),
        _ => Ok(()),
    }
}

/// Downloads one file from one address to a temporary file beside its place, and moves
/// it there when its checksum is right.
fn attempt(entry: Form, url: &str, dir: &Path, connect: Duration) -> Result<(), Refusal> {
    let response = agent(url, connect).get(url).call()?;
    let mut body = response.into_body().into_reader();
    let bar = progress(entry);
    let disk = |e| Refusal::Disk(dir.display().to_string(), e);
    let mut part = temporary(dir).map_err(disk)?;
    let mut hash = Sha256::new();
    let mut head = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    let mut found = 0u64;
    let end = loop {
        match body.read(&mut chunk) {
            Ok(0) => break None,
            Ok(n) => {
                found += n as u64;
                head.extend_from_slice(&chunk[..n.min(64usize.saturating_sub(head.len()))]);
                if found > entry.bytes {
                    break Some(Refusal::TooLong(entry.bytes));
                }
                hash.update(&chunk[..n]);
                part.write_all(&chunk[..n]).map_err(disk)?;
                bar.inc(n as u64);
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => break Some(Refusal::BrokeOff(found, e)),
        }
    };
    bar.finish_and_clear();
    if verify::is_html(&head) {
        return Err(Refusal::Html);
    }
    if let Some(refusal) = end {
        return Err(refusal);
    }
    if found < entry.bytes {
        return Err(Refusal::TooShort { expected: entry.bytes, found });
    }
    let found = hex(&hash.finalize());
    if found != entry.sha256 {
        return Err(Refusal::Checksum { expected: entry.sha256.into(), found });
    }
    where_possible(part.as_file().sync_all()).map_err(disk)?;
    part.persist(dir.join(entry.name)).map_err(|e| disk(e.error))?;
    Ok(())
}

fn agent(url: &str, connect: Duration) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .timeout_resolve(Some(connect))
        .timeout_connect(Some(connect))
        .timeout_recv_response(Some(STALL))
        .timeout_per_read(Some(STALL))
        // The files are compressed already, and their checksums are those of the gzip files.
        .accept_encoding("identity")
        .user_agent(concat!("plasticity/", env!("CARGO_PKG_VERSION")));
    if url.starts_with("http://127.0.0.1:") {
        // A server on this machine is never behind a proxy.
        config = config.proxy(None);
    }
    config.build().new_agent()
}

/// A file that is removed when it is dropped.
fn temporary(dir: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Readable by others (as far as the umask allows): a cache may be shared.
        builder.permissions(fs::Permissions::from_mode(0o644));
    }
    builder.tempfile_in(dir)
}

/// A bar on a terminal, nothing elsewhere.
fn progress(entry: Form) -> ProgressBar {
    let bar = ProgressBar::new(entry.bytes).with_prefix(entry.name.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}
