//! Line charts as SVG.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::curves::{Chart, Panel, index};

/// Colours that stay apart for colour-blind readers (Okabe and Ito), on white and on
/// dark ground.
pub const PALETTE: [RGBColor; 7] = [
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

/// An SVG for a file of its own: on a white ground, so that it can be read anywhere.
pub fn for_file(svg: &str) -> String {
    let ground = "<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>";
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

/// Whether values are shown in percent.
fn percent(chart: &Chart) -> bool {
    chart.metric == "accuracy"
}

/// What a chart shows, for a heading.
pub fn title(chart: &Chart) -> String {
    let what = chart.metric.replace('_', " ");
    let mut letters = what.chars();
    let first = letters.next().map_or(String::new(), |c| c.to_uppercase().collect());
    let place = match chart.place.as_str() {
        "train" => "on training batches",
        "test" => "on test images, task by task",
        place => return format!("{first}{} ({place})", letters.as_str()),
    };
    format!("{first}{} {place}", letters.as_str())
}

/// What a panel shows: `test/3` is task 4, since people count from 1 and records from 0.
fn panel_title(panel: &Panel) -> String {
    match (panel.split.split_once('/'), index(&panel.split)) {
        (Some(("test", _)), Some(task)) => format!("Task {}", task + 1),
        (Some(("layer", _)), Some(layer)) => format!("Layer {}", layer + 1),
        (Some((place, rest)), _) => format!("{place} {rest}"),
        (None, _) => String::new(),
    }
}

/// One SVG per panel, for a page that arranges them by its width.
pub fn panels(chart: &Chart) -> Result<Vec<(String, String)>> {
    let frame = Frame::of(chart);
    let (width, height) = if chart.panels.len() == 1 { (560, 270) } else { (340, 230) };
    let draw = |panel: &Panel| {
        let label = format!("{} {}", title(chart), panel_title(panel));
        Ok((label, svg(width, height, |area| draw_panel(area, chart, panel, &frame))?))
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
    let (width, height) = if n == 1 { (560, 270) } else { (340, 230) };
    let rows = (n + columns - 1) / columns;
    let legend = legend_rows(&chart.arms, width * columns);
    let top = 34 + 22 * legend.len() as i32;
    svg(width * columns, top + rows * height, |root| {
        let px = SCALE;
        let style = text(16, (HPos::Left, VPos::Top));
        root.draw(&Text::new(title(chart), (14 * px, 10 * px), style)).map_err(drawing)?;
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

/// Arms of a legend with their left edges, row by row.
type Legend = Vec<Vec<(i32, usize, String)>>;

fn legend_rows(arms: &[String], width: i32) -> Legend {
    let mut rows: Legend = vec![Vec::new()];
    let mut x = 14;
    for (index, arm) in arms.iter().enumerate() {
        let length = 30 + 8 * arm.chars().count() as i32 + 18;
        if x + length > width && x > 14 {
            rows.push(Vec::new());
            x = 14;
        }
        if let Some(row) = rows.last_mut() {
            row.push((x, index, arm.clone()));
        }
        x += length;
    }
    rows
}

fn draw_legend(root: &Area, legend: &Legend, top: i32) -> Result<()> {
    let px = SCALE;
    for (row, items) in legend.iter().enumerate() {
        let y = (top + 22 * row as i32 + 8) * px;
        for (x, arm, name) in items {
            let line = vec![(x * px, y), ((x + 24) * px, y)];
            let style = PALETTE[arm % PALETTE.len()].stroke_width(3 * px as u32);
            root.draw(&PathElement::new(line, style)).map_err(drawing)?;
            let style = text(13, (HPos::Left, VPos::Center));
            root.draw(&Text::new(name.clone(), ((x + 30) * px, y), style)).map_err(drawing)?;
        }
    }
    Ok(())
}

/// The range that all panels of a chart share, so that they can be compared.
struct Frame {
    x: f64,
    low: f64,
    high: f64,
}

impl Frame {
    fn of(chart: &Chart) -> Self {
        let series = chart.panels.iter().flat_map(|p| &p.series);
        let points: Vec<(f64, f64)> = series.flat_map(|s| s.seeds.iter().flatten().copied()).collect();
        let x = points.iter().map(|p| p.0).fold(1.0, f64::max);
        let low = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
        if !(low.is_finite() && high.is_finite()) {
            return Self { x, low: 0.0, high: 1.0 };
        }
        let room = if high > low { 0.06 * (high - low) } else { 0.5 * high.abs().max(1e-6) };
        let (mut low, mut high) = (low - room, high + room);
        if percent(chart) {
            (low, high) = (low.max(0.0), high.min(1.0));
        } else if low < 0.0 && points.iter().all(|p| p.1 >= 0.0) {
            low = 0.0;
        }
        Self { x, low, high }
    }
}

fn draw_panel(area: &Area, chart: &Chart, panel: &Panel, frame: &Frame) -> Result<()> {
    let px = SCALE;
    let scale = if percent(chart) { 100.0 } else { 1.0 };
    let name = panel_title(panel);
    let top = if name.is_empty() { 10 } else { 28 };
    if !name.is_empty() {
        let style = text(13, (HPos::Left, VPos::Top));
        area.draw(&Text::new(name, (58 * px, 8 * px), style)).map_err(drawing)?;
    }
    let mut plot = ChartBuilder::on(area)
        .margin_top(top * px)
        .margin_right(16 * px)
        .margin_bottom(6 * px)
        .margin_left(4 * px)
        .x_label_area_size(40 * px)
        .y_label_area_size(54 * px)
        .build_cartesian_2d(0.0..frame.x * 1.01, frame.low * scale..frame.high * scale)
        .map_err(drawing)?;
    let unit = if percent(chart) { " (%)" } else { "" };
    plot.configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.14).stroke_width(px as u32))
        .axis_style(INK.mix(0.6).stroke_width(px as u32))
        .set_all_tick_mark_size(4 * px)
        .label_style(text(12, (HPos::Center, VPos::Top)))
        .axis_desc_style(text(12, (HPos::Center, VPos::Top)))
        .x_labels(5)
        .y_labels(6)
        .x_label_formatter(&|v| steps(*v))
        .y_label_formatter(&|v| tick(*v, (frame.high - frame.low) * scale))
        .x_desc("training step")
        .y_desc(format!("{}{unit}", chart.metric.replace('_', " ")))
        .draw()
        .map_err(drawing)?;
    let scaled = |points: &[(f64, f64)]| points.iter().map(|(x, y)| (*x, y * scale)).collect::<Vec<_>>();
    for series in &panel.series {
        let colour = PALETTE[series.arm % PALETTE.len()];
        for curve in &series.seeds {
            let style = colour.mix(0.22).stroke_width(px as u32);
            plot.draw_series(LineSeries::new(scaled(curve), style)).map_err(drawing)?;
        }
    }
    for series in &panel.series {
        let colour = PALETTE[series.arm % PALETTE.len()];
        let line = scaled(&series.mean);
        plot.draw_series(LineSeries::new(line.clone(), colour.stroke_width(2 * px as u32))).map_err(drawing)?;
        if line.len() <= 12 {
            let dot = |point: &(f64, f64)| Circle::new(*point, 3 * px, colour.filled());
            plot.draw_series(line.iter().map(dot)).map_err(drawing)?;
        }
    }
    Ok(())
}

/// `0`, `500`, `1.5k`, `20k`, `3M`.
fn steps(value: f64) -> String {
    let short = |v: f64, suffix: &str| {
        let text = format!("{v:.1}");
        format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match value {
        v if v >= 1e6 => short(v / 1e6, "M"),
        v if v >= 1e3 => short(v / 1e3, "k"),
        v => format!("{v:.0}"),
    }
}

/// A tick's label with as many decimals as the axis needs.
fn tick(value: f64, span: f64) -> String {
    if span <= 0.0 || value.abs() >= 1e5 || span < 1e-4 {
        return format!("{value:.1e}");
    }
    let places = (1.0 - (span / 5.0).log10()).ceil().clamp(0.0, 6.0) as usize;
    // Ticks are sums of steps: what should be zero may be a negative rounding error.
    let value = if value.abs() < 1e-9 * span { 0.0 } else { value };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short() {
        assert_eq!([0.0, 500.0, 1500.0, 20_000.0, 3e6].map(steps), ["0", "500", "1.5k", "20k", "3M"]);
        assert_eq!(tick(20.0, 100.0), "20");
        assert_eq!(tick(-1e-17, 1.0), "0");
        assert_eq!(tick(0.25, 1.2), "0.25");
        assert_eq!(tick(0.0015, 0.004), "0.0015");
    }

    #[test]
    fn legend_breaks_into_rows() {
        let arms: Vec<String> = (0..8).map(|i| format!("a-rather-long-arm-{i}")).collect();
        let rows = legend_rows(&arms, 400);
        assert!(rows.len() > 1);
        assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), 8);
        assert!(rows.iter().flatten().all(|(x, _, name)| x + 30 + 8 * name.len() as i32 <= 400));
    }
}
