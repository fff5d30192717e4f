//! Plots of named rows over one number axis.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{Area, DrawResult, FONT_SIZE, GRID, WIDTH, draw, span, text, ticks, trimmed};
use crate::bootstrap::Interval;
use crate::error::EvalError;

const LABEL_WIDTH: u32 = 150;

pub(super) fn anchored(h: HPos, v: VPos) -> TextStyle<'static> {
    text(FONT_SIZE).pos(Pos::new(h, v))
}

/// Rows of models from top to bottom over one number axis.
pub(super) struct Rows {
    pub(super) height: u32,
    pub(super) row_height: u32,
    low: f64,
    high: f64,
}

pub(super) const ROW_HEIGHT: u32 = 34;
const AXIS_HEIGHT: u32 = 34;
const TOP: i32 = 8;
const RIGHT: i32 = 68;

impl Rows {
    pub(super) fn new(n_rows: usize, low: f64, high: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self { height: 0, row_height: ROW_HEIGHT, low, high }.with_rows(n_rows)
    }

    /// The same with another height of each row.
    pub(super) fn with_row_height(self, row_height: u32, n_rows: usize) -> Self {
        Self { row_height, ..self }.with_rows(n_rows)
    }

    fn with_rows(self, n_rows: usize) -> Self {
        let height = n_rows as u32 * self.row_height + AXIS_HEIGHT + TOP as u32;
        Self { height, ..self }
    }

    pub(super) fn x(&self, value: f64) -> i32 {
        let width = f64::from(WIDTH as i32 - LABEL_WIDTH as i32 - RIGHT);
        LABEL_WIDTH as i32 + ((value - self.low) / (self.high - self.low) * width).round() as i32
    }

    /// Middle of row `row`.
    pub(super) fn y(&self, row: usize) -> i32 {
        TOP + (row as u32 * self.row_height + self.row_height / 2) as i32
    }

    pub(super) fn axes(&self, area: &Area<'_>, names: &[String]) -> DrawResult {
        let bottom = (self.height - AXIS_HEIGHT) as i32;
        for tick in ticks(self.low, self.high) {
            let x = self.x(tick);
            area.draw(&PathElement::new([(x, TOP), (x, bottom)], GRID))?;
            let label = trimmed(tick);
            area.draw(&Text::new(label, (x, bottom + 6), anchored(HPos::Center, VPos::Top)))?;
        }
        for (row, name) in names.iter().enumerate() {
            let style = anchored(HPos::Right, VPos::Center);
            let position = (LABEL_WIDTH as i32 - 8, self.y(row));
            area.draw(&Text::new(shortened(name, 19), position, style))?;
        }
        Ok(())
    }
}

/// A disc with its interval for each row of name, color, value and interval; the value stands at the right.
pub(super) fn dots(rows: &[(String, RGBColor, f64, Interval)]) -> Result<String, EvalError> {
    let ends = rows.iter().flat_map(|(.., interval)| [interval.low, interval.high]);
    let (low, high) = span(ends, false);
    let layout = Rows::new(rows.len(), low, high);
    let names: Vec<String> = rows.iter().map(|(name, ..)| name.clone()).collect();
    draw("values", layout.height, |area| {
        layout.axes(area, &names)?;
        for (place, (_, color, value, interval)) in rows.iter().enumerate() {
            let (y, low, high) = (layout.y(place), layout.x(interval.low), layout.x(interval.high));
            area.draw(&PathElement::new([(low, y), (high, y)], color.stroke_width(2)))?;
            area.draw(&Circle::new((layout.x(*value), y), 5, color.filled()))?;
            let style = anchored(HPos::Left, VPos::Center);
            area.draw(&Text::new(format!("{value:.4}"), (WIDTH as i32 - 60, y), style))?;
        }
        Ok(())
    })
}

/// A name that fits beside a row; control characters, which SVG forbids, become blanks.
pub(super) fn shortened(name: &str, n_chars: usize) -> String {
    let clean = name.chars().map(|c| if c.is_control() { ' ' } else { c });
    if name.chars().count() <= n_chars {
        return clean.collect();
    }
    clean.take(n_chars - 1).chain(['…']).collect()
}
