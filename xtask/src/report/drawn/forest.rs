//! A forest plot: a row for each claim and printed value of a paper.
//!
//! Rows differ in unit and size, so each has its own scale, with no difference in the middle of all of them. A verdict is
//! told by the colour and by the shape of its mark, and in a word.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::plot::{Area, INK, SCALE, drawing, svg, text};
use crate::report::measured::glance::{self, Glance, Mark, Row};
use crate::report::measured::shown::Spread;

/// For which page it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Words, marks and figures beside each other.
    Wide,
    /// Words above, figures and marks beside each other.
    Narrow,
}

/// Measures of a layout, in pixels, and how many letters fit on a line.
struct Frame {
    layout: Layout,
    width: i32,
    /// Between which the marks lie.
    strip: (i32, i32),
    /// Where figures begin.
    figures: i32,
    letters: usize,
    letters_of_figures: usize,
    /// Of the notes and the sentence.
    letters_of_all: usize,
}

const LEFT: i32 = 12;
const LINE: i32 = 18;
const SMALL: i32 = 16;

impl Frame {
    fn of(layout: Layout) -> Self {
        match layout {
            Layout::Wide => Self {
                layout,
                width: 1060,
                strip: (490, 760),
                figures: 782,
                letters: 62,
                letters_of_figures: 38,
                letters_of_all: 145,
            },
            Layout::Narrow => Self {
                layout,
                width: 400,
                strip: (236, 390),
                figures: LEFT,
                letters: 51,
                letters_of_figures: 36,
                letters_of_all: 55,
            },
        }
    }

    fn middle(&self) -> i32 {
        (self.strip.0 + self.strip.1) / 2
    }
}

/// Something that stands below another.
enum Part<'a> {
    Title(String),
    Words(String),
    /// What left and right of the middle mean, and what the figures are.
    Head([&'static str; 3]),
    /// What the claims below it say of the paper.
    Group(&'static str),
    /// A claim or printed value, and whether what it says of the paper stands beside it.
    Row(&'a Row, bool),
    Legend(Vec<(Mark, &'static str)>),
    Note(String),
    Gap,
}

/// Whether a paper has nothing to draw.
pub fn is_empty(glance: &Glance) -> bool {
    glance.claims.is_empty() && glance.printed.is_empty()
}

/// The rows with their legend.
///
/// # Errors
/// What the drawing library answers.
pub fn rows(glance: &Glance, layout: Layout) -> Result<String> {
    let frame = Frame::of(layout);
    let parts = parts(glance, &frame);
    drawn(&frame, &parts)
}

/// The same under the paper's title and sentence, for a file of its own.
///
/// # Errors
/// What the drawing library answers.
pub fn whole(glance: &Glance, layout: Layout) -> Result<String> {
    let frame = Frame::of(layout);
    let mut all = vec![Part::Gap];
    all.extend(wrapped(&glance.title, frame.letters_of_all * 4 / 5).into_iter().map(Part::Title));
    all.extend(wrapped(&glance.sentence, frame.letters_of_all).into_iter().map(Part::Words));
    all.push(Part::Gap);
    all.extend(parts(glance, &frame));
    drawn(&frame, &all)
}

fn drawn(frame: &Frame, parts: &[Part]) -> Result<String> {
    let height = parts.iter().map(|part| height(frame, part)).sum::<i32>() + 8;
    svg(frame.width, height, |area| {
        let mut y = 0;
        for part in parts {
            draw(area, frame, part, y)?;
            y += self::height(frame, part);
        }
        Ok(())
    })
}

fn parts<'a>(glance: &'a Glance, frame: &Frame) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    if !glance.claims.is_empty() {
        parts.push(Part::Head(["← against the claim", "as claimed →", "in its direction, or value; bound [95%]"]));
        let kinds = [
            (None, "For the paper"),
            (Some(glance::AGAINST), "Against the paper: what holds here is bad news of it"),
            (Some(glance::CONTROL), "Controls"),
        ];
        let of = |said: Option<&'static str>| glance.claims.iter().filter(move |row| row.said == said);
        let several = kinds.iter().filter(|(said, _)| of(*said).next().is_some()).count() > 1;
        for (said, title) in kinds.into_iter().filter(|(said, _)| of(*said).next().is_some()) {
            parts.extend(several.then_some(Part::Group(title)));
            parts.extend(of(said).map(|row| Part::Row(row, !several)));
        }
    }
    if !glance.printed.is_empty() {
        parts.push(Part::Head(["← below the printed value", "above it →", "ours [95% interval] for printed"]));
        parts.extend(glance.printed.iter().map(|row| Part::Row(row, true)));
    }
    let all = || glance.claims.iter().chain(&glance.printed);
    parts.push(Part::Gap);
    let names = [
        (Mark::Holds, "holds, reproduced, better"),
        (Mark::Fails, "fails, worse, different"),
        (Mark::NoDifference, "no difference"),
        (Mark::Undecided, "undecided"),
        (Mark::Unjudged, "not judged"),
    ];
    let claims_alone = glance.printed.is_empty();
    let there = names.into_iter().filter(|(mark, _)| all().any(|row| row.mark == *mark && row.found.is_some()));
    let named = there.map(|(mark, name)| (mark, if claims_alone { before_comma(name) } else { name }));
    let named: Vec<_> = named.collect();
    let per_line = if frame.layout == Layout::Wide { 5 } else { 2 };
    parts.extend(named.chunks(per_line).map(|line| Part::Legend(line.to_vec())));
    parts.extend(wrapped(&note(glance), frame.letters_of_all).into_iter().map(Part::Note));
    parts
}

fn before_comma(words: &'static str) -> &'static str {
    words.split(',').next().unwrap_or(words)
}

/// What is what.
fn note(glance: &Glance) -> String {
    let claims = || glance.claims.iter();
    let apart = claims().chain(&glance.printed).any(|row| matches!(row.found, Some(Spread::Apart(_))));
    let mut said = vec![
        "Each row has its own scale: compare rows by their figures. Middle line: both sides are equal, or the value is the bound or the printed one.",
    ];
    if claims().any(|row| row.margin.is_some()) {
        said.push("Tick: the margin of the claim.");
    }
    if claims().any(|row| row.within.is_some()) {
        said.push("Shaded: what counts as equal; no difference is found where the 90% interval lies inside.");
    }
    if !glance.printed.is_empty() {
        said.push("Shaded at a printed value: its tolerance.");
    }
    said.push("Bar: 95% t interval of the mean over seeds.");
    if apart {
        said.push("Small marks: the seeds by themselves, where an interval would not say what they found.");
    }
    said.join(" ")
}

fn height(frame: &Frame, part: &Part) -> i32 {
    match part {
        Part::Title(_) => 24,
        Part::Words(_) => LINE,
        Part::Head(_) if frame.layout == Layout::Wide => 26,
        Part::Head(_) => 28,
        Part::Group(_) => 26,
        Part::Row(row, say) => {
            let (words, figures) = (words_of(row, frame).len() as i32, figures_of(row, frame, *say).len() as i32);
            match frame.layout {
                Layout::Wide => {
                    (LINE * words + SMALL * i32::from(*say && row.said.is_some())).max(LINE + SMALL * figures) + 12
                }
                Layout::Narrow => LINE * words + (SMALL * figures).max(24) + 14,
            }
        }
        Part::Legend(_) => 22,
        Part::Note(_) => SMALL,
        Part::Gap => 10,
    }
}

fn words_of(row: &Row, frame: &Frame) -> Vec<String> {
    wrapped(&row.text, frame.letters)
}

fn figures_of(row: &Row, frame: &Frame, say: bool) -> Vec<String> {
    match frame.layout {
        Layout::Wide => wrapped(&row.figures, frame.letters_of_figures),
        Layout::Narrow => {
            let said = row.said.filter(|_| say).map_or(String::new(), |said| format!(" ({said})"));
            wrapped(&format!("{}{said}: {}", row.word, row.figures), frame.letters_of_figures)
        }
    }
}

fn draw(area: &Area, frame: &Frame, part: &Part, y: i32) -> Result<()> {
    let bottom = y + height(frame, part);
    let left = |words: &str, x: i32, y: i32, size: i32, ink: f64| write(area, words, (x, y), size, HPos::Left, ink);
    match part {
        Part::Title(words) => {
            let style = text(18, (HPos::Left, VPos::Top));
            let style = TextStyle { font: style.font.clone().style(FontStyle::Bold), ..style };
            area.draw(&Text::new(words.clone(), (LEFT * SCALE, y * SCALE), style)).map_err(drawing)
        }
        Part::Words(words) => left(words, LEFT, y, 14, 1.0),
        Part::Note(words) => left(words, LEFT, y, 12, 0.7),
        Part::Gap => Ok(()),
        Part::Head([against, with, figures]) => {
            write(area, against, (frame.middle() - 8, y + 6), 12, HPos::Right, 0.7)?;
            left(with, frame.middle() + 8, y + 6, 12, 0.7)?;
            if frame.layout == Layout::Wide {
                left(figures, frame.figures, y + 6, 12, 0.7)?;
            }
            rule(area, (LEFT, bottom - 2), (frame.width - LEFT, bottom - 2), 0.5)
        }
        Part::Legend(marks) => {
            let step = if frame.layout == Layout::Wide { 200 } else { 190 };
            for (i, (kind, name)) in marks.iter().enumerate() {
                let x = LEFT + step * i as i32;
                mark(area, *kind, (x + 8, y + 9), 5)?;
                left(name, x + 22, y + 2, 12, 0.9)?;
            }
            Ok(())
        }
        Part::Group(title) => {
            let style = text(13, (HPos::Left, VPos::Top));
            let style = TextStyle { font: style.font.clone().style(FontStyle::Bold), ..style };
            area.draw(&Text::new(*title, (LEFT * SCALE, (y + 8) * SCALE), style)).map_err(drawing)
        }
        Part::Row(row, say) => {
            let words = words_of(row, frame);
            for (i, line) in words.iter().enumerate() {
                left(line, LEFT, y + 5 + LINE * i as i32, 14, 1.0)?;
            }
            let below = y + 5 + LINE * words.len() as i32;
            let middle = match frame.layout {
                Layout::Wide => {
                    if let Some(said) = row.said.filter(|_| *say) {
                        left(said, LEFT, below, 12, 0.7)?;
                    }
                    left(row.word, frame.figures, y + 5, 14, 1.0)?;
                    for (i, line) in figures_of(row, frame, *say).iter().enumerate() {
                        left(line, frame.figures, y + 5 + LINE + SMALL * i as i32, 12, 0.85)?;
                    }
                    rule(area, (frame.middle(), y), (frame.middle(), bottom), 0.5)?;
                    (y + bottom) / 2
                }
                Layout::Narrow => {
                    let figures = figures_of(row, frame, *say);
                    for (i, line) in figures.iter().enumerate() {
                        left(line, LEFT, below + 3 + SMALL * i as i32, 12, 0.85)?;
                    }
                    let middle = below + 11;
                    if row.found.is_some() {
                        rule(area, (frame.middle(), middle - 12), (frame.middle(), middle + 12), 0.5)?;
                    }
                    middle
                }
            };
            on_strip(area, frame, row, middle)?;
            rule(area, (LEFT, bottom - 1), (frame.width - LEFT, bottom - 1), 0.14)
        }
    }
}

/// What was found, on the scale of its own row.
fn on_strip(area: &Area, frame: &Frame, row: &Row, y: i32) -> Result<()> {
    let Some(found) = &row.found else { return Ok(()) };
    let ends = found.ends().into_iter().chain(row.margin).chain(row.within);
    let extent = ends.fold(0.0, |most: f64, end| most.max(end.abs()));
    let half = f64::from(frame.strip.1 - frame.strip.0) / 2.0 - 10.0;
    let at = |value: f64| frame.middle() + (half * if extent > 0.0 { value / extent } else { 0.0 }).round() as i32;
    let px = |x: i32, y: i32| (x * SCALE, y * SCALE);
    if let Some(within) = row.within {
        let corners = [px(at(-within), y - 10), px(at(within), y + 10)];
        area.draw(&Rectangle::new(corners, INK.mix(0.12).filled())).map_err(drawing)?;
    }
    if let Some(margin) = row.margin {
        let tick = vec![px(at(margin), y - 10), px(at(margin), y + 10)];
        area.draw(&PathElement::new(tick, INK.stroke_width(2 * SCALE as u32))).map_err(drawing)?;
    }
    let bar = |from: (i32, i32), to: (i32, i32)| {
        let style = colour(row.mark).stroke_width(2 * SCALE as u32);
        area.draw(&PathElement::new(vec![px(from.0, from.1), px(to.0, to.1)], style)).map_err(drawing)
    };
    match found {
        Spread::Point(value) => mark(area, row.mark, (at(*value), y), 6),
        Spread::Interval(e) => {
            bar((at(e.low), y), (at(e.high), y))?;
            for end in [e.low, e.high] {
                bar((at(end), y - 4), (at(end), y + 4))?;
            }
            mark(area, row.mark, (at(e.mean), y), 6)
        }
        Spread::Apart(values) => values.iter().try_for_each(|value| mark(area, row.mark, (at(*value), y), 4)),
    }
}

/// Colours that stay apart for colour-blind readers, on white and on dark ground.
fn colour(mark: Mark) -> RGBColor {
    match mark {
        Mark::Holds => RGBColor(0, 158, 115),
        Mark::Fails => RGBColor(213, 94, 0),
        Mark::NoDifference => RGBColor(0, 114, 178),
        Mark::Undecided | Mark::Unjudged => RGBColor(127, 127, 127),
    }
}

/// A disc, a cross, a lozenge, a ring, a small bar.
fn mark(area: &Area, mark: Mark, (x, y): (i32, i32), size: i32) -> Result<()> {
    let (at, size) = ((x * SCALE, y * SCALE), size * SCALE);
    let colour = colour(mark);
    match mark {
        Mark::Holds => area.draw(&Circle::new(at, size, colour.filled())),
        Mark::Fails => area.draw(&Cross::new(at, size, colour.stroke_width(3 * SCALE as u32))),
        Mark::NoDifference => {
            let size = size * 5 / 4;
            let corners = vec![(at.0 - size, at.1), (at.0, at.1 - size), (at.0 + size, at.1), (at.0, at.1 + size)];
            area.draw(&Polygon::new(corners, colour))
        }
        Mark::Undecided => area.draw(&Circle::new(at, size, colour.stroke_width(2 * SCALE as u32))),
        Mark::Unjudged => {
            let corners = [(at.0 - size / 3, at.1 - size), (at.0 + size / 3, at.1 + size)];
            area.draw(&Rectangle::new(corners, colour.filled()))
        }
    }
    .map_err(drawing)
}

fn write(area: &Area, words: &str, (x, y): (i32, i32), size: i32, anchor: HPos, ink: f64) -> Result<()> {
    let style = text(size, (anchor, VPos::Top));
    let style = TextStyle { color: INK.mix(ink).to_backend_color(), ..style };
    area.draw(&Text::new(words.to_owned(), (x * SCALE, y * SCALE), style)).map_err(drawing)
}

fn rule(area: &Area, from: (i32, i32), to: (i32, i32), ink: f64) -> Result<()> {
    let line = vec![(from.0 * SCALE, from.1 * SCALE), (to.0 * SCALE, to.1 * SCALE)];
    area.draw(&PathElement::new(line, INK.mix(ink).stroke_width(SCALE as u32))).map_err(drawing)
}

/// Lines of at most so many letters, broken between words.
fn wrapped(words: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use plasticity_core::stats::Estimate;

    use super::*;

    fn row(mark: Mark, found: Option<Spread>) -> Row {
        Row {
            text: "After one epoch per task HLOP with orthonormal rows ends higher than naive training, by ten points"
                .into(),
            said: Some("control"),
            mark,
            word: "holds",
            found,
            margin: Some(0.1),
            within: Some(0.05),
            figures: "23.88 [22.29, 25.47] points".into(),
        }
    }

    fn glance() -> Glance {
        let e = Estimate { n: 5, mean: 0.24, sd: 0.01, low: 0.22, high: 0.26 };
        let marks = [Mark::Holds, Mark::Fails, Mark::NoDifference, Mark::Undecided];
        let mut claims: Vec<Row> = marks.map(|mark| row(mark, Some(Spread::Interval(e)))).to_vec();
        claims.push(row(Mark::Undecided, Some(Spread::Apart(vec![-0.8, 0.1, 0.09]))));
        claims.push(row(Mark::Unjudged, None));
        let printed = vec![Row { margin: None, ..row(Mark::Holds, Some(Spread::Point(0.01))) }];
        Glance { title: "A paper".into(), sentence: "All hold.".into(), claims, printed }
    }

    /// The numbers of an attribute.
    fn numbers(svg: &str, name: &str) -> Vec<f64> {
        let name = format!(" {name}=\"");
        let starts = svg.split(&name).skip(1);
        starts.filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
    }

    #[test]
    fn every_verdict_has_its_own_shape_and_colour() {
        let shapes = [Mark::Holds, Mark::Fails, Mark::NoDifference, Mark::Undecided, Mark::Unjudged].map(|kind| {
            let svg = svg(20, 20, |area| mark(area, kind, (10, 10), 5)).unwrap();
            let drawn = svg.split_once('>').unwrap().1.to_owned();
            // Without its colours only its shape is left.
            let shape: String = drawn.split('#').map(|part| part.get(6..).unwrap_or(part)).collect();
            (drawn, shape)
        });
        for (i, (drawn, shape)) in shapes.iter().enumerate() {
            assert!(drawn.contains('<'));
            assert!(shapes.iter().skip(i + 1).all(|(_, other)| other != shape), "{shape}");
        }
    }

    #[test]
    fn rows_stay_inside_the_picture_in_both_layouts() {
        for layout in [Layout::Wide, Layout::Narrow] {
            let frame = Frame::of(layout);
            let picture = whole(&glance(), layout).unwrap();
            let most = f64::from(frame.width * SCALE);
            let xs = ["x", "cx", "x1", "x2"].map(|name| numbers(&picture, name)).concat();
            assert!(xs.len() > 20 && xs.iter().all(|x| (0.0..=most).contains(x)), "{xs:?}");
            for word in ["All hold.", "control", "23.88 [22.29,", "own scale", "Tick", "Small marks"] {
                assert!(picture.contains(word), "{layout:?} lacks {word}");
            }
        }
        let rows = rows(&glance(), Layout::Wide).unwrap();
        assert!(!rows.contains("All hold."), "the page says it above");
    }

    #[test]
    fn claims_stand_by_what_they_say_of_the_paper() {
        let said = |said| Row { said, ..row(Mark::Holds, Some(Spread::Point(1.0))) };
        let claims = vec![said(Some(glance::CONTROL)), said(Some(glance::AGAINST)), said(None)];
        let picture = rows(&Glance { claims, printed: Vec::new(), ..glance() }, Layout::Narrow).unwrap();
        let at = |words: &str| picture.find(words).unwrap_or_else(|| panic!("{words} is missing"));
        assert!(at("For the paper") < at("Against the paper") && at("Against the paper") < at("Controls"));
        assert!(!picture.contains("(control)"), "what the heading says is not said again");
    }

    #[test]
    fn the_farthest_of_a_row_sets_its_scale() {
        let discs = |value: f64| {
            let claims = vec![Row { margin: None, within: None, ..row(Mark::Holds, Some(Spread::Point(value))) }];
            let glance = Glance { claims, printed: Vec::new(), ..glance() };
            numbers(&rows(&glance, Layout::Wide).unwrap(), "cx")[0]
        };
        assert_eq!(discs(0.001), discs(1e6));
        assert!(discs(1.0) > discs(-1.0));
        assert_eq!(discs(0.0), f64::from(Frame::of(Layout::Wide).middle() * SCALE));
    }

    #[test]
    fn long_words_are_broken_into_lines() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensible", 7), ["incomprehensible"]);
        assert!(wrapped("", 7).is_empty());
    }
}
