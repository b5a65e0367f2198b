//! Places where several threads write.

// Without a CPU backend nothing calls the kernels.
#![cfg_attr(not(any(feature = "flex", feature = "ndarray")), allow(dead_code))]

/// Where several threads write, each to places of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*mut f32);

// SAFETY: whoever writes sees to it that no place has two writers.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(to: &mut [f32]) -> Self {
        Self(to.as_mut_ptr())
    }

    /// `n` numbers from `i` on.
    ///
    /// # Safety
    /// They are inside of the slice, and nobody else reads or writes them as long as they are borrowed.
    #[inline(always)]
    pub(crate) unsafe fn part<'a>(self, i: usize, n: usize) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(i), n) }
    }

    /// # Safety
    /// `i` is inside of the slice.
    #[inline(always)]
    pub(crate) unsafe fn at(self, i: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(i) }
    }
}
