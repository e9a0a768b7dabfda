//! Bars that lie, in groups, each with its figure at its end.

use plotters::backend::SVGBackend;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{PathElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color, IntoFont, RGBColor, TextStyle, WHITE};

use super::{Drawn, short};

/// Bars of one subject.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) colour: RGBColor,
    pub(super) bars: Vec<Bar>,
}

/// A bar.
pub(super) struct Bar {
    pub(super) value: f64,
    /// Where the middle half of the rounds begins and ends.
    pub(super) low: f64,
    pub(super) high: f64,
    /// What stands at its end.
    pub(super) text: String,
}

const WIDTH: i32 = 960;
/// Where the bars begin; the names are left of it.
const LEFT: i32 = 180;
/// What is kept free on the right for the figure of the longest bar.
const RIGHT: i32 = 210;
const TOP: i32 = 64;
const BAR: i32 = 18;
const GAP: i32 = 14;
const BOTTOM: i32 = 40;
const GREY: RGBColor = RGBColor(110, 110, 110);

/// Draws them under a title.
pub(super) fn draw(title: &str, under: &str, groups: &[Group]) -> Drawn<String> {
    let bars: usize = groups.iter().map(|group| group.bars.len()).sum();
    let end = TOP + bars as i32 * BAR + groups.len() as i32 * GAP;
    let largest = groups.iter().flat_map(|group| &group.bars).fold(0.0, |most, bar| f64::max(most, bar.high));
    let step = step(largest);
    let x = |value: f64| LEFT + (value / largest * f64::from(WIDTH - LEFT - RIGHT)).round() as i32;
    let mut svg = String::new();
    {
        let area =
            SVGBackend::with_string(&mut svg, (WIDTH as u32, (end + BOTTOM) as u32)).into_drawing_area();
        let say = |error: &dyn std::fmt::Display| error.to_string();
        area.fill(&WHITE).map_err(|e| say(&e))?;
        let text = |text: &str, at: (i32, i32), size: i32, colour: RGBColor, side: HPos| {
            let style = TextStyle::from(("sans-serif", size).into_font()).color(&colour);
            area.draw(&Text::new(text.to_owned(), at, style.pos(Pos::new(side, VPos::Center))))
                .map_err(|e| say(&e))
        };
        text(title, (16, 22), 18, BLACK, HPos::Left)?;
        text(under, (16, 44), 13, GREY, HPos::Left)?;
        let mut mark = 0.0;
        while mark <= largest {
            let grid = PathElement::new([(x(mark), TOP - 4), (x(mark), end)], RGBColor(225, 225, 225));
            area.draw(&grid).map_err(|e| say(&e))?;
            text(&short(mark), (x(mark), end + 14), 12, GREY, HPos::Center)?;
            mark += step;
        }
        let mut y = TOP;
        for group in groups {
            let middle = y + group.bars.len() as i32 * BAR / 2;
            text(&group.name, (LEFT - 10, middle), 14, BLACK, HPos::Right)?;
            for (nth, bar) in group.bars.iter().enumerate() {
                // The further down, such as with more flows, the paler.
                let fill = group.colour.mix(1.0 - 0.28 * nth.min(3) as f64).filled();
                let body = Rectangle::new([(LEFT, y + 1), (x(bar.value), y + BAR - 2)], fill);
                area.draw(&body).map_err(|e| say(&e))?;
                let line = PathElement::new([(x(bar.low), y + BAR / 2), (x(bar.high), y + BAR / 2)], BLACK);
                area.draw(&line).map_err(|e| say(&e))?;
                text(&bar.text, (x(bar.high.max(bar.value)) + 8, y + BAR / 2), 12, BLACK, HPos::Left)?;
                y += BAR;
            }
            y += GAP;
        }
        area.present().map_err(|e| say(&e))?;
    }
    Ok(svg)
}

/// A round number of which there are some four to eight up to the largest.
fn step(largest: f64) -> f64 {
    let power = 10f64.powf((largest / 4.0).log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|times| times * power).find(|step| largest / step >= 4.0).unwrap_or(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_some() {
        for (largest, expected) in [(3e6, 5e5), (4e6, 1e6), (1.9e6, 2e5), (9e4, 2e4), (5.1, 1.0)] {
            let step = step(largest);
            assert!((step / expected - 1.0).abs() < 1e-9, "{largest}: {step}");
        }
    }
}
