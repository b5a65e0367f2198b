//! What the kernels on slices share: vectors of 16 numbers in three instruction sets, chosen at run time; places where
//! several threads write.
//!
//! Products are added with one rounding and sums are taken in one order, so that both wide sets give the same bytes.

// Without a CPU backend nothing calls the kernels.
#![cfg_attr(not(any(feature = "flex", feature = "ndarray")), allow(dead_code))]

/// Numbers of a vector.
pub(crate) const LANES: usize = 16;

/// What the loops need of a vector of [`LANES`] numbers.
///
/// # Safety
/// Every function is to be called on a CPU that has the instruction set, inside [`Simd::enter`]. Pointers have to be
/// valid for [`LANES`] numbers.
pub(crate) trait Simd: Copy {
    type V: Copy;
    /// There are 32 registers for a whole vector each.
    const WIDE: bool;
    /// `a b + c` with one rounding is one instruction.
    const FMA: bool;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The total of each of four vectors, in all lanes: of lanes 8 apart first, then 4, 1 and 2.
    unsafe fn totals(v: [Self::V; 4]) -> [Self::V; 4];
    /// The first lane.
    unsafe fn first(v: Self::V) -> f32;
    /// Runs the job in code compiled for the instruction set.
    unsafe fn enter<J: Job>(job: J);

    /// The total of one vector, as [`Simd::totals`] takes it.
    #[inline(always)]
    unsafe fn total(v: Self::V) -> f32 {
        unsafe { Self::first(Self::totals([v; 4])[0]) }
    }

    /// The first `n` numbers, or [`LANES`] where there are more, padded with zeros.
    ///
    /// # Safety
    /// `from` is valid for them.
    #[inline(always)]
    unsafe fn load_part(from: *const f32, n: usize) -> Self::V {
        unsafe {
            if n >= LANES {
                return Self::load(from);
            }
            let mut padded = [0.0; LANES];
            std::ptr::copy_nonoverlapping(from, padded.as_mut_ptr(), n);
            Self::load(padded.as_ptr())
        }
    }

    /// Stores the first `n` numbers, or [`LANES`] where there are more.
    ///
    /// # Safety
    /// `to` is valid for them.
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, n: usize, v: Self::V) {
        unsafe {
            if n >= LANES {
                return Self::store(to, v);
            }
            let mut padded = [0.0; LANES];
            Self::store(padded.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(padded.as_ptr(), to, n);
        }
    }
}

/// A piece of work that is compiled for each instruction set.
pub(crate) trait Job {
    /// # Safety
    /// The job's own conditions, and the CPU has the instruction set `S`.
    unsafe fn run<S: Simd>(self);
}

/// An instruction set that this CPU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Isa(Kind);

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
    pub(crate) fn all() -> impl Iterator<Item = Self> {
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
    pub(crate) fn widest() -> Self {
        Self::all().next().unwrap_or(Self(Kind::Plain))
    }

    /// Runs the job.
    ///
    /// # Safety
    /// The job's own conditions.
    pub(crate) unsafe fn run<J: Job>(self, job: J) {
        // SAFETY: an `Isa` is made where the CPU has it.
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

/// Runs the job with the widest vectors that this CPU has.
///
/// # Safety
/// The job's own conditions.
pub(crate) unsafe fn widest<J: Job>(job: J) {
    unsafe { Isa::widest().run(job) }
}

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

    /// # Safety
    /// `i` is inside of the slice.
    #[inline(always)]
    pub(crate) unsafe fn at(self, i: usize) -> *mut f32 {
        unsafe { self.0.add(i) }
    }
}

/// `a b + c`, with one rounding where that is one instruction.
#[inline(always)]
pub(crate) fn add<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
    if S::FMA { a.mul_add(b, c) } else { a * b + c }
}

/// exp for arguments from -87 to 0, without a call or a branch.
#[inline(always)]
pub(crate) fn exp<S: Simd>(x: f32) -> f32 {
    // exp(x) = 2^n exp(r): adding 1.5 2^23 rounds to a whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = add::<S>(p, r, c);
    }
    p * f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23)
}

/// Plain Rust. Without an instruction for it, a product is rounded before it is added: the exact way is slow there.
#[derive(Clone, Copy)]
struct Plain;

impl Simd for Plain {
    type V = [f32; LANES];
    const WIDE: bool = false;
    const FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
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
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| if Self::FMA { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] })
    }
    #[inline(always)]
    unsafe fn totals(v: [Self::V; 4]) -> [Self::V; 4] {
        v.map(|mut v| {
            for i in 0..8 {
                v[i] += v[i + 8];
            }
            for i in 0..4 {
                v[i] += v[i + 4];
            }
            [(v[0] + v[1]) + (v[2] + v[3]); LANES]
        })
    }
    #[inline(always)]
    unsafe fn first(v: Self::V) -> f32 {
        v[0]
    }
    unsafe fn enter<J: Job>(job: J) {
        unsafe { job.run::<Self>() }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::{Job, Simd};
    use std::arch::x86_64::*;

    // Functions with the instruction set, not closures: those would be compiled without it.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn totals512([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
        // Quarters 0 + 2 and 1 + 3 of two vectors; then both sums of four: quarter q belongs to vector q.
        let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
        let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
        let x = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
        let x = _mm512_add_ps(x, _mm512_permute_ps::<0xb1>(x));
        let x = _mm512_add_ps(x, _mm512_permute_ps::<0x4e>(x));
        [
            _mm512_shuffle_f32x4::<0x00>(x, x),
            _mm512_shuffle_f32x4::<0x55>(x, x),
            _mm512_shuffle_f32x4::<0xaa>(x, x),
            _mm512_shuffle_f32x4::<0xff>(x, x),
        ]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn pair256(a: [__m256; 2], b: [__m256; 2]) -> [[__m256; 2]; 2] {
        let (a, b) = (_mm256_add_ps(a[0], a[1]), _mm256_add_ps(b[0], b[1]));
        let x = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
        let x = _mm256_add_ps(x, _mm256_permute_ps::<0xb1>(x));
        let x = _mm256_add_ps(x, _mm256_permute_ps::<0x4e>(x));
        [[_mm256_permute2f128_ps::<0x00>(x, x); 2], [_mm256_permute2f128_ps::<0x11>(x, x); 2]]
    }

    /// One register of 16 numbers.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512;

    impl Simd for Avx512 {
        type V = __m512;
        const WIDE: bool = true;
        const FMA: bool = true;
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
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn totals(v: [__m512; 4]) -> [__m512; 4] {
            unsafe { totals512(v) }
        }
        #[inline(always)]
        unsafe fn first(v: __m512) -> f32 {
            unsafe { _mm512_cvtss_f32(v) }
        }
        unsafe fn enter<J: Job>(job: J) {
            #[target_feature(enable = "avx512f")]
            unsafe fn inner<J: Job>(job: J) {
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
        const WIDE: bool = false;
        const FMA: bool = true;
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
        unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
            unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        }
        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
        }
        #[inline(always)]
        unsafe fn totals([a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
            unsafe {
                let ([a, b], [c, d]) = (pair256(a, b), pair256(c, d));
                [a, b, c, d]
            }
        }
        #[inline(always)]
        unsafe fn first(v: Self::V) -> f32 {
            unsafe { _mm256_cvtss_f32(v[0]) }
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

    struct Operations<'a>(&'a mut Vec<Vec<u32>>);

    impl Job for Operations<'_> {
        unsafe fn run<S: Simd>(self) {
            let x: Vec<f32> = (0..64).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
            let mut out = vec![-7.0f32; 64];
            unsafe {
                let v: [S::V; 4] = std::array::from_fn(|i| S::load(x.as_ptr().add(LANES * i)));
                for (i, total) in S::totals(v).into_iter().enumerate() {
                    S::store(out.as_mut_ptr().add(LANES * i), total);
                    let sum: f32 = x[LANES * i..][..LANES].iter().sum();
                    assert!(out[LANES * i..][..LANES].iter().all(|x| (x - sum).abs() < 1e-4));
                    assert_eq!(S::total(v[i]), out[LANES * i]);
                }
                let part = S::fma(S::splat(2.0), S::load_part(x.as_ptr(), 3), S::splat(0.5));
                S::store_part(out.as_mut_ptr(), 5, part);
            }
            let expected = [0, 1, 2].map(|i| 2.0f32.mul_add(x[i], 0.5));
            assert_eq!(out[..3], expected);
            assert_eq!(out[3..5], [0.5; 2]);
            assert_ne!(out[5], 0.5);
            self.0.push(out.iter().map(|x| x.to_bits()).collect());
        }
    }

    #[test]
    fn every_instruction_set_of_this_machine_gives_the_same() {
        let mut all = Vec::new();
        // SAFETY: the job has no conditions.
        Isa::all().for_each(|isa| unsafe { isa.run(Operations(&mut all)) });
        // Nothing here is rounded twice: the plain form gives the same bytes too.
        assert!(all.iter().all(|out| *out == all[0]));
    }
}
