//! The accuracy matrix as a heat map: row = after which task, column = on which task.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::plot::{Area, INK, SCALE, drawing, svg, text};

/// A matrix to draw, with its title.
pub struct Heat<'a> {
    /// Name of the arm.
    pub title: &'a str,
    /// Fractions; `None` is left empty.
    pub rows: &'a [Vec<Option<f64>>],
}

const LEFT: i32 = 62;
const TOP: i32 = 66;
const MARGIN: i32 = 14;

/// The range of the accuracies on tasks that were learned, for a colour scale that
/// several matrices share. A task tested before it is learned takes the end of the scale:
/// its chance level would hide all other differences.
pub fn range(matrices: &[Heat]) -> (f64, f64) {
    let rows = || matrices.iter().flat_map(|m| m.rows.iter().enumerate());
    let values = || rows().flat_map(|(i, row)| row.iter().take(i + 1)).flatten();
    let low = values().copied().fold(f64::INFINITY, f64::min);
    let high = values().copied().fold(f64::NEG_INFINITY, f64::max);
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// One matrix by itself.
pub fn one(heat: &Heat, range: (f64, f64)) -> Result<String> {
    let (width, height) = size(heat);
    svg(width, height, |area| draw(area, heat, range, (0, 0)))
}

/// Several matrices side by side, at most three in a row.
pub fn whole(matrices: &[Heat]) -> Result<String> {
    let range = range(matrices);
    let columns = matrices.len().clamp(1, 3);
    let width = matrices.iter().map(|m| size(m).0).max().unwrap_or(1);
    let height = matrices.iter().map(|m| size(m).1).max().unwrap_or(1);
    let rows = matrices.len().div_ceil(columns);
    svg(width * columns as i32, height * rows as i32, |area| {
        for (i, heat) in matrices.iter().enumerate() {
            let at = ((i % columns) as i32 * width, (i / columns) as i32 * height);
            draw(area, heat, range, at)?;
        }
        Ok(())
    })
}

fn cell(heat: &Heat) -> (i32, i32) {
    if heat.rows.len() > 6 { (44, 30) } else { (52, 38) }
}

fn columns(heat: &Heat) -> usize {
    heat.rows.iter().map(Vec::len).max().unwrap_or(0)
}

fn size(heat: &Heat) -> (i32, i32) {
    let (w, h) = cell(heat);
    let width = LEFT + w * columns(heat) as i32 + MARGIN;
    (width.max(230), TOP + h * heat.rows.len() as i32 + MARGIN)
}

fn draw(area: &Area, heat: &Heat, range: (f64, f64), at: (i32, i32)) -> Result<()> {
    let (w, h) = cell(heat);
    let px = |x: i32, y: i32| ((at.0 + x) * SCALE, (at.1 + y) * SCALE);
    let write = |words: &str, x: i32, y: i32, style: TextStyle<'static>| {
        area.draw(&Text::new(words.to_owned(), px(x, y), style)).map_err(drawing)
    };
    write(heat.title, MARGIN, 8, text(15, (HPos::Left, VPos::Top)))?;
    write("tested on task", LEFT, 31, text(12, (HPos::Left, VPos::Top)))?;
    write("after", LEFT - 10, TOP - 8, text(12, (HPos::Right, VPos::Bottom)))?;
    for j in 0..columns(heat) {
        let x = LEFT + w * j as i32 + w / 2;
        write(&(j + 1).to_string(), x, TOP - 8, text(12, (HPos::Center, VPos::Bottom)))?;
    }
    for (i, row) in heat.rows.iter().enumerate() {
        let y = TOP + h * i as i32;
        write(&(i + 1).to_string(), LEFT - 10, y + h / 2, text(12, (HPos::Right, VPos::Center)))?;
        for (j, value) in row.iter().enumerate() {
            let Some(value) = value else { continue };
            let x = LEFT + w * j as i32;
            let colour = shade(*value, range);
            let corners = [px(x + 1, y + 1), px(x + w - 1, y + h - 1)];
            area.draw(&Rectangle::new(corners, colour.filled())).map_err(drawing)?;
            let style = TextStyle { color: on(colour).to_backend_color(), ..text(12, (HPos::Center, VPos::Center)) };
            write(&format!("{:.1}", 100.0 * value), x + w / 2, y + h / 2, style)?;
        }
    }
    let edge = [px(LEFT, TOP), px(LEFT + w * columns(heat) as i32, TOP + h * heat.rows.len() as i32)];
    let line = INK.mix(0.3).stroke_width(SCALE as u32);
    area.draw(&Rectangle::new(edge, line)).map_err(drawing)
}

/// From pale to deep blue: more is darker.
fn shade(value: f64, (low, high): (f64, f64)) -> RGBColor {
    const STOPS: [(f64, f64, f64); 3] = [(240.0, 246.0, 252.0), (107.0, 174.0, 214.0), (8.0, 64.0, 129.0)];
    let at = if high > low { 2.0 * (value - low) / (high - low) } else { 1.0 };
    let at = at.clamp(0.0, 2.0);
    let (from, to, part) = if at < 1.0 { (STOPS[0], STOPS[1], at) } else { (STOPS[1], STOPS[2], at - 1.0) };
    let mix = |a: f64, b: f64| (a + part * (b - a)).round() as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

/// Black or white, whichever is easier to read on a colour. The black is not quite the
/// ink's, which changes with the page.
fn on(ground: RGBColor) -> RGBColor {
    let linear = |c: u8| (f64::from(c) / 255.0).powf(2.2);
    let light = 0.2126 * linear(ground.0) + 0.7152 * linear(ground.1) + 0.0722 * linear(ground.2);
    if light > 0.18 { RGBColor(16, 16, 16) } else { WHITE }
}
