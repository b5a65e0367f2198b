//! Downloads into the cache: mirrors in turn, whole and verified or not at all.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use super::entry::{FileEntry, Form};
use super::manifest::Variant;
use super::resolved::hex;
use super::verify;
use crate::error::{DataError, Owner};
use crate::files::{forget_temporaries, where_possible};

/// Time for connecting in vain, all mirrors of a set together: without a network the
/// answer comes after this long at most.
const CONNECT: Duration = Duration::from_secs(5);
/// A server that sends nothing for this long is given up.
const STALL: Duration = Duration::from_secs(15);

/// Why a mirror's answer was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Http(#[from] ureq::Error),
    #[error("could not be reached just now")]
    Unreachable,
    #[error("broke off after {0} bytes: {1}")]
    BrokeOff(u64, String),
    #[error("an HTML page in place of the file, as a proxy or a login form sends it")]
    Html,
    #[error("more than the {0} bytes that the manifest says")]
    TooLong(u64),
    #[error("{found} bytes, the manifest says {expected}")]
    TooShort { expected: u64, found: u64 },
    #[error("sha256 is {found}, the manifest says {expected}")]
    Checksum { expected: String, found: String },
    #[error("sent in the encoding `{0}`, which was not asked for")]
    Encoding(String),
    #[error("cannot be written to {0}: {1}")]
    Disk(String, std::io::Error),
}

/// Makes `dir` hold all files of the variant: downloads those that are missing or wrong.
pub(super) fn variant(variant: &Variant, dir: &Path) -> Result<(), DataError> {
    prepare(dir)?;
    let mirror = |raw: bool| move |url| Mirror { url, raw, reached: true };
    let mut mirrors: Vec<Mirror> = variant.mirrors.iter().map(mirror(false)).collect();
    mirrors.extend(variant.raw_mirrors.iter().map(mirror(true)));
    let mut patience = CONNECT;
    for entry in &variant.files {
        let there = verify::stored(entry, dir)?.is_some_and(|path| verify::file(entry, &path, Owner::Cache).is_ok());
        if !there {
            file(entry, &mut mirrors, dir, &mut patience)?;
        }
    }
    Ok(())
}

/// Makes the folder, without what a download that was stopped has left.
pub(super) fn prepare(dir: &Path) -> Result<(), DataError> {
    fs::create_dir_all(dir).map_err(|e| DataError::io(dir, e))?;
    forget_temporaries(dir, |name| name.starts_with('.') && name.ends_with(".part"));
    Ok(())
}

/// Puts what `from` gives in its place in `dir`, when it is the file of the manifest.
pub(super) fn put(from: impl Read, entry: Form, dir: &Path) -> Result<(), Refusal> {
    let bar = progress(entry);
    let given = receive(bar.wrap_read(from), entry.bytes, dir);
    bar.finish_and_clear();
    let given = given?;
    given.check(entry)?;
    given.keep(entry, dir)
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
///
/// `Content-Encoding: gzip` may mean two things. Most servers that say it of a `.gz` send the
/// file as it is, and name what the file is; one that compresses whatever it sends has packed
/// the file once more. The checksum tells which.
fn attempt(entry: Form, url: &str, dir: &Path, connect: Duration) -> Result<(), Refusal> {
    let response = agent(url, connect).get(url).call()?;
    let encoding = response.headers().get("content-encoding").and_then(|value| value.to_str().ok());
    let encoding = encoding.map(|name| name.trim().to_ascii_lowercase()).filter(|name| name != "identity");
    // What does not compress becomes a little longer.
    let most = entry.bytes + if encoding.is_some() { entry.bytes / 1000 + 1024 } else { 0 };
    let bar = progress(entry);
    let sent = receive(bar.wrap_read(response.into_body().into_reader()), most, dir);
    bar.finish_and_clear();
    let sent = sent?;
    let file = match (sent.check(entry), encoding.as_deref()) {
        (Ok(()), _) => sent,
        (Err(refusal), _) if sent.broken.is_some() || sent.bytes > most => return Err(refusal),
        (Err(_), Some("gzip" | "x-gzip")) => {
            let packed = sent.part.reopen().map_err(|e| disk(dir, e))?;
            let unpacked = receive(MultiGzDecoder::new(packed), entry.bytes, dir)?;
            unpacked.check(entry)?;
            unpacked
        }
        (Err(_), Some(other)) => return Err(Refusal::Encoding(other.into())),
        (Err(refusal), None) => return Err(refusal),
    };
    file.keep(entry, dir)
}

fn disk(dir: &Path, error: std::io::Error) -> Refusal {
    Refusal::Disk(dir.display().to_string(), error)
}

/// What came, in a file that is removed unless it is moved to its place.
struct Received {
    part: tempfile::NamedTempFile,
    bytes: u64,
    sha256: String,
    /// Its first bytes.
    head: Vec<u8>,
    /// Why it is not all.
    broken: Option<std::io::Error>,
}

/// Reads to the end, or until there are more than `most` bytes.
fn receive(mut from: impl Read, most: u64, dir: &Path) -> Result<Received, Refusal> {
    let mut part = temporary(dir).map_err(|e| disk(dir, e))?;
    let (mut hash, mut head, mut bytes) = (Sha256::new(), Vec::new(), 0);
    let mut chunk = vec![0; 1 << 16];
    let broken = loop {
        match from.read(&mut chunk) {
            Ok(0) => break None,
            Ok(n) => {
                bytes += n as u64;
                head.extend_from_slice(&chunk[..n.min(64usize.saturating_sub(head.len()))]);
                if bytes > most {
                    break None;
                }
                hash.update(&chunk[..n]);
                part.write_all(&chunk[..n]).map_err(|e| disk(dir, e))?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => break Some(e),
        }
    };
    Ok(Received { part, bytes, sha256: hex(&hash.finalize()), head, broken })
}

impl Received {
    /// Moves it to its place.
    fn keep(self, entry: Form, dir: &Path) -> Result<(), Refusal> {
        where_possible(self.part.as_file().sync_all()).map_err(|e| disk(dir, e))?;
        self.part.persist(dir.join(entry.name)).map_err(|e| disk(dir, e.error))?;
        Ok(())
    }

    /// Whether it is the file of the manifest.
    fn check(&self, entry: Form) -> Result<(), Refusal> {
        let found = self.bytes;
        if verify::is_html(&self.head) {
            return Err(Refusal::Html);
        }
        if found > entry.bytes {
            return Err(Refusal::TooLong(entry.bytes));
        }
        if let Some(why) = &self.broken {
            return Err(Refusal::BrokeOff(found, why.to_string()));
        }
        if found < entry.bytes {
            return Err(Refusal::TooShort { expected: entry.bytes, found });
        }
        if self.sha256 != entry.sha256 {
            return Err(Refusal::Checksum { expected: entry.sha256.into(), found: self.sha256.clone() });
        }
        Ok(())
    }
}

fn agent(url: &str, connect: Duration) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .timeout_resolve(Some(connect))
        .timeout_connect(Some(connect))
        .timeout_recv_response(Some(STALL))
        .timeout_per_read(Some(STALL))
        // The files are compressed already, and their checksums are those of the gzip files. (This
        // program's ureq decodes nothing by itself: its feature `gzip` is off.)
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
