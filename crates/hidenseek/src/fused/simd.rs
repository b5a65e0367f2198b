//! Vectors of 16 numbers in three instruction sets, chosen at run time.
//!
//! Products are added with one rounding and sums are taken in one order, so that both wide sets give the same bytes.

/// Numbers of a vector.
pub(super) const LANES: usize = 16;

/// What the loops need of a vector of [`LANES`] numbers.
///
/// # Safety
/// Every function is to be called on a CPU that has the instruction set, inside [`Simd::enter`].
/// Pointers have to be valid for [`LANES`] numbers.
pub(super) trait Simd: Copy {
    type V: Copy;
    /// The registers hold eight accumulators of [`LANES`] numbers beside what is read.
    const MANY: bool;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// max(x, 0), not a number where `x` is none.
    unsafe fn relu(x: Self::V) -> Self::V;
    /// `x` where `by` is above 0, else 0.
    unsafe fn gate(x: Self::V, by: Self::V) -> Self::V;
    /// Lane `i` holds the sum of the lanes of `v[i]`: of those 8 apart first, then 4, 2 and 1.
    unsafe fn sums(v: [Self::V; LANES]) -> Self::V;
    /// Runs the job in code compiled for the instruction set.
    unsafe fn enter<J: Job>(job: J) -> J::Out;
}

/// A piece of work that is compiled for each instruction set.
pub(super) trait Job {
    type Out;
    /// # Safety
    /// The CPU has the instruction set `S`.
    unsafe fn run<S: Simd>(self) -> Self::Out;
}

/// Runs the job with the widest vectors that this CPU has.
pub(super) fn widest<J: Job>(job: J) -> J::Out {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU has it.
            return unsafe { x86::Avx512::enter(job) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { x86::Avx2::enter(job) };
        }
    }
    // SAFETY: needs no instruction set.
    unsafe { Plain::enter(job) }
}

/// Plain Rust. Without an instruction for it, a product is rounded before it is added: the exact way is slow there.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Simd for Plain {
    type V = [f32; LANES];
    const MANY: bool = false;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        unsafe { to.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        let exact = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
        std::array::from_fn(|i| if exact { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] })
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn relu(x: Self::V) -> Self::V {
        x.map(|x| if 0.0 > x { 0.0 } else { x })
    }
    #[inline(always)]
    unsafe fn gate(x: Self::V, by: Self::V) -> Self::V {
        std::array::from_fn(|i| if by[i] > 0.0 { x[i] } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn sums(v: [Self::V; LANES]) -> Self::V {
        v.map(|mut v| {
            for half in [8, 4, 2, 1] {
                for i in 0..half {
                    v[i] += v[i + half];
                }
            }
            v[0]
        })
    }
    unsafe fn enter<J: Job>(job: J) -> J::Out {
        unsafe { job.run::<Self>() }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::{Job, LANES, Simd};
    use std::arch::x86_64::*;

    // Functions with the instruction set, not closures: those would be compiled without it.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn quads512(v: &[__m512; LANES], k: usize) -> __m512 {
        // Quarters 0 + 2 and 1 + 3 of two vectors; then both sums of four: quarter q is that of v[4 q + k].
        let (a, b, c, d) = (v[k], v[4 + k], v[8 + k], v[12 + k]);
        let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
        let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
        _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn sums512(v: [__m512; LANES]) -> __m512 {
        let (p, q, r, s) = (quads512(&v, 0), quads512(&v, 1), quads512(&v, 2), quads512(&v, 3));
        let a = _mm512_add_ps(_mm512_unpacklo_ps(p, q), _mm512_unpackhi_ps(p, q));
        let b = _mm512_add_ps(_mm512_unpacklo_ps(r, s), _mm512_unpackhi_ps(r, s));
        _mm512_add_ps(_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xee>(a, b))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn quads256(v: &[[__m256; 2]; LANES], k: usize) -> __m256 {
        // Half h is that of v[k + 4 h].
        let (a, b) = (_mm256_add_ps(v[k][0], v[k][1]), _mm256_add_ps(v[k + 4][0], v[k + 4][1]));
        _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn half256(v: [[__m256; 2]; LANES], k: usize) -> __m256 {
        let (p, q, r, s) = (quads256(&v, k), quads256(&v, k + 1), quads256(&v, k + 2), quads256(&v, k + 3));
        let a = _mm256_add_ps(_mm256_unpacklo_ps(p, q), _mm256_unpackhi_ps(p, q));
        let b = _mm256_add_ps(_mm256_unpacklo_ps(r, s), _mm256_unpackhi_ps(r, s));
        _mm256_add_ps(_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b))
    }

    /// One register of 16 numbers.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512;

    impl Simd for Avx512 {
        type V = __m512;
        const MANY: bool = true;
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, v: __m512) {
            unsafe { _mm512_storeu_ps(to, v) }
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
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn relu(x: __m512) -> __m512 {
            unsafe { _mm512_max_ps(_mm512_setzero_ps(), x) }
        }
        #[inline(always)]
        unsafe fn gate(x: __m512, by: __m512) -> __m512 {
            unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(by, _mm512_setzero_ps()), x) }
        }
        #[inline(always)]
        unsafe fn sums(v: [__m512; LANES]) -> __m512 {
            unsafe { sums512(v) }
        }
        unsafe fn enter<J: Job>(job: J) -> J::Out {
            #[target_feature(enable = "avx512f")]
            unsafe fn inner<J: Job>(job: J) -> J::Out {
                unsafe { job.run::<Avx512>() }
            }
            unsafe { inner(job) }
        }
    }

    /// Two registers of 8 numbers.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2;

    impl Simd for Avx2 {
        type V = [__m256; 2];
        const MANY: bool = false;
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self::V {
            unsafe { [_mm256_set1_ps(x); 2] }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::V {
            unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, v: Self::V) {
            unsafe {
                _mm256_storeu_ps(to, v[0]);
                _mm256_storeu_ps(to.add(8), v[1]);
            }
        }
        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
        }
        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
        }
        #[inline(always)]
        unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
            unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        }
        #[inline(always)]
        unsafe fn relu(x: Self::V) -> Self::V {
            unsafe {
                let zero = _mm256_setzero_ps();
                [_mm256_max_ps(zero, x[0]), _mm256_max_ps(zero, x[1])]
            }
        }
        #[inline(always)]
        unsafe fn gate(x: Self::V, by: Self::V) -> Self::V {
            unsafe {
                let zero = _mm256_setzero_ps();
                [
                    _mm256_and_ps(x[0], _mm256_cmp_ps::<_CMP_GT_OQ>(by[0], zero)),
                    _mm256_and_ps(x[1], _mm256_cmp_ps::<_CMP_GT_OQ>(by[1], zero)),
                ]
            }
        }
        #[inline(always)]
        unsafe fn sums(v: [Self::V; LANES]) -> Self::V {
            unsafe { [half256(v, 0), half256(v, 8)] }
        }
        unsafe fn enter<J: Job>(job: J) -> J::Out {
            #[target_feature(enable = "avx2,fma")]
            unsafe fn inner<J: Job>(job: J) -> J::Out {
                unsafe { job.run::<Avx2>() }
            }
            unsafe { inner(job) }
        }
    }
}

#[cfg(test)]
pub(super) fn every<J: Job + Clone>(job: &J) -> Vec<J::Out> {
    // SAFETY: each CPU feature is checked.
    unsafe {
        let mut out = vec![Plain::enter(job.clone())];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                out.push(x86::Avx2::enter(job.clone()));
            }
            if is_x86_feature_detected!("avx512f") {
                out.push(x86::Avx512::enter(job.clone()));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Operations;

    impl Job for Operations {
        type Out = Vec<u32>;
        unsafe fn run<S: Simd>(self) -> Vec<u32> {
            let x: Vec<f32> = (0..256).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
            let mut out = vec![0.0f32; 64];
            unsafe {
                let v: [S::V; LANES] = std::array::from_fn(|i| S::load(x.as_ptr().add(16 * i)));
                S::store(out.as_mut_ptr(), S::sums(v));
                S::store(out.as_mut_ptr().add(16), S::relu(S::mul(v[0], S::splat(1.5))));
                S::store(out.as_mut_ptr().add(32), S::gate(v[1], v[2]));
                S::store(out.as_mut_ptr().add(48), S::relu(S::splat(f32::NAN)));
            }
            for i in 0..16 {
                let mean: f32 = x[16 * i..16 * i + 16].iter().sum();
                assert!((out[i] - mean).abs() < 1e-4);
                assert_eq!(out[16 + i], (x[i] * 1.5).max(0.0));
                assert_eq!(out[32 + i], if x[32 + i] > 0.0 { x[16 + i] } else { 0.0 });
                assert!(out[48 + i].is_nan());
            }
            out[..48].iter().map(|x| x.to_bits()).collect()
        }
    }

    #[test]
    fn every_instruction_set_of_this_machine() {
        // Nothing here is rounded twice: the plain form gives the same bytes too.
        let all = every(&Operations);
        assert!(all.iter().all(|out| *out == all[0]));
    }
}
