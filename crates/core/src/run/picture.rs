//! Grids of grey images as PNG.

use png::{BitDepth, ColorType, Compression, Encoder, Filter};

use crate::error::RunError;

/// A picture of more pixels than this is refused.
const MOST_PIXELS: usize = 1 << 26;
/// Between images: dark, so that black images show their edges.
const GAP: u8 = 88;
/// Between groups of columns.
const SEPARATOR: u8 = 255;

/// What cannot be drawn.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum PictureError {
    /// A setting of the grid outside its domain.
    #[error("`{field}` must be at least 1")]
    Zero {
        /// Name of the setting.
        field: &'static str,
    },
    /// A buffer that does not hold whole images, or none.
    #[error("`images`: {values} values are not images of {height} x {width}")]
    Buffer {
        /// Length of the buffer.
        values: usize,
        /// Rows of an image.
        height: usize,
        /// Columns of an image.
        width: usize,
    },
    /// A value that is infinite or not a number.
    #[error("`images`: pixel {pixel} of image {image} is not finite")]
    NotFinite {
        /// Which image.
        image: usize,
        /// Which value of it.
        pixel: usize,
    },
    /// More pixels than a picture may have.
    #[error("the picture would be too large: at most {MOST_PIXELS} pixels")]
    TooLarge,
}

impl From<PictureError> for RunError {
    fn from(error: PictureError) -> Self {
        RunError::Failed(format!("a picture cannot be drawn: {error}"))
    }
}

/// How images are laid out, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Images in a row.
    pub columns: usize,
    /// Each pixel becomes a square of this side.
    pub magnification: usize,
    /// Dark pixels of the result between images and around them.
    pub gap: usize,
    /// A white line, as wide as three gaps and at least two pixels, comes after every so many
    /// columns; `None` for no lines.
    pub group: Option<usize>,
}

impl Grid {
    /// Images of `height` x `width`, `columns` in a row, three times as large, with a gap of 2.
    pub fn new(height: usize, width: usize, columns: usize) -> Self {
        Self { height, width, columns, magnification: 3, gap: 2, group: None }
    }

    /// Whether so many images can be drawn: what a config can be held against before anything
    /// runs.
    ///
    /// # Errors
    /// A setting that is 0, no image, more than 64 Mi pixels.
    pub fn fits(&self, images: usize) -> Result<(), PictureError> {
        self.layout(images).map(drop)
    }

    /// The grid as an 8-bit grey PNG. `images` is `[image, row, column]`; values are cut to
    /// `[0, 1]`, 0 is black. The last row may be shorter. The same input gives the same bytes.
    ///
    /// # Errors
    /// A setting that is 0, a buffer that does not hold whole images, values that are not
    /// finite, more than 64 Mi pixels.
    pub fn png(&self, images: &[f32]) -> Result<Vec<u8>, PictureError> {
        let (pixels, width, height) = self.draw(images)?;
        let side = |v: usize| u32::try_from(v).map_err(|_| PictureError::TooLarge);
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, side(width)?, side(height)?);
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_compression(Compression::Balanced);
        encoder.set_filter(Filter::NoFilter);
        // Sides and length are right and a vector takes every write.
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
        written.map_err(|_| PictureError::TooLarge)?;
        Ok(out)
    }

    /// Columns, separator, width and height of a grid of so many images.
    fn layout(&self, count: usize) -> Result<Layout, PictureError> {
        let Self { height, width, columns, magnification, gap, group } = *self;
        let settings = [("height", height), ("width", width), ("columns", columns), ("magnification", magnification)];
        for (field, value) in settings.into_iter().chain(group.map(|g| ("group", g))) {
            if value == 0 {
                return Err(PictureError::Zero { field });
            }
        }
        if count == 0 {
            return Err(PictureError::Buffer { values: 0, height, width });
        }
        height.checked_mul(width).ok_or(PictureError::TooLarge)?;
        let columns = columns.min(count);
        // An upper bound of the width; whatever passes it is far from an overflow.
        let bound = gap.saturating_mul(8).saturating_add(width.saturating_mul(magnification)).saturating_add(8);
        if bound.saturating_mul(columns) > 16 * MOST_PIXELS {
            return Err(PictureError::TooLarge);
        }
        let layout = Layout { columns, separator: (3 * gap).max(2), across: 0, down: 0 };
        let across = self.left(columns - 1, layout.separator) + width * magnification + gap;
        let step = height.saturating_mul(magnification).saturating_add(gap);
        let down = count.div_ceil(columns).saturating_mul(step).saturating_add(gap);
        if across.saturating_mul(down) > MOST_PIXELS {
            return Err(PictureError::TooLarge);
        }
        Ok(Layout { across, down, ..layout })
    }

    /// Left edge of a column; the gap after a group gives way to separator and gaps.
    fn left(&self, column: usize, separator: usize) -> usize {
        let lines_before = self.group.map_or(0, |g| column / g);
        self.gap + column * (self.width * self.magnification + self.gap) + lines_before * (separator + self.gap)
    }

    /// The pixels of the grid, row by row, its width and height.
    fn draw(&self, images: &[f32]) -> Result<(Vec<u8>, usize, usize), PictureError> {
        let Self { height, width, magnification, gap, group, .. } = *self;
        let size = height.checked_mul(width).ok_or(PictureError::TooLarge)?;
        let Layout { columns, separator, across, down } = self.layout(images.len().div_ceil(size.max(1)))?;
        if !images.len().is_multiple_of(size) {
            return Err(PictureError::Buffer { values: images.len(), height, width });
        }
        if let Some(at) = images.iter().position(|v| !v.is_finite()) {
            return Err(PictureError::NotFinite { image: at / size, pixel: at % size });
        }
        let step = height * magnification + gap;
        let left = |column: usize| self.left(column, separator);
        let mut out = vec![GAP; across * down];
        for column in (1..columns).filter(|c| group.is_some_and(|g| c.is_multiple_of(g))) {
            let end = left(column) - gap;
            for row in out.chunks_exact_mut(across) {
                row[end - separator..end].fill(SEPARATOR);
            }
        }
        for (index, image) in images.chunks_exact(size).enumerate() {
            let (top, left) = (gap + index / columns * step, left(index % columns));
            for (y, row) in image.chunks_exact(width).enumerate() {
                for line in 0..magnification {
                    let start = (top + y * magnification + line) * across + left;
                    let target = &mut out[start..start + width * magnification];
                    for (square, value) in target.chunks_exact_mut(magnification).zip(row) {
                        square.fill((value.clamp(0.0, 1.0) * 255.0).round() as u8);
                    }
                }
            }
        }
        Ok((out, across, down))
    }
}

/// Where the images of a grid go.
struct Layout {
    columns: usize,
    separator: usize,
    across: usize,
    down: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> (Vec<u8>, usize, usize) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.color_type, info.bit_depth), (ColorType::Grayscale, BitDepth::Eight));
        (pixels, info.width as usize, info.height as usize)
    }

    const G: u8 = GAP;

    #[test]
    fn images_lie_row_by_row_with_gaps() {
        let grid = Grid { magnification: 1, gap: 1, ..Grid::new(1, 2, 2) };
        let png = grid.png(&[0.0, 1.0, 0.2, 0.4, 0.6, 0.8]).unwrap();
        #[rustfmt::skip]
        let expected = vec![
            G, G, G, G, G, G, G,
            G, 0, 255, G, 51, 102, G,
            G, G, G, G, G, G, G,
            G, 153, 204, G, G, G, G,
            G, G, G, G, G, G, G,
        ];
        assert_eq!(decode(&png), (expected, 7, 5));
        assert_eq!(png, grid.png(&[0.0, 1.0, 0.2, 0.4, 0.6, 0.8]).unwrap());
    }

    #[test]
    fn pixels_become_squares_and_values_are_cut() {
        let grid = Grid { magnification: 2, gap: 0, ..Grid::new(2, 2, 5) };
        let (pixels, width, height) = decode(&grid.png(&[-3.0, 7.0, 0.5, 1.0]).unwrap());
        assert_eq!((width, height), (4, 4));
        assert_eq!(pixels, [0, 0, 255, 255, 0, 0, 255, 255, 128, 128, 255, 255, 128, 128, 255, 255]);
    }

    #[test]
    fn groups_of_columns_are_kept_apart() {
        let grid = Grid { magnification: 1, gap: 1, group: Some(2), ..Grid::new(1, 1, 5) };
        let (pixels, width, _) = decode(&grid.png(&[0.0; 5]).unwrap());
        let expected = [G, 0, G, 0, G, 255, 255, 255, G, 0, G, 0, G, 255, 255, 255, G, 0, G];
        assert_eq!(&pixels[width..2 * width], expected);
        // The line goes from top to bottom, and there is none behind the last group.
        assert!(pixels.chunks(width).all(|row| row[5..8] == [255; 3]));
        let whole = Grid { columns: 4, ..grid };
        assert_eq!(decode(&whole.png(&[0.0; 4]).unwrap()).1, 13);
        let tight = Grid { gap: 0, ..grid };
        let (pixels, width, _) = decode(&tight.png(&[0.0; 5]).unwrap());
        assert_eq!(&pixels[..width], [0, 0, 255, 255, 0, 0, 255, 255, 0]);
    }

    #[test]
    fn what_cannot_be_drawn_is_a_typed_error() {
        let grid = Grid::new(2, 2, 3);
        assert_eq!(grid.png(&[0.0; 5]), Err(PictureError::Buffer { values: 5, height: 2, width: 2 }));
        assert_eq!(grid.png(&[]), Err(PictureError::Buffer { values: 0, height: 2, width: 2 }));
        assert_eq!(Grid { columns: 0, ..grid }.png(&[0.0; 4]), Err(PictureError::Zero { field: "columns" }));
        assert_eq!(Grid { group: Some(0), ..grid }.png(&[0.0; 4]), Err(PictureError::Zero { field: "group" }));
        let mut broken = [0.0; 8];
        broken[6] = f32::INFINITY;
        assert_eq!(grid.png(&broken), Err(PictureError::NotFinite { image: 1, pixel: 2 }));
        assert_eq!(grid.png(&[0.0; 3]), Err(PictureError::Buffer { values: 3, height: 2, width: 2 }));
        // The same is known before there is an image.
        assert_eq!(grid.fits(16), Ok(()));
        assert_eq!(grid.fits(0), Err(PictureError::Buffer { values: 0, height: 2, width: 2 }));
        assert_eq!(Grid { magnification: 0, ..grid }.fits(4), Err(PictureError::Zero { field: "magnification" }));
        let wide = Grid { columns: 1 << 20, ..Grid::new(28, 28, 1) };
        let most = (1..20_000).rfind(|n| wide.fits(*n).is_ok()).unwrap();
        assert_eq!(wide.fits(most + 1), Err(PictureError::TooLarge));
        assert_eq!(wide.png(&vec![0.0; (most + 1) * 784]), Err(PictureError::TooLarge));
        assert!(wide.png(&vec![0.0; most * 784]).is_ok());
        assert_eq!(wide.fits(usize::MAX), Err(PictureError::TooLarge));
        for large in [
            Grid { magnification: usize::MAX, ..grid },
            Grid { gap: usize::MAX, ..grid },
            Grid { magnification: 5000, ..grid },
        ] {
            assert_eq!(large.png(&[0.0; 16]), Err(PictureError::TooLarge));
            assert_eq!(large.fits(4), Err(PictureError::TooLarge));
        }
    }
}
