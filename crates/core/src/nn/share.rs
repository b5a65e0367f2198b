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

/// Calls `work` with every phase and each of its parts, of which phase `p` has `parts[p]`; a phase begins when all parts
/// of the one before are done. What a thread keeps from part to part is made by `local`.
///
/// For many phases of a few microseconds: a thread that waits for the next one does not sleep. The calling thread takes
/// parts too and waits for none that nobody has taken, so that a pool which is busy slows it down and no more. Which
/// thread takes a part is not fixed.
pub fn phases<L>(parts: &[usize], local: impl Fn() -> L + Sync, work: impl Fn(&mut L, usize, usize) + Sync) {
    let threads = rayon::current_num_threads().min(parts.iter().copied().max().unwrap_or(0));
    if threads < 2 {
        let mut local = local();
        for (phase, parts) in parts.iter().enumerate() {
            (0..*parts).for_each(|part| work(&mut local, phase, part));
        }
        return;
    }
    let taken: Vec<AtomicUsize> = parts.iter().map(|_| AtomicUsize::new(0)).collect();
    let done: Vec<AtomicUsize> = parts.iter().map(|_| AtomicUsize::new(0)).collect();
    let now = AtomicUsize::new(0);
    let take = |kept: &mut L, phase: usize| {
        loop {
            let part = taken[phase].fetch_add(1, Ordering::Relaxed);
            if part >= parts[phase] {
                break;
            }
            // Said even if the work panics: nobody is to wait for ever.
            let _done = Said(&done[phase]);
            work(kept, phase, part);
        }
    };
    let help = || {
        let mut kept = None;
        loop {
            let phase = now.load(Ordering::Acquire);
            if phase >= parts.len() {
                break;
            }
            take(kept.get_or_insert_with(&local), phase);
            wait(|| now.load(Ordering::Acquire) != phase);
        }
    };
    rayon::in_place_scope(|scope| {
        // Helpers end when this is dropped, however the calling thread leaves.
        let _end = Last(&now, parts.len());
        for _ in 1..threads {
            scope.spawn(|_| help());
        }
        let mut kept = local();
        for (phase, parts) in parts.iter().enumerate() {
            take(&mut kept, phase);
            wait(|| done[phase].load(Ordering::Acquire) == *parts);
            now.store(phase + 1, Ordering::Release);
        }
    });
}

/// Counts a part as done.
struct Said<'a>(&'a AtomicUsize);

impl Drop for Said<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Ends the phases.
struct Last<'a>(&'a AtomicUsize, usize);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        self.0.store(self.1, Ordering::Release);
    }
}

/// Waits for something that comes in microseconds; where it does not, others may have the processor.
fn wait(until: impl Fn() -> bool) {
    let mut turns = 0u32;
    while !until() {
        turns += 1;
        match turns < 5000 {
            true => std::hint::spin_loop(),
            false => std::thread::yield_now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_begins_when_the_one_before_is_done() {
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let parts: Vec<usize> = (0..300).map(|i| i % 7).collect();
            let done: Vec<AtomicUsize> = parts.iter().map(|_| AtomicUsize::new(0)).collect();
            let work = |kept: &mut usize, phase: usize, part: usize| {
                assert!(part < parts[phase]);
                let before = |p: usize| done[p].load(Ordering::Relaxed) == parts[p];
                assert!((0..phase).all(before), "{threads} threads: phase {phase} began too early");
                *kept += 1;
                done[phase].fetch_add(1, Ordering::Relaxed);
            };
            pool.install(|| phases(&parts, || 0, work));
            assert!((0..parts.len()).all(|p| done[p].load(Ordering::Relaxed) == parts[p]), "{threads} threads");
            pool.install(|| phases(&[], || 0, work));
        }
    }

    #[test]
    fn a_part_that_panics_ends_all() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let work = |_: &mut (), phase: usize, _: usize| assert!(phase < 3, "as it should");
        let run = || pool.install(|| phases(&[4; 9], || (), work));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    }

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
