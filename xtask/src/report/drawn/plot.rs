//! Line charts as SVG.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use crate::report::measured::chart::{COLOURS, Chart, Key, Line, Panel, Stroke};

/// Colours that stay apart for colour-blind readers (Okabe and Ito), on white and on
/// dark ground.
pub const PALETTE: [RGBColor; COLOURS] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(127, 127, 127),
];

/// Text, axes and grid; [`for_page`] makes it the colour of the page's own text.
pub const INK: RGBColor = RGBColor(27, 31, 36);
const INK_HEX: &str = "#1B1F24";

/// The backend places points on whole pixels, so charts are drawn this many times larger.
pub const SCALE: i32 = 4;

/// An area of an SVG to draw on.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws on an SVG of the given size in pixels.
///
/// # Errors
/// What `draw` answers.
pub fn svg(width: i32, height: i32, draw: impl FnOnce(&Area) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    let large = ((width * SCALE) as u32, (height * SCALE) as u32);
    {
        let root = SVGBackend::with_string(&mut text, large).into_drawing_area();
        draw(&root)?;
        root.present().map_err(drawing)?;
    }
    let scaled = format!("width=\"{}\" height=\"{}\" viewBox", large.0, large.1);
    Ok(text.replacen(&scaled, &format!("width=\"{width}\" height=\"{height}\" viewBox"), 1))
}

/// An SVG for a file of its own: on a ground of its own, so that it can be read anywhere, which is dark where the
/// reader's pages are.
pub fn for_file(svg: &str) -> String {
    let ground = format!(
        "<style>@media (prefers-color-scheme: dark) {{ .ground {{ fill: #0f1419 }} [fill=\"{INK_HEX}\"] {{ fill: #e6edf3 }} \
         [stroke=\"{INK_HEX}\"] {{ stroke: #e6edf3 }} }}</style>\n<rect class=\"ground\" width=\"100%\" height=\"100%\" \
         fill=\"#FFFFFF\"/>"
    );
    match svg.find('>') {
        Some(end) => format!("{}\n{ground}{}", &svg[..=end], &svg[end + 1..]),
        None => svg.into(),
    }
}

/// An SVG for the page: without the namespace, in the page's colour of text, with a name
/// for screen readers.
pub fn for_page(svg: &str, label: &str) -> String {
    let label = label.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    svg.replacen("xmlns=\"http://www.w3.org/2000/svg\"", &format!("role=\"img\" aria-label=\"{label}\""), 1)
        .replace(INK_HEX, "currentColor")
}

/// Text of a size in pixels.
pub fn text(size: i32, anchor: (HPos, VPos)) -> TextStyle<'static> {
    // The backend divides sizes by 1.24.
    ("sans-serif", f64::from(size * SCALE) * 1.24).into_font().color(&INK).pos(Pos::new(anchor.0, anchor.1))
}

/// An error of the drawing library.
pub fn drawing<E: std::fmt::Display>(error: E) -> anyhow::Error {
    anyhow!("cannot draw a chart: {error}")
}

/// A colour of the palette.
pub fn colour(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// One SVG per panel with its name, for a page that arranges them by its width.
pub fn panels(chart: &Chart) -> Result<Vec<(String, String)>> {
    let frame = Frame::of(chart);
    // Narrow, so that its words can be read where a telephone shrinks it.
    let (width, height) = if chart.panels.len() == 1 { (440, 270) } else { size(chart) };
    let draw = |panel: &Panel| {
        let label = format!("{} {}", chart.title, panel.title);
        Ok((label.trim_end().to_owned(), svg(width, height, |area| draw_panel(area, chart, panel, &frame))?))
    };
    chart.panels.iter().map(draw).collect()
}

/// All panels with title and legend in one SVG.
pub fn whole(chart: &Chart) -> Result<String> {
    let n = chart.panels.len() as i32;
    let columns = match n {
        1 => 1,
        2..=4 => 2,
        5..=9 => 3,
        _ => 5,
    };
    let (width, height) = size(chart);
    let rows = (n + columns - 1) / columns;
    let legend = legend_rows(&chart.keys, width * columns);
    let top = 34 + 22 * legend.len() as i32;
    svg(width * columns, top + rows * height, |root| {
        let px = SCALE;
        let style = text(16, (HPos::Left, VPos::Top));
        root.draw(&Text::new(chart.title.clone(), (14 * px, 10 * px), style)).map_err(drawing)?;
        draw_legend(root, &legend, 36)?;
        let (_, below) = root.split_vertically(top * px);
        let frame = Frame::of(chart);
        let areas = below.split_evenly((rows as usize, columns as usize));
        for (panel, area) in chart.panels.iter().zip(&areas) {
            draw_panel(area, chart, panel, &frame)?;
        }
        Ok(())
    })
}

fn size(chart: &Chart) -> (i32, i32) {
    if chart.panels.len() == 1 { (560, 270) } else { (340, 230) }
}

/// Entries of a legend with their left edges, row by row.
type Legend<'a> = Vec<Vec<(i32, &'a Key)>>;

fn legend_rows(keys: &[Key], width: i32) -> Legend<'_> {
    let mut rows: Legend = vec![Vec::new()];
    let mut x = 14;
    for key in keys {
        let length = 30 + 8 * key.name.chars().count() as i32 + 18;
        if x + length > width && x > 14 {
            rows.push(Vec::new());
            x = 14;
        }
        if let Some(row) = rows.last_mut() {
            row.push((x, key));
        }
        x += length;
    }
    rows
}

fn draw_legend(root: &Area, legend: &Legend, top: i32) -> Result<()> {
    let px = SCALE;
    for (row, items) in legend.iter().enumerate() {
        let y = (top + 22 * row as i32 + 8) * px;
        for (x, key) in items {
            let style = colour(key.colour).stroke_width(3 * px as u32);
            for (from, to) in dashes(key.stroke) {
                let line = vec![((x + from) * px, y), ((x + to) * px, y)];
                root.draw(&PathElement::new(line, style)).map_err(drawing)?;
            }
            let style = text(13, (HPos::Left, VPos::Center));
            root.draw(&Text::new(key.name.clone(), ((x + 30) * px, y), style)).map_err(drawing)?;
        }
    }
    Ok(())
}

/// The parts of a legend's line of length 24.
fn dashes(stroke: Stroke) -> Vec<(i32, i32)> {
    match stroke {
        Stroke::Solid => vec![(0, 24)],
        Stroke::Dashed => vec![(0, 10), (14, 24)],
        Stroke::Dotted => vec![(0, 4), (7, 11), (14, 18), (21, 24)],
    }
}

/// The axes that all panels share.
struct Frame {
    x: Axis,
    y: Axis,
}

impl Frame {
    fn of(chart: &Chart) -> Self {
        let lines = || chart.panels.iter().flat_map(|p| &p.lines);
        let points = lines().flat_map(|l| {
            let band = l.band.iter().flat_map(|(x, low, high)| [(*x, *low), (*x, *high)]);
            l.mean.iter().chain(l.seeds.iter().flatten()).copied().chain(band)
        });
        let failed = lines().flat_map(|l| l.failed.iter().flatten().copied());
        let (low, high) = room(points.clone().map(|p| p.1).collect(), failed.clone().map(|p| p.1).collect());
        let all = points.chain(failed);
        Self {
            x: Axis::around(all.clone().map(|p| p.0), chart.x.1, 0.03),
            y: Axis::around(all.map(|p| p.1.clamp(low, high)), chart.y.1, 0.06),
        }
    }
}

/// Between which values lines are drawn. A run that blows up would flatten all others, so it
/// may go beyond them by their own span and no further; alone, by the span of most of it.
fn room(finished: Vec<f64>, mut failed: Vec<f64>) -> (f64, f64) {
    let ends = |values: &[f64]| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        (low, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    };
    if failed.is_empty() {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    let (low, high) = if finished.is_empty() {
        failed.sort_by(f64::total_cmp);
        ends(&failed[failed.len() / 10..=(failed.len() - 1) * 9 / 10])
    } else {
        ends(&finished)
    };
    let span = (high - low).max(1e-3 * high.abs()).max(f64::MIN_POSITIVE);
    (low - span, high + span)
}

fn draw_panel(area: &Area, chart: &Chart, panel: &Panel, frame: &Frame) -> Result<()> {
    let px = SCALE;
    let Frame { x, y } = frame;
    let top = if panel.title.is_empty() { 10 } else { 28 };
    if !panel.title.is_empty() {
        let style = text(13, (HPos::Left, VPos::Top));
        area.draw(&Text::new(panel.title.clone(), (58 * px, 8 * px), style)).map_err(drawing)?;
    }
    let mut plot = ChartBuilder::on(area)
        .margin_top(top * px)
        .margin_right(16 * px)
        .margin_bottom(6 * px)
        .margin_left(4 * px)
        .x_label_area_size(40 * px)
        .y_label_area_size(54 * px)
        .build_cartesian_2d(*x, *y)
        .map_err(drawing)?;
    plot.configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.14).stroke_width(px as u32))
        .axis_style(INK.mix(0.6).stroke_width(px as u32))
        .set_all_tick_mark_size(4 * px)
        .label_style(text(12, (HPos::Center, VPos::Top)))
        .axis_desc_style(text(12, (HPos::Center, VPos::Top)))
        .x_label_formatter(&|v| x.label(*v))
        .y_label_formatter(&|v| y.label(*v))
        .x_desc(&chart.x.0)
        .y_desc(&chart.y.0)
        .draw()
        .map_err(drawing)?;
    let place = |(px, py): &(f64, f64)| (x.place(*px), y.place(*py));
    let placed = |points: &[(f64, f64)]| points.iter().map(place).collect::<Vec<_>>();
    // What leaves the axes ends at their edge.
    let within = |(px, py): (f64, f64)| (px, py.clamp(y.low, y.high));
    let key = |line: &Line| chart.keys.get(line.key).map_or((0, Stroke::Solid), |k| (k.colour, k.stroke));
    for line in &panel.lines {
        let colour = colour(key(line).0);
        let back = line.band.iter().rev().map(|(x, low, _)| (*x, *low));
        let around: Vec<_> = line.band.iter().map(|(x, _, high)| (*x, *high)).chain(back).collect();
        // Many bands over each other would hide the lines.
        let many = panel.lines.len() > 4;
        if !around.is_empty() {
            let ink = if many { 0.07 } else { 0.18 };
            let around: Vec<_> = placed(&around).into_iter().map(within).collect();
            plot.draw_series([Polygon::new(around, colour.mix(ink))]).map_err(drawing)?;
        }
        // Where there is no mean, the seeds are all there is to see.
        let ink = match (line.mean.is_empty(), many) {
            (true, _) => 0.7,
            (false, true) => 0.35,
            (false, false) => 0.65,
        };
        for curve in &line.seeds {
            let style = colour.mix(ink).stroke_width(px as u32);
            plot.draw_series(LineSeries::new(placed(curve), style)).map_err(drawing)?;
        }
    }
    for line in &panel.lines {
        let (colour, stroke) = (colour(key(line).0), key(line).1);
        let style = colour.stroke_width(2 * px as u32);
        let points = placed(&line.mean);
        let dash = match stroke {
            Stroke::Solid => None,
            Stroke::Dashed => Some((8, 5)),
            Stroke::Dotted => Some((3, 3)),
        };
        match dash {
            None => plot.draw_series(LineSeries::new(points.clone(), style)).map(drop),
            Some((length, gap)) => {
                let dashed = DashedLineSeries::new(points.iter().copied(), length * px, gap * px, style);
                plot.draw_series(dashed).map(drop)
            }
        }
        .map_err(drawing)?;
        for curve in &line.failed {
            let points: Vec<_> = placed(curve).into_iter().map(within).collect();
            let style = colour.stroke_width(2 * px as u32);
            let dotted = DashedLineSeries::new(points.iter().copied(), 3 * px, 3 * px, style);
            plot.draw_series(dotted).map_err(drawing)?;
            let end = points.last().map(|end| Cross::new(*end, 5 * px, style));
            plot.draw_series(end).map_err(drawing)?;
        }
        if points.len() <= 12 {
            let dot = |point: &(f64, f64)| Circle::new(*point, 3 * px, colour.filled());
            plot.draw_series(points.iter().map(dot)).map_err(drawing)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_blew_up_leaves_room_for_the_others() {
        assert_eq!(room(vec![1.0, 3.0], vec![]), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(room(vec![1.0, 3.0], vec![2.0, 1e30]), (-1.0, 5.0));
        let mut alone = vec![1e30];
        alone.extend((0..20).map(f64::from));
        assert_eq!(room(vec![], alone), (-14.0, 34.0));
    }

    #[test]
    fn legend_breaks_into_rows() {
        let name = |i| format!("a-rather-long-arm-{i}");
        let keys: Vec<Key> = (0..8).map(|i| Key { name: name(i), arm: i, colour: i, stroke: Stroke::Solid }).collect();
        let rows = legend_rows(&keys, 400);
        assert!(rows.len() > 1);
        assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), 8);
        assert!(rows.iter().flatten().all(|(x, key)| x + 30 + 8 * key.name.len() as i32 <= 400));
    }
}
