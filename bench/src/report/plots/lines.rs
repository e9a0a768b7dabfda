//! Lines over two logarithmic axes, with the names beside them.

use std::fmt::Display;

use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::coord::combinators::IntoLogRange;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{Circle, PathElement, Rectangle, Text};
use plotters::series::LineSeries;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color, IntoFont, RGBColor, TextStyle, WHITE};

use super::Drawn;

/// What the lines are about.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) x_ticks: fn(f64) -> String,
    pub(super) y_ticks: fn(f64) -> String,
    /// Where the x axis is marked; at round numbers if this is empty.
    pub(super) x_marks: Vec<f64>,
}

/// A subject's line, and a thin one of the same colour.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) colour: RGBColor,
    pub(super) points: Vec<(f64, f64)>,
    pub(super) thin: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (960, 480);
/// The names' column.
const NAMES: i32 = 190;
/// What is above the lines: the title, and what the y axis is of.
const TOP: u32 = 64;
/// What is below them: marks, and what the x axis is of.
const BOTTOM: u32 = 48;
/// What is left of them: marks.
const LEFT: u32 = 72;
const RIGHT: u32 = 16;
const GRID: RGBColor = RGBColor(225, 225, 225);
const GREY: RGBColor = RGBColor(110, 110, 110);

/// Draws them. Some line has a point.
pub(super) fn draw(chart: &Chart, lines: &[Line]) -> Drawn<String> {
    let say = |error: &dyn Display| error.to_string();
    let all = || lines.iter().flat_map(|line| line.points.iter().chain(&line.thin));
    let x = range(all().map(|point| point.0));
    let y = range(all().map(|point| point.1));
    let x_marks = if chart.x_marks.is_empty() { marks(x) } else { chart.x_marks.clone() };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(|e| say(&e))?;
        let (left, names) = area.split_horizontally(SIZE.0 as i32 - NAMES);
        let text = |text: String, at: (i32, i32), size: i32, colour: RGBColor, side: HPos| {
            let style = TextStyle::from(("sans-serif", size).into_font()).color(&colour);
            area.draw(&Text::new(text, at, style.pos(Pos::new(side, VPos::Center)))).map_err(|e| say(&e))
        };
        text(chart.title.clone(), (16, 22), 18, BLACK, HPos::Left)?;
        text(chart.y.to_owned(), (16, 44), 13, GREY, HPos::Left)?;
        // Marks are drawn by hand: plotters' own for logarithmic axes are neither round nor even.
        let mut context = ChartBuilder::on(&left)
            .margin_top(TOP)
            .margin_bottom(BOTTOM)
            .margin_left(LEFT)
            .margin_right(RIGHT)
            .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())
            .map_err(|e| say(&e))?;
        let upright = x_marks.iter().map(|&at| PathElement::new([(at, y.0), (at, y.1)], GRID));
        let level = marks(y);
        let lying = level.iter().map(|&at| PathElement::new([(x.0, at), (x.1, at)], GRID));
        context.draw_series(upright.chain(lying)).map_err(|e| say(&e))?;
        for mark in x_marks {
            let (across, bottom) = context.backend_coord(&(mark, y.0));
            text((chart.x_ticks)(mark), (across, bottom + 14), 12, GREY, HPos::Center)?;
        }
        for mark in level {
            let (edge, down) = context.backend_coord(&(x.0, mark));
            text((chart.y_ticks)(mark), (edge - 8, down), 12, GREY, HPos::Right)?;
        }
        let middle = (SIZE.0 as i32 - NAMES + LEFT as i32) / 2;
        text(chart.x.to_owned(), (middle, SIZE.1 as i32 - 14), 13, GREY, HPos::Center)?;
        for line in lines {
            let thin = line.colour.mix(0.6).stroke_width(1);
            context.draw_series(LineSeries::new(line.thin.iter().copied(), thin)).map_err(|e| say(&e))?;
            let thick = line.colour.stroke_width(3);
            context.draw_series(LineSeries::new(line.points.iter().copied(), thick)).map_err(|e| say(&e))?;
            let dots = line.points.iter().map(|&point| Circle::new(point, 4, line.colour.filled()));
            context.draw_series(dots).map_err(|e| say(&e))?;
        }
        let named = lines.iter().filter(|line| !line.points.is_empty());
        for (nth, line) in named.enumerate() {
            let row = TOP as i32 + 10 + 22 * nth as i32;
            let mark = Rectangle::new([(4, row - 2), (26, row + 2)], line.colour.filled());
            names.draw(&mark).map_err(|e| say(&e))?;
            text(line.name.clone(), (SIZE.0 as i32 - NAMES + 34, row), 13, BLACK, HPos::Left)?;
        }
        area.present().map_err(|e| say(&e))?;
    }
    Ok(svg)
}

/// One, two and five times the powers of ten in a range; the powers alone where those were many.
fn marks((low, high): (f64, f64)) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let of = |times: &[f64]| {
        let all = powers.clone().flat_map(|power| times.iter().map(move |times| times * 10f64.powi(power)));
        all.filter(|mark| (low..=high).contains(mark)).collect::<Vec<f64>>()
    };
    let all = of(&[1.0, 2.0, 5.0]);
    if all.len() > 10 { of(&[1.0]) } else { all }
}

/// From a little below the least value to a little above the largest.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let positive = values.filter(|value| value.is_finite() && *value > 0.0);
    let (low, high) =
        positive.fold((f64::INFINITY, 0f64), |(low, high), value| (low.min(value), high.max(value)));
    if high > 0.0 { (low / 1.3, high * 1.3) } else { (1.0, 10.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_not_many() {
        assert_eq!(marks((8.0, 120.0)), [10.0, 20.0, 50.0, 100.0]);
        assert_eq!(marks((0.9, 2e6)).len(), 7);
    }

    #[test]
    fn ranges_hold_all_values_and_are_never_empty() {
        let (low, high) = range([10.0, 1_000.0].into_iter());
        assert!(low < 10.0 && high > 1_000.0);
        for odd in [vec![], vec![0.0], vec![f64::NAN]] {
            assert_eq!(range(odd.into_iter()), (1.0, 10.0));
        }
        let (low, high) = range([7.0].into_iter());
        assert!(low < 7.0 && high > 7.0);
    }
}
