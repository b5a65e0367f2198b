//! How the ten digits of the generated set are written: for each digit a few
//! styles, each a list of strokes in a unit box (x to the right, y down).

/// One movement of the pen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stroke {
    /// Straight from point to point.
    Line(&'static [(f32, f32)]),
    /// A smooth curve through the points.
    Curve(&'static [(f32, f32)]),
}

use Stroke::{Curve, Line};

type Style = &'static [Stroke];

/// The styles of each digit.
#[rustfmt::skip]
pub(super) const STYLES: [&[Style]; 10] = [
    // 0: round; slender, the ends crossing at the top.
    &[
        &[Curve(&[(0.5, 0.0), (0.14, 0.2), (0.05, 0.55), (0.2, 0.9), (0.5, 1.0), (0.82, 0.88), (0.95, 0.5), (0.85, 0.15), (0.5, 0.0)])],
        &[Curve(&[(0.68, 0.02), (0.32, 0.12), (0.15, 0.5), (0.2, 0.86), (0.45, 1.0), (0.72, 0.82), (0.85, 0.45), (0.78, 0.12), (0.58, 0.0), (0.42, 0.1)])],
    ],
    // 1: a bar; with a flag; with flag and foot.
    &[
        &[Line(&[(0.5, 0.0), (0.5, 1.0)])],
        &[Line(&[(0.25, 0.22), (0.55, 0.0), (0.55, 1.0)])],
        &[Line(&[(0.28, 0.2), (0.52, 0.0), (0.52, 1.0)]), Line(&[(0.22, 1.0), (0.82, 1.0)])],
    ],
    // 2: with a straight foot; with a loop at the foot.
    &[
        &[Curve(&[(0.1, 0.25), (0.3, 0.03), (0.65, 0.02), (0.88, 0.25), (0.75, 0.5), (0.4, 0.75), (0.08, 1.0)]), Line(&[(0.08, 1.0), (0.95, 0.98)])],
        &[Curve(&[(0.12, 0.22), (0.35, 0.02), (0.7, 0.04), (0.85, 0.28), (0.65, 0.6), (0.3, 0.92), (0.08, 0.95), (0.12, 0.8), (0.35, 0.82), (0.65, 0.97), (0.98, 0.92)])],
    ],
    // 3: round; with a flat top.
    &[
        &[Curve(&[(0.1, 0.15), (0.4, 0.0), (0.8, 0.1), (0.8, 0.33), (0.4, 0.47)]), Curve(&[(0.4, 0.47), (0.82, 0.58), (0.9, 0.82), (0.5, 1.0), (0.08, 0.9)])],
        &[Line(&[(0.12, 0.02), (0.85, 0.02), (0.45, 0.4)]), Curve(&[(0.45, 0.4), (0.85, 0.52), (0.9, 0.82), (0.5, 1.0), (0.1, 0.9)])],
    ],
    // 4: open; closed; with a round angle.
    &[
        &[Line(&[(0.2, 0.0), (0.1, 0.6), (0.95, 0.58)]), Line(&[(0.75, 0.1), (0.72, 1.0)])],
        &[Line(&[(0.7, 1.0), (0.7, 0.0), (0.05, 0.68), (0.98, 0.68)])],
        &[Curve(&[(0.15, 0.05), (0.1, 0.35), (0.25, 0.54), (0.6, 0.52), (0.85, 0.42)]), Line(&[(0.85, 0.05), (0.75, 1.0)])],
    ],
    // 5: with corners; in one sweep.
    &[
        &[Line(&[(0.85, 0.0), (0.25, 0.02), (0.18, 0.45)]), Curve(&[(0.18, 0.45), (0.5, 0.36), (0.88, 0.52), (0.88, 0.8), (0.5, 1.0), (0.08, 0.92)])],
        &[Curve(&[(0.95, 0.02), (0.6, 0.04), (0.35, 0.06), (0.25, 0.3), (0.3, 0.42), (0.65, 0.45), (0.85, 0.68), (0.65, 0.95), (0.3, 1.0), (0.05, 0.9)])],
    ],
    // 6: with a bent back; with a straight one.
    &[
        &[Curve(&[(0.7, 0.0), (0.35, 0.25), (0.12, 0.6), (0.2, 0.92), (0.55, 1.0), (0.85, 0.82), (0.75, 0.58), (0.45, 0.55), (0.17, 0.72)])],
        &[Curve(&[(0.4, 0.0), (0.2, 0.35), (0.1, 0.7), (0.3, 0.98), (0.65, 0.98), (0.88, 0.78), (0.7, 0.58), (0.4, 0.6), (0.15, 0.78)])],
    ],
    // 7: plain; with a bar; with a bent stem.
    &[
        &[Line(&[(0.08, 0.03), (0.92, 0.03), (0.4, 1.0)])],
        &[Line(&[(0.08, 0.03), (0.92, 0.03), (0.4, 1.0)]), Line(&[(0.35, 0.52), (0.88, 0.5)])],
        &[Line(&[(0.1, 0.16), (0.12, 0.04), (0.9, 0.04)]), Curve(&[(0.9, 0.04), (0.65, 0.4), (0.5, 0.7), (0.48, 1.0)])],
    ],
    // 8: one crossing line; two rings.
    &[
        &[Curve(&[(0.82, 0.15), (0.5, 0.0), (0.18, 0.17), (0.35, 0.4), (0.7, 0.58), (0.85, 0.82), (0.5, 1.0), (0.15, 0.82), (0.3, 0.58), (0.65, 0.4), (0.82, 0.15)])],
        &[Curve(&[(0.5, 0.0), (0.2, 0.1), (0.2, 0.35), (0.5, 0.46), (0.8, 0.35), (0.8, 0.1), (0.5, 0.0)]), Curve(&[(0.5, 0.46), (0.12, 0.6), (0.12, 0.9), (0.5, 1.0), (0.88, 0.9), (0.88, 0.6), (0.5, 0.46)])],
    ],
    // 9: with a straight stem; with a hook.
    &[
        &[Curve(&[(0.86, 0.15), (0.55, 0.02), (0.2, 0.12), (0.15, 0.4), (0.5, 0.52), (0.82, 0.32), (0.86, 0.15)]), Line(&[(0.86, 0.15), (0.78, 1.0)])],
        &[Curve(&[(0.85, 0.25), (0.5, 0.0), (0.15, 0.18), (0.25, 0.48), (0.6, 0.48), (0.85, 0.2), (0.85, 0.55), (0.7, 0.88), (0.35, 1.0), (0.12, 0.9)])],
    ],
];

impl Stroke {
    /// The stroke as a polyline; curves are Catmull-Rom splines. `bend` moves each
    /// given point before the curve is laid through them.
    pub(super) fn polyline(self, bend: impl Fn((f32, f32)) -> (f32, f32)) -> Vec<(f32, f32)> {
        // Pieces of a spline between two points: at most a pixel and a half each.
        const PIECES: usize = 5;
        match self {
            Line(points) => points.iter().map(|p| bend(*p)).collect(),
            Curve(points) => {
                let points: Vec<_> = points.iter().map(|p| bend(*p)).collect();
                let at = |i: isize| points[i.clamp(0, points.len() as isize - 1) as usize];
                let mut line = vec![points[0]];
                for i in 0..points.len() as isize - 1 {
                    let around = [at(i - 1), at(i), at(i + 1), at(i + 2)];
                    for piece in 1..=PIECES {
                        let t = piece as f32 / PIECES as f32;
                        line.push((spline(around.map(|p| p.0), t), spline(around.map(|p| p.1), t)));
                    }
                }
                line
            }
        }
    }
}

/// Catmull-Rom between `b` and `c`, `t` in `[0, 1]`.
fn spline([a, b, c, d]: [f32; 4], t: f32) -> f32 {
    0.5 * (2.0 * b + (c - a) * t + (2.0 * a - 5.0 * b + 4.0 * c - d) * t * t + (3.0 * b - a - 3.0 * c + d) * t * t * t)
}
