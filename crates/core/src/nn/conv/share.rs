//! Work in parts on the threads of the pool and the calling one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Calls `work` with the index of every chunk of `size` numbers and the chunk.
///
/// The calling thread takes chunks too, and begins at once: a pass of a small network is over
/// before a sleeping thread has woken twice. Which thread takes a chunk is not fixed.
pub(super) fn chunks<T: Send>(data: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let threads = rayon::current_num_threads().min(data.len().div_ceil(size));
    if threads < 2 {
        return data.chunks_mut(size).enumerate().for_each(|(i, chunk)| work(i, chunk));
    }
    let chunks: Vec<Mutex<&mut [T]>> = data.chunks_mut(size).map(Mutex::new).collect();
    let next = AtomicUsize::new(0);
    let take = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = chunks.get(i) else { break };
            // Nobody else takes this chunk.
            work(i, &mut chunk.lock().unwrap_or_else(PoisonError::into_inner));
        }
    };
    rayon::in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| take());
        }
        take();
    });
}
