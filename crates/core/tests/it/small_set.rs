//! A data set of a few bytes, its manifest, and a web server to download it from.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use plasticity_core::data::idx::{Idx, Values, write};
use plasticity_core::data::manifest::{FileEntry, Manifest, Role, Variant};
use sha2::{Digest, Sha256};

pub const TRAIN: usize = 6;
pub const TEST: usize = 4;

/// The stored files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A set named `small` of 2x3 images in 3 classes: its manifest with these mirrors, and
/// its files.
pub fn small_set(mirrors: &[String]) -> (Manifest, Files) {
    let array = |dims: Vec<usize>, classes: Option<u8>| {
        let n: usize = dims.iter().product();
        let values = (0..n).map(|i| classes.map_or(i as u8 * 5, |classes| i as u8 % classes)).collect();
        Idx { dims, values: Values::U8(values) }
    };
    let parts = [
        (Role::TrainImages, "train-images.gz", array(vec![TRAIN, 2, 3], None)),
        (Role::TrainLabels, "train-labels.gz", array(vec![TRAIN], Some(3))),
        (Role::TestImages, "test-images.gz", array(vec![TEST, 2, 3], None)),
        (Role::TestLabels, "test-labels.gz", array(vec![TEST], Some(3))),
    ];
    let mut files = Files::new();
    let mut entries = Vec::new();
    for (role, name, idx) in parts {
        let mut raw = Vec::new();
        write(&idx, &mut raw).unwrap();
        let stored = gzip(&raw);
        entries.push(FileEntry {
            role,
            name: name.into(),
            bytes: stored.len() as u64,
            sha256: sha256(&stored),
            raw_bytes: raw.len() as u64,
            raw_sha256: sha256(&raw),
        });
        files.insert(name.into(), stored);
    }
    let variant = Variant {
        name: "official".into(),
        exact: true,
        train: TRAIN,
        test: TEST,
        mirrors: mirrors.to_vec(),
        raw_mirrors: Vec::new(),
        package: None,
        files: entries,
        generator: None,
        seed: 0,
    };
    let manifest = Manifest {
        name: "small".into(),
        title: "A small set".into(),
        licence: "none".into(),
        citation: "none".into(),
        shape: Some([1, 2, 3]),
        classes: Some(3),
        path: None,
        file: None,
        folder: None,
        variants: vec![variant],
    };
    (manifest, files)
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the files to `root/small/`.
pub fn store(files: &Files, root: &Path) {
    let dir = root.join("small");
    std::fs::create_dir_all(&dir).unwrap();
    for (name, content) in files {
        std::fs::write(dir.join(name), content).unwrap();
    }
}

/// What the server says to one path.
#[derive(Clone)]
pub enum Answer {
    /// The body, with its length.
    Body(Vec<u8>),
    /// The first half of the body; the header gives the length of the whole.
    Half(Vec<u8>),
    /// The body with no length given: it ends where the connection does.
    Endless(Vec<u8>),
    /// The body under a `Content-Encoding`.
    Encoded(&'static str, Vec<u8>),
    /// An error status.
    Status(u16),
}

/// A web server on this machine, for as long as it is not dropped.
pub struct Server {
    address: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `answers` by path (`/a/file`); 404 for any other.
    pub fn start(answers: BTreeMap<String, Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stopped, log) = (stop.clone(), asked.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // A client that hangs up early (a body that is too long) is not a fault.
                let _ = stream.and_then(|stream| answer(stream, &answers, &log));
            }
        });
        Self { address, stop, asked, thread: Some(thread) }
    }

    /// The address of a folder.
    pub fn url(&self, folder: &str) -> String {
        format!("http://{}/{folder}/", self.address)
    }

    /// The paths asked for, in turn.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, answers: &BTreeMap<String, Answer>, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        request.push(byte[0]);
    }
    let path = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap_or_default().to_string();
    log.lock().unwrap().push(path.clone());
    let encoding = match answers.get(&path) {
        Some(Answer::Encoded(name, _)) => format!("Content-Encoding: {name}\r\n"),
        _ => String::new(),
    };
    let (status, length, body): (u16, Option<usize>, &[u8]) = match answers.get(&path) {
        Some(Answer::Body(body) | Answer::Encoded(_, body)) => (200, Some(body.len()), body),
        Some(Answer::Half(body)) => (200, Some(body.len()), &body[..body.len() / 2]),
        Some(Answer::Endless(body)) => (200, None, body),
        Some(Answer::Status(status)) => (*status, Some(0), b""),
        None => (404, Some(0), b""),
    };
    let length = length.map(|length| format!("Content-Length: {length}\r\n")).unwrap_or_default();
    write!(stream, "HTTP/1.1 {status} -\r\n{length}{encoding}Connection: close\r\n\r\n")?;
    stream.write_all(body)
}
