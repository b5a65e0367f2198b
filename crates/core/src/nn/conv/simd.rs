//! Vectors of f32 in three widths of instruction set, chosen at run time.

/// What a kernel needs of a vector of [`Simd::LANES`] numbers.
///
/// # Safety
/// Every function is to be called on a CPU that has the instruction set, best inside
/// [`Simd::enter`], where it becomes one instruction. Pointers have to be valid for what is read
/// or written: `LANES` numbers, or the first `n <= LANES`.
pub(super) trait Simd: Copy + Send + Sync + 'static {
    type V: Copy;
    const LANES: usize;
    /// 32 registers, not 16: a tile may span two vectors of channels.
    const IS_WIDE: bool;
    /// Vectors of output channels that one tile spans.
    const WIDE: usize = if Self::IS_WIDE { 2 } else { 1 };
    /// Registers for sums, beside those for factors.
    const SUMS: usize = if Self::IS_WIDE { 24 } else { 12 };
    unsafe fn zero() -> Self::V;
    unsafe fn splat(x: *const f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn load_first(from: *const f32, n: usize) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    unsafe fn store_first(to: *mut f32, v: Self::V, n: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `to[c * to_step + r] = from[r * from_step + c]` for `rows`, `columns` of at most `LANES`.
    unsafe fn transpose(from: *const f32, from_step: usize, rows: usize, columns: usize, to: *mut f32, to_step: usize);
    /// Runs the job in code compiled for the instruction set.
    unsafe fn enter<J: Job>(job: J);
}

/// A piece of work that is compiled for each instruction set.
pub(super) trait Job {
    /// # Safety
    /// The job's own conditions, and the CPU has the instruction set `S`.
    unsafe fn run<S: Simd>(self);
}

/// An instruction set that this CPU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Plain,
}

impl Isa {
    /// Those of this CPU, the widest vectors first.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let there = [
            #[cfg(target_arch = "x86_64")]
            is_x86_feature_detected!("avx512f").then_some(Kind::Avx512),
            #[cfg(target_arch = "x86_64")]
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Kind::Avx2),
            Some(Kind::Plain),
        ];
        there.into_iter().flatten().map(Self)
    }

    /// The one with the widest vectors.
    pub(super) fn widest() -> Self {
        Self::all().next().unwrap_or(Self(Kind::Plain))
    }

    /// Runs the job with it.
    ///
    /// # Safety
    /// The job's own conditions.
    pub(super) unsafe fn run<J: Job>(self, job: J) {
        // SAFETY: only `all` makes an `Isa`, of what the CPU has; the rest is the caller's promise.
        unsafe {
            match self.0 {
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 => x86::Avx512::enter(job),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => x86::Avx2::enter(job),
                Kind::Plain => Plain::enter(job),
            }
        }
    }
}

/// Eight lanes in plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Simd for Plain {
    type V = [f32; 8];
    const LANES: usize = 8;
    const IS_WIDE: bool = false;
    #[inline(always)]
    unsafe fn zero() -> [f32; 8] {
        [0.0; 8]
    }
    #[inline(always)]
    unsafe fn splat(x: *const f32) -> [f32; 8] {
        unsafe { [*x; 8] }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 8] {
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> [f32; 8] {
        std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: [f32; 8]) {
        unsafe { to.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, v: [f32; 8], n: usize) {
        for (i, x) in v.into_iter().enumerate().take(n) {
            unsafe { to.add(i).write(x) }
        }
    }
    #[inline(always)]
    unsafe fn add(mut a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        for i in 0..8 {
            a[i] += b[i];
        }
        a
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 8], b: [f32; 8], mut c: [f32; 8]) -> [f32; 8] {
        for i in 0..8 {
            c[i] += a[i] * b[i];
        }
        c
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, step: usize, rows: usize, columns: usize, to: *mut f32, to_step: usize) {
        for c in 0..columns {
            for r in 0..rows {
                unsafe { to.add(c * to_step + r).write(*from.add(r * step + c)) }
            }
        }
    }
    unsafe fn enter<J: Job>(job: J) {
        unsafe { job.run::<Self>() }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::{Job, Simd};
    use std::arch::x86_64::*;

    /// 16 lanes.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512;

    #[inline(always)]
    fn first16(n: usize) -> __mmask16 {
        (0xffff_u32 >> (16 - n.min(16))) as __mmask16
    }

    impl Simd for Avx512 {
        type V = __m512;
        const LANES: usize = 16;
        const IS_WIDE: bool = true;
        #[inline(always)]
        unsafe fn zero() -> __m512 {
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(x: *const f32) -> __m512 {
            unsafe { _mm512_set1_ps(*x) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, n: usize) -> __m512 {
            unsafe { _mm512_maskz_loadu_ps(first16(n), from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, v: __m512) {
            unsafe { _mm512_storeu_ps(to, v) }
        }
        #[inline(always)]
        unsafe fn store_first(to: *mut f32, v: __m512, n: usize) {
            unsafe { _mm512_mask_storeu_ps(to, first16(n), v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn transpose(from: *const f32, step: usize, rows: usize, columns: usize, to: *mut f32, to_step: usize) {
            let (width, height) = (first16(columns), first16(rows));
            unsafe {
                let mut v = [_mm512_setzero_ps(); 16];
                for (r, v) in v.iter_mut().enumerate() {
                    if r < rows {
                        *v = _mm512_maskz_loadu_ps(width, from.add(r * step));
                    }
                }
                // Pairs, then quads within 128-bit quarters, then the quarters.
                let mut a = v;
                for i in 0..8 {
                    a[2 * i] = _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]);
                    a[2 * i + 1] = _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]);
                }
                let mut b = a;
                for i in 0..4 {
                    let [p, q, r, s] =
                        [a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3]].map(|x| _mm512_castps_pd(x));
                    b[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(p, r));
                    b[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(p, r));
                    b[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(q, s));
                    b[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(q, s));
                }
                // b[4 i + j], quarter q: column 4 q + j of rows 4 i .. 4 i + 4.
                let mut c = b;
                for j in 0..4 {
                    let even = _mm512_shuffle_f32x4::<0x88>(b[j], b[4 + j]);
                    let odd = _mm512_shuffle_f32x4::<0xdd>(b[j], b[4 + j]);
                    let even2 = _mm512_shuffle_f32x4::<0x88>(b[8 + j], b[12 + j]);
                    let odd2 = _mm512_shuffle_f32x4::<0xdd>(b[8 + j], b[12 + j]);
                    c[j] = _mm512_shuffle_f32x4::<0x88>(even, even2);
                    c[8 + j] = _mm512_shuffle_f32x4::<0xdd>(even, even2);
                    c[4 + j] = _mm512_shuffle_f32x4::<0x88>(odd, odd2);
                    c[12 + j] = _mm512_shuffle_f32x4::<0xdd>(odd, odd2);
                }
                for (i, c) in c.into_iter().enumerate() {
                    if i < columns {
                        _mm512_mask_storeu_ps(to.add(i * to_step), height, c);
                    }
                }
            }
        }
        unsafe fn enter<J: Job>(job: J) {
            #[target_feature(enable = "avx512f")]
            unsafe fn inner<J: Job>(job: J) {
                unsafe { job.run::<Avx512>() }
            }
            unsafe { inner(job) }
        }
    }

    /// Eight lanes.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2;

    /// # Safety
    /// The CPU has AVX2.
    #[inline(always)]
    unsafe fn first8(n: usize) -> __m256i {
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lane)
        }
    }

    impl Simd for Avx2 {
        type V = __m256;
        const LANES: usize = 8;
        const IS_WIDE: bool = false;
        #[inline(always)]
        unsafe fn zero() -> __m256 {
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(x: *const f32) -> __m256 {
            unsafe { _mm256_broadcast_ss(&*x) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, n: usize) -> __m256 {
            unsafe { _mm256_maskload_ps(from, first8(n)) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(to, v) }
        }
        #[inline(always)]
        unsafe fn store_first(to: *mut f32, v: __m256, n: usize) {
            unsafe { _mm256_maskstore_ps(to, first8(n), v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn transpose(from: *const f32, step: usize, rows: usize, columns: usize, to: *mut f32, to_step: usize) {
            unsafe {
                let width = first8(columns);
                let mut v = [_mm256_setzero_ps(); 8];
                for (r, v) in v.iter_mut().enumerate() {
                    if r < rows {
                        *v = _mm256_maskload_ps(from.add(r * step), width);
                    }
                }
                let mut a = v;
                for i in 0..4 {
                    a[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
                    a[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
                }
                let mut b = a;
                for i in 0..2 {
                    b[4 * i] = _mm256_shuffle_ps::<0x44>(a[4 * i], a[4 * i + 2]);
                    b[4 * i + 1] = _mm256_shuffle_ps::<0xee>(a[4 * i], a[4 * i + 2]);
                    b[4 * i + 2] = _mm256_shuffle_ps::<0x44>(a[4 * i + 1], a[4 * i + 3]);
                    b[4 * i + 3] = _mm256_shuffle_ps::<0xee>(a[4 * i + 1], a[4 * i + 3]);
                }
                let mut c = b;
                for j in 0..4 {
                    c[j] = _mm256_permute2f128_ps::<0x20>(b[j], b[4 + j]);
                    c[4 + j] = _mm256_permute2f128_ps::<0x31>(b[j], b[4 + j]);
                }
                for (i, c) in c.into_iter().enumerate() {
                    if i < columns {
                        Self::store_first(to.add(i * to_step), c, rows);
                    }
                }
            }
        }
        unsafe fn enter<J: Job>(job: J) {
            #[target_feature(enable = "avx2,fma")]
            unsafe fn inner<J: Job>(job: J) {
                unsafe { job.run::<Avx2>() }
            }
            unsafe { inner(job) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Transposes;

    impl Job for Transposes {
        unsafe fn run<S: Simd>(self) {
            let from: Vec<f32> = (0..400).map(|i| i as f32).collect();
            for rows in 1..=S::LANES {
                for columns in 1..=S::LANES {
                    let mut to = vec![-1.0; 400];
                    unsafe { S::transpose(from.as_ptr(), 19, rows, columns, to.as_mut_ptr(), 21) };
                    for (i, &found) in to.iter().enumerate() {
                        let (c, r) = (i / 21, i % 21);
                        let expected = if c < columns && r < rows { from[r * 19 + c] } else { -1.0 };
                        assert_eq!(found, expected, "{rows} x {columns}: row {r}, column {c}");
                    }
                }
            }
            let mut sum = [7.0; 16];
            unsafe { S::store_first(sum.as_mut_ptr(), S::load_first(from.as_ptr().add(1), 3), 4) };
            assert_eq!(sum[..5], [1.0, 2.0, 3.0, 0.0, 7.0]);
        }
    }

    #[test]
    fn every_instruction_set_of_this_machine() {
        for isa in Isa::all() {
            unsafe { isa.run(Transposes) }
        }
    }
}
