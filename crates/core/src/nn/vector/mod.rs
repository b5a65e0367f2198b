//! Vectors of `f32` for the loops of a CPU, in the instruction sets that a machine may have, chosen at run time.
//!
//! A kernel is a [`Job`]: a piece of work that is compiled once for each instruction set. It gets a [`Simd`], a value
//! that exists only where the CPU has the instructions, so that arithmetic needs no promise of the caller's; only
//! places in memory do. The intrinsics behind it are those of the crate `pulp`.
//!
//! Kernels whose tiles are shaped after the registers take a [`Job`], whose vectors have 16 numbers with AVX-512 and 8
//! otherwise. A closure within a job is compiled without the instruction set unless the compiler inlines it, which it does
//! not always do: kernels write their loops out. Those that want the same bytes on every machine with fused products take a [`Job16`]: 16 numbers always,
//! as one register or as two. Sums over lanes are taken in one order: of lanes 8 apart first, then 4.

mod plain;
mod transpose;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

use std::fmt::Debug;

pub use plain::Plain;
pub use transpose::Transpose;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

/// Numbers of the vectors of a [`Job16`].
pub const LANES: usize = 16;

/// Vectors of an instruction set that this CPU has: whoever holds a value of it may use it.
///
/// A pointer is to be valid for what is read or written: [`Simd::LANES`] numbers, or the first `n`.
pub trait Simd: Copy + Debug + Send + Sync + 'static {
    /// A vector.
    type V: Copy;
    /// Its numbers.
    const LANES: usize;
    /// There are 32 registers, each for a whole vector; else there are 16, or two make a vector.
    const WIDE: bool;
    /// `a b + c` with one rounding is one instruction, and what [`Simd::fma`] does.
    const FMA: bool;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a b + c`; without an instruction for it the product is rounded first, since the exact way is slow there.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// max(x, 0), not a number where `x` is none.
    fn relu(self, x: Self::V) -> Self::V;
    /// `x` where `by` is above 0, else 0.
    fn gate(self, x: Self::V, by: Self::V) -> Self::V;
    /// The total of each of four vectors, in all lanes: of lanes 8 apart first, then 4, 1 and 2.
    fn totals(self, v: [Self::V; 4]) -> [Self::V; 4];
    /// The first lane.
    fn first(self, v: Self::V) -> f32;

    /// Reads a vector.
    ///
    /// # Safety
    /// `from` is valid for [`Simd::LANES`] numbers.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// Reads the first `n` numbers, at most [`Simd::LANES`]; the other lanes are 0.
    ///
    /// # Safety
    /// `from` is valid for them.
    unsafe fn load_first(self, from: *const f32, n: usize) -> Self::V;
    /// Writes a vector.
    ///
    /// # Safety
    /// `to` is valid for [`Simd::LANES`] numbers.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// Writes the first `n` numbers, at most [`Simd::LANES`].
    ///
    /// # Safety
    /// `to` is valid for them.
    unsafe fn store_first(self, to: *mut f32, v: Self::V, n: usize);

    /// Reads the first numbers of a slice, as many as a vector has; lanes behind its end are 0.
    #[inline(always)]
    fn read(self, from: &[f32]) -> Self::V {
        // SAFETY: what is read lies within the slice.
        unsafe {
            match from.len() {
                n if n < Self::LANES => self.load_first(from.as_ptr(), n),
                _ => self.load(from.as_ptr()),
            }
        }
    }

    /// Writes the first numbers of a slice, as many as a vector has.
    #[inline(always)]
    fn write(self, to: &mut [f32], v: Self::V) {
        // SAFETY: what is written lies within the slice. A whole vector can be read again at once, a part cannot.
        unsafe {
            match to.len() {
                n if n < Self::LANES => self.store_first(to.as_mut_ptr(), v, n),
                _ => self.store(to.as_mut_ptr(), v),
            }
        }
    }

    /// 0 in every lane.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// The total of one vector, as [`Simd::totals`] takes it.
    #[inline(always)]
    fn total(self, v: Self::V) -> f32 {
        self.first(self.totals([v; 4])[0])
    }

    /// `a b + c` of single numbers, rounded as [`Simd::fma`] rounds.
    #[inline(always)]
    fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
        if Self::FMA { a.mul_add(b, c) } else { a * b + c }
    }

    /// exp for arguments from -87 to 0, without a call or a branch, so that a loop over lanes becomes vectors.
    #[inline(always)]
    fn exp(self, x: f32) -> f32 {
        // exp(x) = 2^n exp(r): adding 1.5 2^23 rounds to a whole number in the low bits.
        const ROUND: f32 = 12_582_912.0;
        const LN_2_HIGH: f32 = 355.0 / 512.0;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = x - n * LN_2_HIGH - n * LN_2_LOW;
        let mut p = 1.0 / 5040.0;
        for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = self.mul_add(p, r, c);
        }
        p * f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23)
    }
}

/// Vectors of [`LANES`] numbers.
pub trait Simd16: Simd {
    /// Lane `i` holds the sum of the lanes of `v[i]`: of those 8 apart first, then 4, 2 and 1.
    fn sums(self, v: [Self::V; LANES]) -> Self::V;

    /// `d q + m`, for the low four bits of each byte and for the high ones.
    fn nibbles(self, q: &[u8; LANES], d: Self::V, m: Self::V) -> [Self::V; 2];

    /// Whole numbers of 8 bits.
    fn bytes(self, q: &[i8; LANES]) -> Self::V;

    /// Numbers in half precision, given as their bits; they are to be finite.
    #[inline(always)]
    fn halves(self, bits: &[u16; LANES]) -> Self::V {
        let mut x = [0.0; LANES];
        for (x, bits) in x.iter_mut().zip(bits) {
            *x = half(*bits);
        }
        self.read(&x)
    }

    /// Runs the job in code compiled for the instruction set.
    fn run16<J: Job16>(self, job: J) -> J::Out;
}

/// A finite number in half precision, without a branch, so that a loop over lanes becomes vectors.
#[inline(always)]
fn half(bits: u16) -> f32 {
    const BIAS: u32 = 112 << 23;
    let (sign, amount) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff) << 13);
    // Below 2^-14 there is no leading one: it is put in and taken off.
    let small = f32::from_bits(amount + BIAS + (1 << 23)) - f32::from_bits(BIAS + (1 << 23));
    let amount = if amount < 1 << 23 { small.to_bits() } else { amount + BIAS };
    f32::from_bits(amount | sign)
}

/// A piece of work that is compiled for each instruction set.
pub trait Job {
    /// What it gives.
    type Out;
    /// Does it; to be marked `#[inline(always)]`, so that it is compiled for the instruction set.
    fn run<S: Transpose>(self, simd: S) -> Self::Out;
}

/// A piece of work with vectors of [`LANES`] numbers.
pub trait Job16 {
    /// What it gives.
    type Out;
    /// Does it; to be marked `#[inline(always)]`, so that it is compiled for the instruction set.
    fn run<S: Simd16>(self, simd: S) -> Self::Out;
}

/// Two registers as one vector of [`LANES`] numbers.
#[derive(Debug, Clone, Copy)]
pub struct Pair<S>(S);

/// An instruction set that this CPU has.
#[derive(Debug, Clone, Copy)]
pub enum Isa {
    /// AVX-512 (F, BW, CD, DQ, VL).
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// Plain Rust, which the compiler makes of it what it can.
    Plain(Plain),
}

impl Isa {
    /// Those of this CPU, the widest vectors first.
    pub fn all() -> impl Iterator<Item = Self> {
        let there = [
            #[cfg(target_arch = "x86_64")]
            Avx512::new().map(Self::Avx512),
            #[cfg(target_arch = "x86_64")]
            Avx2::new().map(Self::Avx2),
            Some(Self::Plain(Plain)),
        ];
        there.into_iter().flatten()
    }

    /// The one with the widest vectors.
    pub fn widest() -> Self {
        Self::all().next().unwrap_or(Self::Plain(Plain))
    }

    /// Runs a job with the registers as they are.
    pub fn run<J: Job>(self, job: J) -> J::Out {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => simd.run(job),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => simd.run(job),
            Self::Plain(simd) => simd.run(job),
        }
    }

    /// Runs a job with vectors of [`LANES`] numbers.
    pub fn run16<J: Job16>(self, job: J) -> J::Out {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => simd.run16(job),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => Pair(simd).run16(job),
            Self::Plain(simd) => Pair(simd).run16(job),
        }
    }
}

/// Eight lanes: half of a [`Pair`].
pub(crate) trait Half: Simd {
    /// Lane `i` holds the sum of the lanes of `v[i]`: of those 4 apart first, then 2 and 1.
    fn sums8(self, v: [Self::V; 8]) -> Self::V;
    /// As [`Simd16::nibbles`].
    fn nibbles8(self, q: [u8; 8], d: Self::V, m: Self::V) -> [Self::V; 2];
    /// As [`Simd16::bytes`].
    fn bytes8(self, q: [i8; 8]) -> Self::V;
    fn enter<J: Job16>(self, job: J) -> J::Out;
}

impl<S: Simd> Simd for Pair<S> {
    type V = [S::V; 2];
    const LANES: usize = 2 * S::LANES;
    const WIDE: bool = false;
    const FMA: bool = S::FMA;
    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [self.0.splat(x); 2]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        [self.0.add(a[0], b[0]), self.0.add(a[1], b[1])]
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        [self.0.mul(a[0], b[0]), self.0.mul(a[1], b[1])]
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        [self.0.fma(a[0], b[0], c[0]), self.0.fma(a[1], b[1], c[1])]
    }
    #[inline(always)]
    fn relu(self, x: Self::V) -> Self::V {
        [self.0.relu(x[0]), self.0.relu(x[1])]
    }
    #[inline(always)]
    fn gate(self, x: Self::V, by: Self::V) -> Self::V {
        [self.0.gate(x[0], by[0]), self.0.gate(x[1], by[1])]
    }
    #[inline(always)]
    fn totals(self, [a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
        let halves = [self.0.add(a[0], a[1]), self.0.add(b[0], b[1]), self.0.add(c[0], c[1]), self.0.add(d[0], d[1])];
        let [a, b, c, d] = self.0.totals(halves);
        [[a; 2], [b; 2], [c; 2], [d; 2]]
    }
    #[inline(always)]
    fn first(self, v: Self::V) -> f32 {
        self.0.first(v[0])
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller's promise, for both halves.
        unsafe { [self.0.load(from), self.0.load(from.add(S::LANES))] }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, n: usize) -> Self::V {
        let second = from.wrapping_add(S::LANES);
        // SAFETY: the caller's promise; the second half is not read where `n` does not reach it.
        unsafe { [self.0.load_first(from, n), self.0.load_first(second, n.saturating_sub(S::LANES))] }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        // SAFETY: the caller's promise, for both halves.
        unsafe {
            self.0.store(to, v[0]);
            self.0.store(to.add(S::LANES), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, v: Self::V, n: usize) {
        // SAFETY: the caller's promise; the second half is not written where `n` does not reach it.
        unsafe {
            self.0.store_first(to, v[0], n);
            self.0.store_first(to.wrapping_add(S::LANES), v[1], n.saturating_sub(S::LANES));
        }
    }
}

impl<S: Half> Simd16 for Pair<S> {
    #[inline(always)]
    fn sums(self, v: [Self::V; LANES]) -> Self::V {
        let mut halves = [[self.0.zero(); 8]; 2];
        for (i, v) in v.into_iter().enumerate() {
            halves[i / 8][i % 8] = self.0.add(v[0], v[1]);
        }
        [self.0.sums8(halves[0]), self.0.sums8(halves[1])]
    }
    #[inline(always)]
    fn nibbles(self, q: &[u8; LANES], d: Self::V, m: Self::V) -> [Self::V; 2] {
        let q: [[u8; 8]; 2] = pulp::cast(*q);
        let (a, b) = (self.0.nibbles8(q[0], d[0], m[0]), self.0.nibbles8(q[1], d[1], m[1]));
        [[a[0], b[0]], [a[1], b[1]]]
    }
    #[inline(always)]
    fn bytes(self, q: &[i8; LANES]) -> Self::V {
        let q: [[i8; 8]; 2] = pulp::cast(*q);
        [self.0.bytes8(q[0]), self.0.bytes8(q[1])]
    }
    #[inline(always)]
    fn run16<J: Job16>(self, job: J) -> J::Out {
        self.0.enter(job)
    }
}
