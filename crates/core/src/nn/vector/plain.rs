//! Vectors in plain Rust: for machines without the others, and what the others are held against.

use super::{Half, Job, Job16, LANES, Pair, Simd, Transpose};

/// Eight numbers.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Simd for Plain {
    type V = [f32; 8];
    const LANES: usize = 8;
    const WIDE: bool = false;
    const FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 8] {
        [x; 8]
    }
    #[inline(always)]
    fn add(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn mul(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn fma(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| self.mul_add(a[i], b[i], c[i]))
    }
    #[inline(always)]
    fn relu(self, x: [f32; 8]) -> [f32; 8] {
        x.map(|x| if 0.0 > x { 0.0 } else { x })
    }
    #[inline(always)]
    fn gate(self, x: [f32; 8], by: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if by[i] > 0.0 { x[i] } else { 0.0 })
    }
    #[inline(always)]
    fn totals(self, v: [[f32; 8]; 4]) -> [[f32; 8]; 4] {
        v.map(|v| {
            let [a, b, c, d] = std::array::from_fn(|i| v[i] + v[i + 4]);
            [(a + b) + (c + d); 8]
        })
    }
    #[inline(always)]
    fn first(self, v: [f32; 8]) -> f32 {
        v[0]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; 8] {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, n: usize) -> [f32; 8] {
        // SAFETY: the caller's promise.
        std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: [f32; 8]) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, v: [f32; 8], n: usize) {
        // SAFETY: the caller's promise.
        v.into_iter().enumerate().take(n).for_each(|(i, x)| unsafe { to.add(i).write(x) });
    }
}

impl Half for Plain {
    #[inline(always)]
    fn sums8(self, v: [[f32; 8]; 8]) -> [f32; 8] {
        v.map(|v| {
            let four: [f32; 4] = std::array::from_fn(|i| v[i] + v[i + 4]);
            (four[0] + four[2]) + (four[1] + four[3])
        })
    }
    #[inline(always)]
    fn nibbles8(self, q: [u8; 8], d: [f32; 8], m: [f32; 8]) -> [[f32; 8]; 2] {
        [
            std::array::from_fn(|i| self.mul_add(d[i], f32::from(q[i] & 15), m[i])),
            std::array::from_fn(|i| self.mul_add(d[i], f32::from(q[i] >> 4), m[i])),
        ]
    }
    #[inline(always)]
    fn bytes8(self, q: [i8; 8]) -> [f32; 8] {
        q.map(f32::from)
    }
    #[inline(always)]
    fn enter<J: Job16>(self, job: J) -> J::Out {
        job.run(Pair(self))
    }
}

impl Transpose for Plain {
    #[inline(always)]
    unsafe fn transpose(
        self,
        from: *const f32,
        step: usize,
        rows: usize,
        columns: usize,
        to: *mut f32,
        to_step: usize,
    ) {
        for c in 0..columns {
            for r in 0..rows {
                // SAFETY: the caller's promise.
                unsafe { to.add(c * to_step + r).write(*from.add(r * step + c)) }
            }
        }
    }
    #[inline(always)]
    fn run<J: Job>(self, job: J) -> J::Out {
        job.run(self)
    }
}

const _: () = assert!(<Pair<Plain> as Simd>::LANES == LANES);
