//! A plot as SVG, drawn for the width of a phone and enlarged on wider pages. Lines differ in colour
//! and dash, and are named below the plot, so that they remain distinguishable in greyscale.

use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{Ticks, ends, time, times};
use crate::experiments::HistoryPoint;

pub(super) type Points = Vec<(f64, f64)>;

/// Pixels of the page have this many steps in the drawing: the backend rounds to whole ones.
const FINE: u32 = 2;
const WIDTH: u32 = 460 * FINE;
/// The same in each plot, so that the time axes align.
const LEFT: u32 = 58 * FINE;
/// For half of the last time.
const RIGHT: u32 = 44 * FINE;
/// Ten pixels on a phone. The backend divides by 1.24.
const TEXT: f64 = 14.0 * FINE as f64 * 1.24;
const GREY: RGBColor = RGBColor(0x55, 0x55, 0x55);
const GRID: RGBColor = RGBColor(0xE6, 0xE6, 0xE6);
/// By Okabe and Ito, without the yellow, which is too pale for a line; with the dashes of each.
pub(super) const STYLES: [(RGBColor, &str); 7] = [
    (RGBColor(0x00, 0x72, 0xB2), ""),
    (RGBColor(0xD5, 0x5E, 0x00), "16 6"),
    (RGBColor(0x00, 0x9E, 0x73), "4 5"),
    (RGBColor(0xCC, 0x79, 0xA7), "20 5 4 5"),
    (RGBColor(0x00, 0x00, 0x00), "9 9"),
    (RGBColor(0xE6, 0x9F, 0x00), "30 8"),
    (RGBColor(0x56, 0xB4, 0xE9), "16 5 4 5 4 5"),
];

/// One plot.
pub(super) struct Plot {
    /// The caption's first words, in bold.
    pub(super) title: String,
    /// The rest of the caption.
    pub(super) caption: String,
    /// In pixels of the page.
    pub(super) height: u32,
    pub(super) y: Ticks,
    /// As many as there are styles.
    pub(super) lines: Vec<(String, Points)>,
    /// The outline: the low ends, then the high ends in reverse.
    pub(super) band: Points,
    /// A horizontal reference line.
    pub(super) rule: Option<f64>,
    /// What comes after the caption's period.
    pub(super) note: String,
}

impl Plot {
    pub(super) fn new([title, caption]: [String; 2], height: u32, y: Ticks, lines: Vec<(String, Points)>) -> Self {
        Self { title, caption, height, y, lines, band: Vec::new(), rule: None, note: String::new() }
    }

    /// The plot with its caption; nothing where there is nothing over time. In the phases `shipped`
    /// a winner served.
    pub(super) fn figure(&self, moments: &[&HistoryPoint], shipped: &[u32]) -> Markup {
        let (Some(first), Some(last)) = (moments.first(), moments.last()) else { return html! {} };
        if moments.len() < 2 || self.lines.iter().all(|line| line.1.is_empty()) {
            return html! {};
        }
        // Drawing into a String does not fail.
        let svg = self.drawn(moments, shipped, [first.at_ms, last.at_ms]).unwrap_or_default();
        // The backend's own tag has a namespace, which a page does not need, and a fixed size.
        let mut inner = svg.split_once('>').map_or("", |(_, inner)| inner).to_owned();
        for (RGBColor(red, green, blue), dash) in &STYLES[1..] {
            let stroke = format!("stroke=\"#{red:02X}{green:02X}{blue:02X}\"");
            inner = inner.replace(&stroke, &format!("{stroke} stroke-dasharray=\"{dash}\""));
        }
        let [from, to] = [first, last].map(|moment| time(moment.at_ms, "%b %-d, %Y"));
        let period = if from == to { from } else { format!("{from} to {to}") };
        let caption = format!("{}. {period} (UTC).{}", self.caption, self.note);
        html! {
            figure {
                figcaption.small { b { (self.title) } (caption) }
                svg.plot viewBox={ "0 0 " (WIDTH) " " (self.height * FINE) } role="img" aria-label={ (self.title) (caption) } {
                    // The backend has escaped the names in its drawing.
                    (PreEscaped(inner.trim_end().trim_end_matches("</svg>")))
                }
                (self.names())
            }
        }
    }

    /// The lines' names, each beside a piece of its line.
    fn names(&self) -> Markup {
        let hex = |RGBColor(red, green, blue): RGBColor| format!("#{red:02X}{green:02X}{blue:02X}");
        html! {
            p.keys {
                @for ((name, points), (colour, dash)) in self.lines.iter().zip(STYLES) {
                    @if !points.is_empty() {
                        span {
                            svg.key viewBox="0 0 48 8" aria-hidden="true" {
                                line x2="48" y1="4" y2="4" stroke=(hex(colour))
                                    stroke-dasharray=[(!dash.is_empty()).then_some(dash)] stroke-width="4" {}
                            }
                            (name)
                        }
                    }
                }
            }
        }
    }

    fn drawn(
        &self,
        moments: &[&HistoryPoint],
        shipped: &[u32],
        [from, to]: [u64; 2],
    ) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
        let mut svg = String::with_capacity(16 << 10);
        let root = SVGBackend::with_string(&mut svg, (WIDTH, self.height * FINE)).into_drawing_area();
        let ((left, right), (low, high)) = ((from as f64, (to as f64).max(from as f64 + 1.0)), ends(&self.y));
        let mut chart = ChartBuilder::on(&root)
            .margin_top(18 * FINE)
            .margin_bottom(22 * FINE)
            .margin_left(LEFT)
            .margin_right(RIGHT)
            .build_cartesian_2d(left..right, low..high)?;
        let pixel = |steps: i32| steps * FINE as i32;
        let font = FontDesc::new(FontFamily::Name("system-ui,sans-serif"), TEXT, FontStyle::Normal);
        let text = |h, v| TextStyle::from(font.clone()).color(&GREY).pos(Pos::new(h, v));
        for (value, label) in &self.y {
            chart.draw_series([PathElement::new([(left, *value), (right, *value)], GRID.stroke_width(FINE))])?;
            let (x, y) = chart.backend_coord(&(left, *value));
            root.draw_text(label, &text(HPos::Right, VPos::Center), (x - pixel(6), y))?;
        }
        for (at, label) in times(from, to) {
            chart.draw_series([PathElement::new([(at, low), (at, high)], GRID.stroke_width(FINE))])?;
            let (x, y) = chart.backend_coord(&(at, low));
            root.draw_text(&label, &text(HPos::Center, VPos::Top), (x, y + pixel(5)))?;
        }
        let begun = moments.windows(2).filter(|pair| pair[0].phase != pair[1].phase).map(|pair| pair[1]);
        let mut phases = Vec::new();
        for moment in begun {
            let at = moment.at_ms as f64;
            chart.draw_series([PathElement::new([(at, low), (at, high)], GREY.mix(0.5).stroke_width(FINE))])?;
            phases.push((chart.backend_coord(&(at, high)).0, moment.phase));
        }
        let top = chart.backend_coord(&(left, high)).1;
        for (x, label) in labelled(&phases, shipped) {
            // Not above the vertical axis, whose uppermost number is there.
            let x = x.max(LEFT as i32 + label.len() as i32 * pixel(5));
            root.draw_text(&label, &text(HPos::Center, VPos::Bottom), (x, top))?;
        }
        let inside = |points: &Points| points.iter().map(|(x, y)| (*x, y.clamp(low, high))).collect::<Vec<_>>();
        if !self.band.is_empty() {
            chart.draw_series([Polygon::new(inside(&self.band), STYLES[0].0.mix(0.2))])?;
        }
        if let Some(rule) = self.rule {
            chart.draw_series([PathElement::new([(left, rule), (right, rule)], GREY.stroke_width(FINE))])?;
        }
        for ((_, points), (colour, _)) in self.lines.iter().zip(STYLES) {
            let points = inside(points);
            chart.draw_series([PathElement::new(points, colour.stroke_width(2 * FINE))])?;
        }
        root.present()?;
        drop((chart, root));
        Ok(svg)
    }
}

/// Labels above the lines where phases begin, shortened or left out where they would overlap.
fn labelled(phases: &[(i32, u32)], shipped: &[u32]) -> Vec<(i32, String)> {
    // Half of what a label takes, and half of what a number of two digits does.
    const WIDE: i32 = 32 * FINE as i32;
    const NARROW: i32 = 10 * FINE as i32;
    let mut labels = Vec::with_capacity(phases.len());
    let mut free = i32::MIN;
    for (at, (x, phase)) in phases.iter().enumerate() {
        let next = phases.get(at + 1).map_or(i32::MAX, |next| next.0 - NARROW);
        let (half, label) = if x - WIDE >= free && x + WIDE <= next {
            (WIDE, if shipped.contains(phase) { "shipped".to_owned() } else { format!("phase {phase}") })
        } else if x - NARROW >= free {
            (NARROW, phase.to_string())
        } else {
            continue;
        };
        labels.push((*x, label));
        free = x + half;
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_that_begin_close_together_are_numbers_and_the_last_one_shipped() {
        let said = |phases: &[(i32, u32)]| labelled(phases, &[4]).into_iter().map(|label| label.1).collect::<Vec<_>>();
        assert_eq!(said(&[(100, 2), (300, 3), (500, 4)]), ["phase 2", "phase 3", "shipped"]);
        assert_eq!(said(&[(100, 2), (140, 3), (500, 4)]), ["2", "3", "shipped"]);
        assert_eq!(said(&[(100, 2), (140, 3), (150, 4)]), ["2", "3"]);
    }
}
