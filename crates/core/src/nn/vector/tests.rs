//! Every operation in every instruction set of this machine.

use super::*;

struct Operations<'a>(&'a [f32]);

impl Job16 for Operations<'_> {
    type Out = Vec<u32>;
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) -> Vec<u32> {
        let x = self.0;
        let mut out = vec![-7.0f32; 12 * LANES];
        let at = |i: usize| x[LANES * i..].as_ptr();
        // SAFETY: `x` has 16 vectors, `out` twelve.
        unsafe {
            let v: [S::V; LANES] = std::array::from_fn(|i| s.load(at(i)));
            let mut to = out.as_mut_ptr();
            let mut put = |v: S::V| {
                s.store(to, v);
                to = to.add(LANES);
            };
            put(s.sums(v));
            s.totals([v[0], v[1], v[2], v[3]]).into_iter().for_each(&mut put);
            put(s.relu(s.mul(v[0], s.splat(1.5))));
            put(s.gate(v[1], v[2]));
            put(s.relu(s.splat(f32::NAN)));
            put(s.fma(s.splat(2.0), s.load_first(at(0), 3), s.splat(0.5)));
            put(s.add(v[4], v[5]));
            put(s.zero());
            s.store_first(to, v[6], 11);
            for v in v.into_iter().take(4) {
                assert_eq!(s.total(v), s.first(s.totals([v; 4])[3]));
            }
        }
        out.iter().map(|x| x.to_bits()).collect()
    }
}

#[test]
fn every_instruction_set_of_this_machine_gives_what_plain_arithmetic_gives() {
    let x: Vec<f32> = (0..256).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
    // Nothing here is rounded twice but the sums: the plain form gives the same bytes too.
    let mut all = Isa::all().map(|isa| isa.run16(Operations(&x)));
    let first = all.next().expect("the plain form at least");
    assert!(all.all(|out| out == first));
    let out: Vec<f32> = first.iter().map(|x| f32::from_bits(*x)).collect();
    for i in 0..LANES {
        let sum: f32 = x[LANES * i..][..LANES].iter().sum();
        assert!((out[i] - sum).abs() < 1e-4);
        if i < 4 {
            assert!(out[LANES * (1 + i)..][..LANES].iter().all(|total| (total - sum).abs() < 1e-4));
        }
        assert_eq!(out[5 * LANES + i], (x[i] * 1.5).max(0.0));
        assert_eq!(out[6 * LANES + i], if x[32 + i] > 0.0 { x[16 + i] } else { 0.0 });
        assert!(out[7 * LANES + i].is_nan());
        assert_eq!(out[8 * LANES + i], if i < 3 { 2.0f32.mul_add(x[i], 0.5) } else { 0.5 });
        assert_eq!(out[9 * LANES + i], x[64 + i] + x[80 + i]);
        assert_eq!(out[10 * LANES + i].to_bits(), 0);
        assert_eq!(out[11 * LANES + i], if i < 11 { x[96 + i] } else { -7.0 });
    }
}

struct Parts;

impl Job for Parts {
    type Out = ();
    #[inline(always)]
    fn run<S: Transpose>(self, s: S) {
        // The slices end where a part ends: what lies behind is not read or written.
        for n in 0..=S::LANES + 1 {
            let from: Vec<f32> = (0..n.min(S::LANES)).map(|i| i as f32 + 1.0).collect();
            let (mut to, mut whole) = (vec![-1.0f32; from.len()], vec![-1.0f32; S::LANES]);
            // SAFETY: both have `n` numbers, or as many as a vector.
            unsafe {
                s.store_first(to.as_mut_ptr(), s.load_first(from.as_ptr(), n), n);
                s.store(whole.as_mut_ptr(), s.load_first(from.as_ptr(), n));
            }
            assert_eq!(to, from);
            assert!(whole.iter().enumerate().all(|(i, x)| *x == from.get(i).copied().unwrap_or(0.0)));
        }
    }
}

#[test]
fn parts_of_vectors_end_where_they_say() {
    Isa::all().for_each(|isa| isa.run(Parts));
}

struct Transposes;

impl Job for Transposes {
    type Out = ();
    #[inline(always)]
    fn run<S: Transpose>(self, s: S) {
        let from: Vec<f32> = (0..400).map(|i| i as f32).collect();
        for rows in 1..=S::LANES {
            for columns in 1..=S::LANES {
                let mut to = vec![-1.0; 400];
                // SAFETY: 16 rows of 19 and of 21 lie within 400 numbers.
                unsafe { s.transpose(from.as_ptr(), 19, rows, columns, to.as_mut_ptr(), 21) };
                for (i, &found) in to.iter().enumerate() {
                    let (c, r) = (i / 21, i % 21);
                    let expected = if c < columns && r < rows { from[r * 19 + c] } else { -1.0 };
                    assert_eq!(found, expected, "{rows} x {columns}: row {r}, column {c}");
                }
            }
        }
    }
}

#[test]
fn squares_are_turned() {
    Isa::all().for_each(|isa| isa.run(Transposes));
}

#[test]
fn exponentials_are_right_to_the_last_bits() {
    for i in 0..8700 {
        let x = -i as f32 / 100.0;
        let exact = f64::from(x).exp();
        assert!((f64::from(Plain.exp(x)) - exact).abs() < 3e-7 * exact, "exp({x})");
    }
}

/// Nibbles and whole numbers of these bytes as single numbers, then these halves.
struct Narrow<'a>(&'a [u8; LANES], &'a [u16; LANES]);

impl Job16 for Narrow<'_> {
    type Out = [[f32; LANES]; 4];
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) -> Self::Out {
        let [low, high] = s.nibbles(self.0, s.splat(0.375), s.splat(-1.25));
        let all = [low, high, s.bytes(&pulp::cast(*self.0)), s.halves(self.1)];
        let mut out = [[0.0; LANES]; 4];
        for (to, v) in out.iter_mut().zip(all) {
            s.write(to, v);
        }
        out
    }
}

#[test]
fn narrow_numbers_are_widened_exactly() {
    for isa in Isa::all() {
        for first in (0..=u8::MAX).step_by(LANES) {
            let bytes: [u8; LANES] = std::array::from_fn(|i| (first + i as u8).wrapping_mul(37));
            let out = isa.run16(Narrow(&bytes, &[0; LANES]));
            for (i, byte) in bytes.into_iter().enumerate() {
                assert_eq!(out[0][i], 0.375 * f32::from(byte & 15) - 1.25, "{isa:?}: low bits of {byte}");
                assert_eq!(out[1][i], 0.375 * f32::from(byte >> 4) - 1.25, "{isa:?}: high bits of {byte}");
                assert_eq!(out[2][i], f32::from(byte.cast_signed()), "{isa:?}: {byte}");
            }
        }
        for first in (0..=u16::MAX).step_by(LANES) {
            let bits: [u16; LANES] = std::array::from_fn(|i| first + i as u16);
            let out = isa.run16(Narrow(&[0; LANES], &bits));
            for (x, found) in bits.into_iter().map(burn::tensor::f16::from_bits).zip(out[3]) {
                assert!(!x.is_finite() || x.to_f32().to_bits() == found.to_bits(), "{isa:?}: {x} became {found}");
            }
        }
    }
}
