//! Axes of a chart: range, ticks and labels.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use crate::report::measured::chart::Scale;

/// The range that all panels of a chart share, so that they can be compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    scale: Scale,
    /// The ends, placed.
    pub low: f64,
    pub high: f64,
}

impl Axis {
    /// An axis that holds these values and a `room`, a fraction of their span, at either end.
    pub fn around(values: impl Iterator<Item = f64> + Clone, scale: Scale, room: f64) -> Self {
        let one = Self { scale, low: 0.0, high: 1.0 };
        // The interval of a mean may reach below 0, where a logarithmic axis has no place.
        let places = values.map(|v| one.place(v)).filter(|place| place.is_finite());
        let (low, high) = (places.clone().fold(f64::INFINITY, f64::min), places.fold(f64::NEG_INFINITY, f64::max));
        if !(low.is_finite() && high.is_finite()) {
            return one;
        }
        let wide = high > low;
        let room = if wide { room * (high - low) } else { 0.5 * high.abs().max(1e-6) };
        let (least, most) = (low, high);
        let (mut low, mut high) = (least - room, most + room);
        match scale {
            Scale::Percent => (low, high) = (low.max(0.0), high.min(100.0)),
            Scale::Steps => (low, high) = (0.0, most.max(1.0) * 1.01),
            Scale::Linear if low < 0.0 && least >= 0.0 => low = 0.0,
            // Half a decade on either side of a single value.
            Scale::Log if !wide => (low, high) = (least - 0.5, most + 0.5),
            _ => {}
        }
        Self { scale, low, high }
    }

    /// Where a value lies along the axis.
    pub fn place(&self, value: f64) -> f64 {
        self.scale.place(value)
    }

    /// Places of the ticks, about `most` of them.
    pub fn ticks(&self, most: usize) -> Vec<f64> {
        if self.scale != Scale::Log {
            return even(self.low, self.high, most);
        }
        let inside = |place: &f64| (self.low - 1e-9..=self.high + 1e-9).contains(place);
        let decades = (self.low.floor() as i32..=self.high.ceil() as i32).collect::<Vec<_>>();
        // Within a decade there is the other way below.
        let least = if self.high - self.low < 1.0 { 4 } else { 2 };
        for factors in
            [&[1.0, 1.5, 2.0, 3.0, 5.0, 7.0][..], &[1.0, 2.0, 3.0, 5.0], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]]
        {
            let all = decades.iter().flat_map(|d| factors.iter().map(move |f: &f64| f64::from(*d) + f.log10()));
            let ticks: Vec<f64> = all.filter(inside).collect();
            if (least..=most + 1).contains(&ticks.len()) {
                return ticks;
            }
        }
        if self.high - self.low < 1.0 {
            let ends = (10_f64.powf(self.low), 10_f64.powf(self.high));
            return even(ends.0, ends.1, most).into_iter().filter(|v| *v > 0.0).map(f64::log10).collect();
        }
        // Many decades: whole ones, a few apart.
        even(self.low, self.high, most).into_iter().filter(|v| v.fract() == 0.0).collect()
    }

    /// The label of a tick.
    pub fn label(&self, place: f64) -> String {
        match self.scale {
            Scale::Steps => short(place),
            Scale::Log => {
                let value = 10_f64.powf(place);
                if value >= 999.5 { short(value) } else { tick(value, value) }
            }
            _ if self.high.abs().max(self.low.abs()) >= 1e4 => short(place),
            _ => tick(place, self.high - self.low),
        }
    }
}

/// For the drawing library, values are places, and nothing but ticks is a key point.
impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (from, to): (i32, i32)) -> i32 {
        let part = (place - self.low) / (self.high - self.low);
        (f64::from(from) + part * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks(6) }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

/// Multiples of 1, 2 or 5 times a power of ten between two ends.
fn even(low: f64, high: f64, most: usize) -> Vec<f64> {
    let span = high - low;
    if !(span > 0.0 && span.is_finite()) {
        return vec![low];
    }
    let decade = 10_f64.powf((span / most.max(1) as f64).log10().floor());
    let count = |step: f64| ((high / step + 1e-9).floor() - (low / step - 1e-9).ceil()) as usize + 1;
    let steps = [1.0, 2.0, 5.0, 10.0].map(|f| f * decade);
    let step = steps.into_iter().find(|step| count(*step) <= most + 1).unwrap_or(steps[3]);
    let first = (low / step - 1e-9).ceil();
    (0..count(step)).map(|i| (first + i as f64) * step).collect()
}

/// `0`, `500`, `1.5k`, `20k`, `3M`.
fn short(value: f64) -> String {
    let with = |v: f64, suffix: &str| {
        let text = format!("{v:.1}");
        format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match value.abs() {
        v if v >= 1e10 => format!("{value:.0e}"),
        v if v >= 1e9 => with(value / 1e9, "G"),
        v if v >= 1e6 => with(value / 1e6, "M"),
        v if v >= 1e3 => with(value / 1e3, "k"),
        _ => format!("{value:.0}"),
    }
}

/// A tick's label with as many decimals as a span needs.
fn tick(value: f64, span: f64) -> String {
    // Ticks are multiples of steps: what should be zero may be a rounding error.
    let value = if value.abs() < 1e-9 * span { 0.0 } else { value };
    if value == 0.0 {
        return "0".into();
    }
    if span <= 0.0 || value.abs() >= 1e5 || span < 1e-4 {
        return format!("{value:.1e}").replace(".0e", "e");
    }
    let places = (1.0 - (span / 5.0).log10()).ceil().clamp(0.0, 6.0) as usize;
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], scale: Scale) -> Vec<String> {
        let axis = Axis::around(values.iter().copied(), scale, 0.0);
        axis.ticks(6).into_iter().map(|t| axis.label(t)).collect()
    }

    #[test]
    fn labels_are_short() {
        assert_eq!([0.0, 500.0, 1500.0, 20_000.0, 3e6, -2e9].map(short), ["0", "500", "1.5k", "20k", "3M", "-2G"]);
        assert_eq!(tick(20.0, 100.0), "20");
        assert_eq!(tick(-1e-17, 1.0), "0");
        assert_eq!(tick(0.25, 1.2), "0.25");
        assert_eq!(tick(0.0015, 0.004), "0.0015");
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(&[0.0, 1.0], Scale::Linear), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(labels(&[-3.0, 11.0], Scale::Linear), ["-2", "0", "2", "4", "6", "8", "10"]);
        assert_eq!(labels(&[0.9, 0.95], Scale::Percent), ["90", "91", "92", "93", "94", "95"]);
        assert_eq!(labels(&[10.0, 1500.0], Scale::Steps), ["0", "500", "1k", "1.5k"]);
        assert_eq!(labels(&[4e5, 4.4e6], Scale::Linear), ["1M", "2M", "3M", "4M"]);
    }

    #[test]
    fn logarithmic_ticks_fill_the_range() {
        assert_eq!(labels(&[0.01, 1.0], Scale::Log), ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]);
        assert_eq!(labels(&[0.002, 20.0], Scale::Log), ["0.01", "0.1", "1", "10"]);
        assert_eq!(labels(&[2.2, 4.4], Scale::Log), ["2.5", "3", "3.5", "4"]);
        // A short range has more than the two of 1, 2 and 5.
        assert_eq!(labels(&[0.6, 3.8], Scale::Log), ["0.7", "1", "1.5", "2", "3"]);
        assert_eq!(labels(&[0.9, 2.1], Scale::Log), ["1", "1.2", "1.4", "1.6", "1.8", "2"]);
        assert_eq!(labels(&[-3.0, 0.0, 0.6, 3.8], Scale::Log), labels(&[0.6, 3.8], Scale::Log));
        assert_eq!(labels(&[1e3, 1e6], Scale::Log), ["1k", "3k", "10k", "30k", "100k", "300k", "1M"]);
        assert_eq!(labels(&[1e-8, 1e8], Scale::Log), ["1e-5", "1", "100k"]);
    }

    #[test]
    fn a_single_value_and_none_have_an_axis() {
        for scale in [Scale::Linear, Scale::Percent, Scale::Steps, Scale::Log] {
            for values in [&[0.5][..], &[]] {
                let axis = Axis::around(values.iter().copied(), scale, 0.05);
                assert!(axis.low < axis.high && !axis.ticks(6).is_empty(), "{scale:?} {axis:?}");
            }
        }
        assert_eq!(
            Axis::around([0.0, 1.0].into_iter(), Scale::Percent, 0.1),
            Axis { scale: Scale::Percent, low: 0.0, high: 100.0 }
        );
        assert_eq!(Axis::around([0.0, 4.0].into_iter(), Scale::Linear, 0.1).low, 0.0);
    }
}
