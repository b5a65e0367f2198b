//! The accuracy matrix as a heat map: row = after which task, column = on which task.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::plot::{Area, INK, SCALE, drawing, svg, text};

/// A matrix to draw, with its title.
pub struct Heat<'a> {
    /// Name of the arm.
    pub title: &'a str,
    /// Fractions; `None` was not measured.
    pub rows: &'a [Vec<Option<f64>>],
}

const LEFT: i32 = 62;
const TOP: i32 = 66;
const MARGIN: i32 = 14;
/// Height of the legend, and its least width.
const LEGEND: (i32, i32) = (56, 380);

/// From pale to deep in even steps of lightness, so that nobody needs the hue.
const STOPS: [(f64, f64, f64); 5] =
    [(252.0, 247.0, 214.0), (171.0, 219.0, 186.0), (79.0, 173.0, 191.0), (41.0, 105.0, 168.0), (28.0, 34.0, 99.0)];

/// How a matrix is to be read; `chance` is what guessing reaches, where the records say it.
pub fn note(chance: Option<f64>) -> String {
    let scale = match chance {
        Some(chance) => format!("from chance, {}, to 100\u{a0}%, in every report", percent(chance)),
        None => "from 0 to 100\u{a0}%, since these records do not say what guessing reaches".into(),
    };
    format!(
        "Row: after which task. Column: tested on which task. Hatched: not learned yet, so its value has no colour. \
         Colours go {scale}."
    )
}

/// One matrix by itself.
pub fn one(heat: &Heat, chance: Option<f64>) -> Result<String> {
    let (width, height) = size(heat);
    svg(width, height, |area| draw(area, heat, chance, (0, 0)))
}

/// What colours and hatch mean, by itself.
pub fn legend(chance: Option<f64>) -> Result<String> {
    svg(LEGEND.1, LEGEND.0, |area| draw_legend(area, chance, (0, 0)))
}

/// Several matrices side by side, at most three in a row, with their legend.
pub fn whole(matrices: &[Heat], chance: Option<f64>) -> Result<String> {
    let columns = matrices.len().clamp(1, 3);
    let width = matrices.iter().map(|m| size(m).0).max().unwrap_or(1);
    let height = matrices.iter().map(|m| size(m).1).max().unwrap_or(1);
    let rows = matrices.len().div_ceil(columns);
    let (across, down) = ((width * columns as i32).max(LEGEND.1), height * rows as i32);
    svg(across, down + LEGEND.0, |area| {
        for (i, heat) in matrices.iter().enumerate() {
            let at = ((i % columns) as i32 * width, (i / columns) as i32 * height);
            draw(area, heat, chance, at)?;
        }
        draw_legend(area, chance, (0, down))
    })
}

fn percent(fraction: f64) -> String {
    let number = format!("{:.1}", 100.0 * fraction);
    format!("{}\u{a0}%", number.trim_end_matches(".0"))
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

fn write(area: &Area, words: &str, (x, y): (i32, i32), style: TextStyle<'static>) -> Result<()> {
    area.draw(&Text::new(words.to_owned(), (x * SCALE, y * SCALE), style)).map_err(drawing)
}

fn draw(area: &Area, heat: &Heat, chance: Option<f64>, at: (i32, i32)) -> Result<()> {
    let (w, h) = cell(heat);
    let to = |x: i32, y: i32| (at.0 + x, at.1 + y);
    let px = |x: i32, y: i32| ((at.0 + x) * SCALE, (at.1 + y) * SCALE);
    let middle = || text(12, (HPos::Center, VPos::Center));
    write(area, heat.title, to(MARGIN, 8), text(15, (HPos::Left, VPos::Top)))?;
    write(area, "tested on task", to(LEFT, 31), text(12, (HPos::Left, VPos::Top)))?;
    write(area, "after", to(LEFT - 10, TOP - 8), text(12, (HPos::Right, VPos::Bottom)))?;
    for j in 0..columns(heat) {
        let x = LEFT + w * j as i32 + w / 2;
        write(area, &(j + 1).to_string(), to(x, TOP - 8), text(12, (HPos::Center, VPos::Bottom)))?;
    }
    for (i, row) in heat.rows.iter().enumerate() {
        let y = TOP + h * i as i32;
        write(area, &(i + 1).to_string(), to(LEFT - 10, y + h / 2), text(12, (HPos::Right, VPos::Center)))?;
        for j in 0..columns(heat) {
            let (x, value) = (LEFT + w * j as i32, row.get(j).copied().flatten());
            let words = value.map_or(String::new(), |value| format!("{:.1}", 100.0 * value));
            let style = match value {
                _ if j > i => {
                    hatch(area, to(x + 1, y + 1), (w - 2, h - 2))?;
                    middle()
                }
                Some(value) => {
                    let colour = shade(value, chance);
                    let corners = [px(x + 1, y + 1), px(x + w - 1, y + h - 1)];
                    area.draw(&Rectangle::new(corners, colour.filled())).map_err(drawing)?;
                    TextStyle { color: on(colour).to_backend_color(), ..middle() }
                }
                None => middle(),
            };
            write(area, &words, to(x + w / 2, y + h / 2), style)?;
        }
    }
    let edge = [px(LEFT, TOP), px(LEFT + w * columns(heat) as i32, TOP + h * heat.rows.len() as i32)];
    let line = INK.mix(0.3).stroke_width(SCALE as u32);
    area.draw(&Rectangle::new(edge, line)).map_err(drawing)
}

/// Oblique lines in a rectangle: no colour that could be taken for a value.
fn hatch(area: &Area, (left, top): (i32, i32), (w, h): (i32, i32)) -> Result<()> {
    let style = INK.mix(0.22).stroke_width(SCALE as u32);
    for sum in (4..w + h).step_by(8) {
        let (x, y) = (sum.min(w), sum.min(h));
        let ends = [(x, sum - x), (sum - y, y)].map(|(x, y)| ((left + x) * SCALE, (top + y) * SCALE));
        area.draw(&PathElement::new(ends.to_vec(), style)).map_err(drawing)?;
    }
    Ok(())
}

fn draw_legend(area: &Area, chance: Option<f64>, at: (i32, i32)) -> Result<()> {
    const BAR: (i32, i32) = (200, 14);
    const PARTS: i32 = 50;
    let low = chance.unwrap_or(0.0);
    let (left, top) = (at.0 + MARGIN, at.1 + 8);
    for part in 0..PARTS {
        let value = low + (1.0 - low) * f64::from(part) / f64::from(PARTS - 1);
        let edge = |part: i32| (left + BAR.0 * part / PARTS) * SCALE;
        let corners = [(edge(part), top * SCALE), (edge(part + 1), (top + BAR.1) * SCALE)];
        area.draw(&Rectangle::new(corners, shade(value, chance).filled())).map_err(drawing)?;
    }
    let frame = |area: &Area, x: i32, w: i32| {
        let corners = [(x * SCALE, top * SCALE), ((x + w) * SCALE, (top + BAR.1) * SCALE)];
        area.draw(&Rectangle::new(corners, INK.mix(0.3).stroke_width(SCALE as u32))).map_err(drawing)
    };
    frame(area, left, BAR.0)?;
    let words = if chance.is_some() { format!("chance, {}", percent(low)) } else { percent(low) };
    let below = top + BAR.1 + 6;
    write(area, &words, (left, below), text(12, (HPos::Left, VPos::Top)))?;
    write(area, "100\u{a0}%", (left + BAR.0, below), text(12, (HPos::Right, VPos::Top)))?;
    let (x, w) = (left + BAR.0 + 24, 28);
    hatch(area, (x, top), (w, BAR.1))?;
    frame(area, x, w)?;
    write(area, "not learned yet", (x + w + 8, top + BAR.1 / 2), text(12, (HPos::Left, VPos::Center)))
}

/// The colour of an accuracy: more is darker, and chance or less is palest.
fn shade(value: f64, chance: Option<f64>) -> RGBColor {
    let low = chance.unwrap_or(0.0);
    let last = STOPS.len() - 1;
    let at = (last as f64 * (value - low) / (1.0 - low)).clamp(0.0, last as f64);
    let from = (at as usize).min(last - 1);
    let (a, b, part) = (STOPS[from], STOPS[from + 1], at - from as f64);
    let mix = |a: f64, b: f64| (a + part * (b - a)).round() as u8;
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// Black or white, whichever is easier to read on a colour; not the ink, which changes with the page.
fn on(ground: RGBColor) -> RGBColor {
    if contrast(BLACK, ground) > contrast(WHITE, ground) { BLACK } else { WHITE }
}

/// The contrast of two colours as WCAG defines it, 1 to 21.
fn contrast(a: RGBColor, b: RGBColor) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn luminance(colour: RGBColor) -> f64 {
    let linear = |c: u8| match f64::from(c) / 255.0 {
        c if c <= 0.04045 => c / 12.92,
        c => ((c + 0.055) / 1.055).powf(2.4),
    };
    0.2126 * linear(colour.0) + 0.7152 * linear(colour.1) + 0.0722 * linear(colour.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(value: f64, chance: Option<f64>) -> String {
        let c = shade(value, chance);
        format!("#{:02X}{:02X}{:02X}", c.0, c.1, c.2)
    }

    #[test]
    fn colours_go_from_chance_to_one_whatever_the_matrix_holds() {
        let ends = [fill(0.1, Some(0.1)), fill(1.0, Some(0.1))];
        assert_eq!(ends, [fill(0.0, Some(0.1)), fill(1.0, None)]);
        assert_ne!(ends[0], fill(0.2, Some(0.1)));
        assert_ne!(fill(0.5, Some(0.5)), fill(0.5, Some(0.1)));
        // The same accuracy has the same colour beside others.
        let (low, high) = (vec![vec![Some(0.61)]], vec![vec![Some(0.61)], vec![Some(0.99), Some(0.97)]]);
        for rows in [&low, &high] {
            assert!(one(&Heat { title: "a", rows }, Some(0.1)).unwrap().contains(&fill(0.61, Some(0.1))));
        }
    }

    /// Lightness alone tells values apart, and every number can be read on its colour.
    #[test]
    fn more_is_darker_and_numbers_can_be_read() {
        let colours: Vec<RGBColor> = (0..=100).map(|i| shade(f64::from(i) / 100.0, None)).collect();
        for pair in colours.windows(2) {
            assert!(luminance(pair[1]) < luminance(pair[0]), "{pair:?}");
        }
        let least = colours.iter().map(|c| contrast(on(*c), *c)).fold(f64::INFINITY, f64::min);
        assert!(least >= 4.5, "{least}");
    }

    #[test]
    fn what_is_not_learned_is_hatched_and_has_its_number_but_no_colour() {
        let rows = vec![vec![Some(0.9), Some(0.12)], vec![Some(0.8), Some(0.7)]];
        let svg = one(&Heat { title: "a", rows: &rows }, Some(0.1)).unwrap();
        let lines = svg.matches("<polyline").count();
        assert!(lines > 4, "{svg}");
        assert!(svg.contains("\n12.0\n") && !svg.contains(&fill(0.12, Some(0.1))), "{svg}");
        // So is what a row does not reach; on and below the diagonal nothing is.
        let rows = vec![vec![Some(0.9)], vec![Some(0.8), Some(0.7)]];
        assert_eq!(one(&Heat { title: "a", rows: &rows }, Some(0.1)).unwrap().matches("<polyline").count(), lines);
        let svg = one(&Heat { title: "a", rows: &rows[..1] }, Some(0.1)).unwrap();
        assert_eq!(svg.matches("<polyline").count(), 0);
    }

    #[test]
    fn the_legend_names_chance_and_the_hatch() {
        for svg in [legend(Some(0.1)).unwrap(), whole(&[], Some(0.1)).unwrap()] {
            for words in ["chance, 10\u{a0}%", "100\u{a0}%", "not learned yet"] {
                assert!(svg.contains(&format!("\n{words}\n")), "{words}: {svg}");
            }
        }
        assert!(!legend(None).unwrap().contains("chance"));
        assert!(note(None).contains("do not say what guessing reaches"));
        assert!(note(Some(1.0 / 3.0)).contains("from chance, 33.3\u{a0}%, to 100\u{a0}%, in every report"));
    }
}
