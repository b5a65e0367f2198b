//! Work in parts on the threads of the pool and the calling one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Calls `work` with every part and its index.
///
/// The calling thread takes parts too, and begins at once: a pass of a small network is over
/// before a sleeping thread has woken twice. Which thread takes a part is not fixed. On a pool of
/// one thread all is done by the calling one.
pub fn each<T: Send>(parts: impl ExactSizeIterator<Item = T>, work: impl Fn(usize, T) + Sync) {
    let threads = rayon::current_num_threads().min(parts.len());
    if threads < 2 {
        return parts.enumerate().for_each(|(i, part)| work(i, part));
    }
    let parts: Vec<Mutex<Option<T>>> = parts.map(|part| Mutex::new(Some(part))).collect();
    let next = AtomicUsize::new(0);
    let take = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = parts.get(i) else { break };
            // Nobody else takes this part.
            let part = part.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(part) = part {
                work(i, part);
            }
        }
    };
    rayon::in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| take());
        }
        take();
    });
}

/// [`each`] for the chunks of `size` numbers (0 counts as 1).
pub fn chunks<T: Send>(data: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    each(data.chunks_mut(size.max(1)), work);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_taken_once() {
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (mut a, mut b) = (vec![0; 50], vec![0; 25]);
            pool.install(|| {
                each(a.chunks_mut(4).zip(b.chunks_mut(2)), |i, (a, b)| {
                    a.iter_mut().for_each(|x| *x += 2 * i);
                    b.iter_mut().for_each(|x| *x += 3 * i);
                });
            });
            assert!(a.iter().enumerate().all(|(at, x)| *x == at / 4 * 2), "{threads} threads: {a:?}");
            assert!(b.iter().enumerate().all(|(at, x)| *x == at / 2 * 3), "{threads} threads: {b:?}");
        }
    }
}
