//! AVX-512 and AVX2 with FMA. What the crate `pulp` gives is a proof that the CPU has them, and with it the intrinsics
//! without a promise; only those that read or write memory are the caller's to answer for.

use std::arch::x86_64::*;

use pulp::NullaryFnOnce;
use pulp::x86::{V3, V4};

use super::{Half, Job, Job16, LANES, Pair, Simd, Simd16, Transpose};

/// A job with the vectors that it runs with, as `pulp` calls it.
struct Call<S, J>(S, J);

impl<S: Transpose, J: Job> NullaryFnOnce for Call<S, J> {
    type Output = J::Out;
    #[inline(always)]
    fn call(self) -> J::Out {
        self.1.run(self.0)
    }
}

/// The same with vectors of 16 numbers.
struct Call16<S, J>(S, J);

impl<S: Simd16, J: Job16> NullaryFnOnce for Call16<S, J> {
    type Output = J::Out;
    #[inline(always)]
    fn call(self) -> J::Out {
        self.1.run(self.0)
    }
}

/// 16 numbers in a register.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(V4);

impl Avx512 {
    /// `None` where this CPU does not have it.
    pub fn new() -> Option<Self> {
        V4::try_new().map(Self)
    }

    /// The first `n` lanes.
    #[inline(always)]
    fn lanes(n: usize) -> __mmask16 {
        (0xffff_u32 >> (16 - n.min(16))) as __mmask16
    }

    /// Quarters 0 + 2 and 1 + 3 of two vectors; then both sums of four: quarter q belongs to vector q.
    #[inline(always)]
    fn quads(self, [a, b, c, d]: [__m512; 4]) -> __m512 {
        let f = self.0.avx512f;
        let ab = f._mm512_add_ps(f._mm512_shuffle_f32x4::<0x44>(a, b), f._mm512_shuffle_f32x4::<0xee>(a, b));
        let cd = f._mm512_add_ps(f._mm512_shuffle_f32x4::<0x44>(c, d), f._mm512_shuffle_f32x4::<0xee>(c, d));
        f._mm512_add_ps(f._mm512_shuffle_f32x4::<0x88>(ab, cd), f._mm512_shuffle_f32x4::<0xdd>(ab, cd))
    }
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const WIDE: bool = true;
    const FMA: bool = true;
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        self.0.avx512f._mm512_set1_ps(x)
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        self.0.avx512f._mm512_add_ps(a, b)
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        self.0.avx512f._mm512_mul_ps(a, b)
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        self.0.avx512f._mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    fn relu(self, x: __m512) -> __m512 {
        self.0.avx512f._mm512_max_ps(self.zero(), x)
    }
    #[inline(always)]
    fn gate(self, x: __m512, by: __m512) -> __m512 {
        let f = self.0.avx512f;
        f._mm512_maskz_mov_ps(f._mm512_cmp_ps_mask::<_CMP_GT_OQ>(by, self.zero()), x)
    }
    #[inline(always)]
    fn totals(self, v: [__m512; 4]) -> [__m512; 4] {
        let f = self.0.avx512f;
        let x = self.quads(v);
        let x = f._mm512_add_ps(x, f._mm512_permute_ps::<0xb1>(x));
        let x = f._mm512_add_ps(x, f._mm512_permute_ps::<0x4e>(x));
        [
            f._mm512_shuffle_f32x4::<0x00>(x, x),
            f._mm512_shuffle_f32x4::<0x55>(x, x),
            f._mm512_shuffle_f32x4::<0xaa>(x, x),
            f._mm512_shuffle_f32x4::<0xff>(x, x),
        ]
    }
    #[inline(always)]
    fn first(self, v: __m512) -> f32 {
        let quarter = self.0.avx512f._mm512_castps512_ps128(v);
        self.0.sse._mm_cvtss_f32(quarter)
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { self.0.avx512f._mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, n: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { self.0.avx512f._mm512_maskz_loadu_ps(Self::lanes(n), from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m512) {
        // SAFETY: the caller's promise.
        unsafe { self.0.avx512f._mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, v: __m512, n: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.0.avx512f._mm512_mask_storeu_ps(to, Self::lanes(n), v) }
    }
}

impl Simd16 for Avx512 {
    #[inline(always)]
    fn sums(self, v: [__m512; LANES]) -> __m512 {
        let f = self.0.avx512f;
        // Written out: a closure would be compiled without the instructions.
        let p = self.quads([v[0], v[4], v[8], v[12]]);
        let q = self.quads([v[1], v[5], v[9], v[13]]);
        let r = self.quads([v[2], v[6], v[10], v[14]]);
        let s = self.quads([v[3], v[7], v[11], v[15]]);
        let a = f._mm512_add_ps(f._mm512_unpacklo_ps(p, q), f._mm512_unpackhi_ps(p, q));
        let b = f._mm512_add_ps(f._mm512_unpacklo_ps(r, s), f._mm512_unpackhi_ps(r, s));
        f._mm512_add_ps(f._mm512_shuffle_ps::<0x44>(a, b), f._mm512_shuffle_ps::<0xee>(a, b))
    }
    /// The 16 values are a register, of which the lowest four bits of a lane choose one.
    #[inline(always)]
    fn nibbles(self, q: &[u8; LANES], d: __m512, m: __m512) -> [__m512; 2] {
        let f = self.0.avx512f;
        let all = f._mm512_setr_ps(0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.);
        let values = f._mm512_fmadd_ps(d, all, m);
        let q = f._mm512_cvtepu8_epi32(pulp::cast(*q));
        [f._mm512_permutexvar_ps(q, values), f._mm512_permutexvar_ps(f._mm512_srli_epi32::<4>(q), values)]
    }
    #[inline(always)]
    fn bytes(self, q: &[i8; LANES]) -> __m512 {
        let f = self.0.avx512f;
        f._mm512_cvtepi32_ps(f._mm512_cvtepi8_epi32(pulp::cast(*q)))
    }
    #[inline(always)]
    fn halves(self, bits: &[u16; LANES]) -> __m512 {
        self.0.avx512f._mm512_cvtph_ps(pulp::cast(*bits))
    }
    #[inline(always)]
    fn run16<J: Job16>(self, job: J) -> J::Out {
        self.0.vectorize(Call16(self, job))
    }
}

impl Transpose for Avx512 {
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
        let f = self.0.avx512f;
        let mut v = [self.zero(); 16];
        for (r, v) in v.iter_mut().enumerate() {
            if r < rows {
                // SAFETY: the caller's promise.
                *v = unsafe { self.load_first(from.add(r * step), columns) };
            }
        }
        // Pairs, then quads within 128-bit quarters, then the quarters.
        let mut a = v;
        for i in 0..8 {
            a[2 * i] = f._mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]);
            a[2 * i + 1] = f._mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]);
        }
        let mut b = a;
        for i in 0..4 {
            let (p, q) = (f._mm512_castps_pd(a[4 * i]), f._mm512_castps_pd(a[4 * i + 1]));
            let (r, s) = (f._mm512_castps_pd(a[4 * i + 2]), f._mm512_castps_pd(a[4 * i + 3]));
            b[4 * i] = f._mm512_castpd_ps(f._mm512_unpacklo_pd(p, r));
            b[4 * i + 1] = f._mm512_castpd_ps(f._mm512_unpackhi_pd(p, r));
            b[4 * i + 2] = f._mm512_castpd_ps(f._mm512_unpacklo_pd(q, s));
            b[4 * i + 3] = f._mm512_castpd_ps(f._mm512_unpackhi_pd(q, s));
        }
        // b[4 i + j], quarter q: column 4 q + j of rows 4 i .. 4 i + 4.
        let mut c = b;
        for j in 0..4 {
            let even = f._mm512_shuffle_f32x4::<0x88>(b[j], b[4 + j]);
            let odd = f._mm512_shuffle_f32x4::<0xdd>(b[j], b[4 + j]);
            let even2 = f._mm512_shuffle_f32x4::<0x88>(b[8 + j], b[12 + j]);
            let odd2 = f._mm512_shuffle_f32x4::<0xdd>(b[8 + j], b[12 + j]);
            c[j] = f._mm512_shuffle_f32x4::<0x88>(even, even2);
            c[8 + j] = f._mm512_shuffle_f32x4::<0xdd>(even, even2);
            c[4 + j] = f._mm512_shuffle_f32x4::<0x88>(odd, odd2);
            c[12 + j] = f._mm512_shuffle_f32x4::<0xdd>(odd, odd2);
        }
        for (i, c) in c.into_iter().enumerate() {
            if i < columns {
                // SAFETY: the caller's promise.
                unsafe { self.store_first(to.add(i * to_step), c, rows) };
            }
        }
    }
    #[inline(always)]
    fn run<J: Job>(self, job: J) -> J::Out {
        self.0.vectorize(Call(self, job))
    }
}

/// 8 numbers in a register.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(V3);

impl Avx2 {
    /// `None` where this CPU does not have it.
    pub fn new() -> Option<Self> {
        V3::try_new().map(Self)
    }

    /// The first `n` lanes.
    #[inline(always)]
    fn lanes(self, n: usize) -> __m256i {
        let lane = self.0.avx._mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        self.0.avx2._mm256_cmpgt_epi32(self.0.avx._mm256_set1_epi32(n.min(8) as i32), lane)
    }

    /// The sums of both halves of two vectors: half h is that of vector h.
    #[inline(always)]
    fn halves(self, a: __m256, b: __m256) -> __m256 {
        let f = self.0.avx;
        f._mm256_add_ps(f._mm256_permute2f128_ps::<0x20>(a, b), f._mm256_permute2f128_ps::<0x31>(a, b))
    }

    /// The totals of two vectors, in all lanes.
    #[inline(always)]
    fn pair(self, a: __m256, b: __m256) -> [__m256; 2] {
        let f = self.0.avx;
        let x = self.halves(a, b);
        let x = f._mm256_add_ps(x, f._mm256_permute_ps::<0xb1>(x));
        let x = f._mm256_add_ps(x, f._mm256_permute_ps::<0x4e>(x));
        [f._mm256_permute2f128_ps::<0x00>(x, x), f._mm256_permute2f128_ps::<0x11>(x, x)]
    }
}

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const WIDE: bool = false;
    const FMA: bool = true;
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        self.0.avx._mm256_set1_ps(x)
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        self.0.avx._mm256_add_ps(a, b)
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        self.0.avx._mm256_mul_ps(a, b)
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        self.0.fma._mm256_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    fn relu(self, x: __m256) -> __m256 {
        self.0.avx._mm256_max_ps(self.zero(), x)
    }
    #[inline(always)]
    fn gate(self, x: __m256, by: __m256) -> __m256 {
        self.0.avx._mm256_and_ps(x, self.0.avx._mm256_cmp_ps::<_CMP_GT_OQ>(by, self.zero()))
    }
    #[inline(always)]
    fn totals(self, [a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
        let ([a, b], [c, d]) = (self.pair(a, b), self.pair(c, d));
        [a, b, c, d]
    }
    #[inline(always)]
    fn first(self, v: __m256) -> f32 {
        self.0.avx._mm256_cvtss_f32(v)
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { self.0.avx._mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, n: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { self.0.avx._mm256_maskload_ps(from, self.lanes(n)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m256) {
        // SAFETY: the caller's promise.
        unsafe { self.0.avx._mm256_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, v: __m256, n: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.0.avx._mm256_maskstore_ps(to, self.lanes(n), v) }
    }
}

impl Half for Avx2 {
    #[inline(always)]
    fn sums8(self, v: [__m256; 8]) -> __m256 {
        let f = self.0.avx;
        // Half h is that of v[k + 4 h].
        let [p, q, r, s] =
            [self.halves(v[0], v[4]), self.halves(v[1], v[5]), self.halves(v[2], v[6]), self.halves(v[3], v[7])];
        let a = f._mm256_add_ps(f._mm256_unpacklo_ps(p, q), f._mm256_unpackhi_ps(p, q));
        let b = f._mm256_add_ps(f._mm256_unpacklo_ps(r, s), f._mm256_unpackhi_ps(r, s));
        f._mm256_add_ps(f._mm256_shuffle_ps::<0x44>(a, b), f._mm256_shuffle_ps::<0xee>(a, b))
    }
    #[inline(always)]
    fn nibbles8(self, q: [u8; 8], d: __m256, m: __m256) -> [__m256; 2] {
        let f = self.0.avx2;
        let q = f._mm256_cvtepu8_epi32(self.0.sse2._mm_set_epi64x(0, i64::from_le_bytes(q)));
        let low = f._mm256_and_si256(q, self.0.avx._mm256_set1_epi32(15));
        let high = f._mm256_srli_epi32::<4>(q);
        let (low, high) = (self.0.avx._mm256_cvtepi32_ps(low), self.0.avx._mm256_cvtepi32_ps(high));
        [self.fma(d, low, m), self.fma(d, high, m)]
    }
    #[inline(always)]
    fn bytes8(self, q: [i8; 8]) -> __m256 {
        let q: [u8; 8] = pulp::cast(q);
        let q = self.0.sse2._mm_set_epi64x(0, i64::from_le_bytes(q));
        self.0.avx._mm256_cvtepi32_ps(self.0.avx2._mm256_cvtepi8_epi32(q))
    }
    #[inline(always)]
    fn enter<J: Job16>(self, job: J) -> J::Out {
        self.0.vectorize(Call16(Pair(self), job))
    }
}

impl Transpose for Avx2 {
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
        let f = self.0.avx;
        let mut v = [self.zero(); 8];
        for (r, v) in v.iter_mut().enumerate() {
            if r < rows {
                // SAFETY: the caller's promise.
                *v = unsafe { self.load_first(from.add(r * step), columns) };
            }
        }
        let mut a = v;
        for i in 0..4 {
            a[2 * i] = f._mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
            a[2 * i + 1] = f._mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
        }
        let mut b = a;
        for i in 0..2 {
            b[4 * i] = f._mm256_shuffle_ps::<0x44>(a[4 * i], a[4 * i + 2]);
            b[4 * i + 1] = f._mm256_shuffle_ps::<0xee>(a[4 * i], a[4 * i + 2]);
            b[4 * i + 2] = f._mm256_shuffle_ps::<0x44>(a[4 * i + 1], a[4 * i + 3]);
            b[4 * i + 3] = f._mm256_shuffle_ps::<0xee>(a[4 * i + 1], a[4 * i + 3]);
        }
        let mut c = b;
        for j in 0..4 {
            c[j] = f._mm256_permute2f128_ps::<0x20>(b[j], b[4 + j]);
            c[4 + j] = f._mm256_permute2f128_ps::<0x31>(b[j], b[4 + j]);
        }
        for (i, c) in c.into_iter().enumerate() {
            if i < columns {
                // SAFETY: the caller's promise.
                unsafe { self.store_first(to.add(i * to_step), c, rows) };
            }
        }
    }
    #[inline(always)]
    fn run<J: Job>(self, job: J) -> J::Out {
        self.0.vectorize(Call(self, job))
    }
}
