//! A test sequence and what the memory does with each of its tokens, as SVG (section 12.4).

use std::collections::{HashMap, HashSet};

use burn::prelude::*;
use plasticity_core::error::RunError;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::model::Trace;
use crate::tasks::Batch;

/// What a reader must know.
pub(super) const CAPTION: &str = "One column a token: pairs of key and value (k1 v1 ...; v1' is a new value for k1), \
     filler (·), and every key once more, framed: what followed it? Below it the model's answer, red where it is \
     wrong. Surprise: how far the value was from what the memory held under this key. Familiarity: how well the token \
     matches keys that the memory holds. Write rate: how strongly the token is written. One row for each head of each \
     layer. Look for: is a pair written more strongly than filler, and is the answer that of the pair?";

const INK: RGBColor = RGBColor(27, 31, 36);
const PALE: RGBColor = RGBColor(139, 148, 158);
const MARK: RGBColor = RGBColor(213, 94, 0);
/// Pixels of a cell, of a line of text, and left of the cells.
const CELL: i32 = 16;
const LINE: i32 = 18;
const LEFT: i32 = 104;
const MARGIN: i32 = 10;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A kind of value, a row for each head of each layer.
struct Block {
    title: String,
    rows: Vec<Vec<f32>>,
    /// The value that is drawn darkest.
    most: f32,
}

/// Draws the first sequence of `batch`, what `trace` tells of it, and the model's answer to each of its questions.
pub(super) fn draw(batch: &Batch, answers: &[u32], traces: &[Trace]) -> Result<String, RunError> {
    let labels = labels(batch);
    let block = |title: String, of: fn(&Trace) -> &Tensor<3>, most: Option<f32>| {
        let rows: Vec<Vec<f32>> = traces.iter().flat_map(|trace| rows(of(trace))).collect();
        let most = most.unwrap_or_else(|| rows.iter().flatten().copied().fold(f32::MIN_POSITIVE, f32::max));
        Block { title: title.replace("{}", &format!("{most:.2}")), rows, most }
    };
    let blocks = [
        block("surprise (white 0, darkest {})".into(), |trace| &trace.surprise, None),
        block("familiarity (white 0 or less, darkest 1 or more)".into(), |trace| &trace.familiarity, Some(1.0)),
        block("write rate (white 0, darkest 1)".into(), |trace| &trace.write_rate, Some(1.0)),
    ];
    let time = batch.tokens.time() as i32;
    let heights: i32 = blocks.iter().map(|b| LINE + 6 + CELL * b.rows.len() as i32).sum();
    let size = (LEFT + CELL * time + MARGIN, 2 * MARGIN + 2 * LINE + heights);
    let mut svg = String::new();
    let drawn = {
        let root = SVGBackend::with_string(&mut svg, (size.0 as u32, size.1 as u32)).into_drawing_area();
        paint(&root, batch, answers, &labels, traces.len(), &blocks, size.1)
    };
    drawn.map_err(|why| RunError::Failed(format!("a picture cannot be drawn: {why}")))?;
    Ok(svg)
}

fn paint(
    area: &Area,
    batch: &Batch,
    answers: &[u32],
    labels: &[String],
    layers: usize,
    blocks: &[Block],
    height: i32,
) -> Result<(), String> {
    let failed = |e: DrawingAreaErrorKind<std::io::Error>| e.to_string();
    let write = |words: &str, x: i32, y: i32, size: i32, colour: &RGBColor, across: HPos| {
        // The backend divides sizes by 1.24.
        let style = ("sans-serif", f64::from(size) * 1.24).into_font().color(colour);
        area.draw(&Text::new(words.to_owned(), (x, y), style.pos(Pos::new(across, VPos::Center)))).map_err(failed)
    };
    area.fill(&WHITE).map_err(failed)?;
    let column = |position: usize| LEFT + CELL * position as i32;
    let asked: HashSet<usize> = batch.questions.iter().map(|q| q.position).collect();

    let middle = MARGIN + LINE / 2;
    write("token", LEFT - 8, middle, 12, &INK, HPos::Right)?;
    for (position, label) in labels.iter().enumerate() {
        let colour = if asked.contains(&position) || label != "·" { &INK } else { &PALE };
        write(label, column(position) + CELL / 2, middle, 9, colour, HPos::Center)?;
    }
    let mut top = MARGIN + LINE;
    for block in blocks {
        write(&block.title, LEFT, top + 3 + LINE / 2, 12, &INK, HPos::Left)?;
        top += LINE + 6;
        let heads = block.rows.len() / layers.max(1);
        for (index, row) in block.rows.iter().enumerate() {
            let name = format!("layer {}, head {}", index / heads + 1, index % heads + 1);
            write(&name, LEFT - 8, top + CELL / 2, 11, &INK, HPos::Right)?;
            for (position, value) in row.iter().enumerate() {
                let corners = [(column(position), top), (column(position) + CELL - 1, top + CELL - 1)];
                area.draw(&Rectangle::new(corners, shade(value / block.most).filled())).map_err(failed)?;
            }
            top += CELL;
        }
    }
    write("answer", LEFT - 8, top + LINE / 2, 12, &INK, HPos::Right)?;
    // What a token is called where it is a value of the sequence.
    let names: HashMap<u32, &str> =
        batch.tokens.row(0).iter().copied().zip(labels.iter().map(String::as_str)).collect();
    for (question, answer) in batch.questions.iter().zip(answers) {
        let right = *answer == question.answer;
        let name = names.get(answer).copied().filter(|name| *name != "·").unwrap_or("?");
        let colour = if right { &INK } else { &MARK };
        let x = column(question.position);
        write(name, x + CELL / 2, top + LINE / 2, 9, colour, HPos::Center)?;
        let frame = [(x - 1, MARGIN), (x + CELL, height - MARGIN)];
        area.draw(&Rectangle::new(frame, MARK.stroke_width(1))).map_err(failed)?;
    }
    area.present().map_err(failed)
}

/// One row for each head of the first sequence of `[batch, time, heads]`.
fn rows(values: &Tensor<3>) -> Vec<Vec<f32>> {
    let [_, time, heads] = values.dims();
    let values: Vec<f32> = values.clone().narrow(0, 0, 1).into_data().iter::<f32>().collect();
    (0..heads).map(|head| (0..time).map(|t| values[t * heads + head]).collect()).collect()
}

/// What each token of the first sequence is: the key of a pair, its value (with a dash for every value before it),
/// or filler.
fn labels(batch: &Batch) -> Vec<String> {
    let ids = batch.tokens.row(0);
    let keys: HashSet<u32> = batch.questions.iter().map(|q| ids[q.position]).collect();
    let asked: HashSet<usize> = batch.questions.iter().map(|q| q.position).collect();
    let mut labels = vec!["·".to_owned(); ids.len()];
    let mut pairs: Vec<(u32, Vec<u32>)> = Vec::new();
    for position in 0..ids.len() {
        let (id, next) = (ids[position], ids.get(position + 1));
        if !keys.contains(&id) {
            continue;
        }
        let pair = pairs.iter().position(|(key, _)| *key == id).unwrap_or_else(|| {
            pairs.push((id, Vec::new()));
            pairs.len() - 1
        });
        labels[position] = format!("k{}", pair + 1);
        if let (false, Some(value)) = (asked.contains(&position), next) {
            let values = &mut pairs[pair].1;
            let nth = values.iter().position(|v| v == value).unwrap_or_else(|| {
                values.push(*value);
                values.len() - 1
            });
            labels[position + 1] = format!("v{}{}", pair + 1, "'".repeat(nth));
        }
    }
    labels
}

/// From white to deep blue; `part` is cut to 0..1.
fn shade(part: f32) -> RGBColor {
    const STOPS: [[f32; 3]; 3] = [[255.0, 255.0, 255.0], [107.0, 174.0, 214.0], [8.0, 48.0, 107.0]];
    let at = 2.0 * part.clamp(0.0, 1.0);
    let (from, to, part) = if at < 1.0 { (STOPS[0], STOPS[1], at) } else { (STOPS[1], STOPS[2], at - 1.0) };
    let mix = |i: usize| (from[i] + part * (to[i] - from[i])).round() as u8;
    RGBColor(mix(0), mix(1), mix(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Question;
    use crate::tokens::Tokens;

    fn batch() -> Batch {
        // k1 v1 k2 v2, a new value for k1, filler, both keys asked.
        let ids = vec![3, 9, 4, 10, 3, 11, 0, 4, 0, 3, 0, 0];
        let ask = |position, answer, written, updated| Question { row: 0, position, answer, written, updated };
        Batch { tokens: Tokens::new(ids, 1, 12).unwrap(), questions: vec![ask(7, 10, 2, false), ask(9, 11, 4, true)] }
    }

    #[test]
    fn tokens_are_called_by_their_part_in_the_sequence() {
        let expected = ["k1", "v1", "k2", "v2", "k1", "v1'", "·", "k2", "·", "k1", "·", "·"];
        assert_eq!(labels(&batch()), expected);
    }

    #[test]
    fn a_picture_is_drawn_alike_twice_on_white_with_every_answer() {
        let values = |offset: f32| {
            let values: Vec<f32> = (0..24).map(|i| offset + i as f32 / 24.0).collect();
            Tensor::<3>::from_data(TensorData::new(values, [1, 12, 2]), &Device::flex())
        };
        let trace = Trace {
            write_rate: values(0.0),
            surprise: values(0.5),
            familiarity: values(-0.5),
            gate: values(0.0),
            half_life: None,
            norm: values(0.0),
        };
        let svg = draw(&batch(), &[10, 63], std::slice::from_ref(&trace)).unwrap();
        assert_eq!(svg, draw(&batch(), &[10, 63], &[trace]).unwrap());
        assert!(svg.contains("fill=\"#FFFFFF\""));
        // Twelve tokens, 3 blocks of a title and two rows, two names of rows, two answers, one of them unknown.
        assert_eq!(svg.matches("<text").count(), 12 + 3 * 3 + 2 + 2);
        assert_eq!(svg.matches("\n?\n").count(), 1);
        assert_eq!(svg.matches("<rect").count(), 1 + 3 * 2 * 12 + 2);
        assert!(svg.contains("darkest 1.46"), "{svg}");
    }

    #[test]
    fn colours_go_from_white_to_deep_blue() {
        assert_eq!(shade(-1.0), WHITE);
        assert_eq!(shade(0.5), RGBColor(107, 174, 214));
        assert_eq!(shade(2.0), RGBColor(8, 48, 107));
    }
}
