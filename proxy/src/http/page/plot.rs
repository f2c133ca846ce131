//! Owns the drawing of the last hour as SVG, without scripts and without styles in attributes: the
//! page's policy allows neither. Labels are text beside the drawing, which stretches.

use super::number;
use crate::history::{Recent, SAMPLE_INTERVAL, SAMPLES_MAX, Sample};
use maud::{Markup, html};
use std::fmt::Write;
use std::time::SystemTime;

/// Size of a drawing in its own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 120.0;
const SPARK_HEIGHT: f64 = 24.0;
/// Most decades of a logarithmic scale.
const DECADES_MAX: f64 = 6.0;
/// A longer time between two points is drawn as a gap, in intervals.
const GAP_INTERVALS: f64 = 2.5;

/// Shorter times that plots may show.
const WINDOWS_S: [f64; 2] = [300.0, 1200.0];

/// How values become heights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// By decades, for what spans several.
    Logarithmic,
}

/// A line: its name and its points, as seconds ago and value.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// What stands on a plot.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) curves: Vec<Curve>,
    pub(super) scale: Scale,
    /// How far back it goes, in seconds.
    pub(super) window_s: f64,
    /// How values are written.
    pub(super) write: fn(f64) -> String,
}

/// The points of one line over the hour before `now`.
pub(super) fn points(
    recent: &Recent,
    now: SystemTime,
    value: impl Fn(&Sample) -> Option<f64>,
) -> Vec<(f64, f64)> {
    let of = |sample: &Sample| {
        let ago = now.duration_since(sample.at).unwrap_or_default().as_secs_f64();
        Some((ago, value(sample)?))
    };
    recent.samples.iter().filter_map(|sample| of(sample)).collect()
}

/// How far back all plots go, in seconds: an hour, or less while there is less to show.
pub(super) fn window_s(recent: &Recent, now: SystemTime) -> f64 {
    let hour = SAMPLE_INTERVAL.as_secs_f64() * SAMPLES_MAX as f64;
    let oldest = recent.samples.first().map(|sample| now.duration_since(sample.at));
    let ago = oldest.and_then(Result::ok).unwrap_or_default().as_secs_f64();
    WINDOWS_S.into_iter().find(|window| *window >= ago).unwrap_or(hour)
}

/// What a drawing shows: values from bottom to top, in some steps, over some time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Frame {
    bottom: f64,
    top: f64,
    steps: usize,
    scale: Scale,
    window_s: f64,
    height: f64,
}

impl Frame {
    /// One that holds all values.
    fn around(curves: &[Curve], scale: Scale, window_s: f64, height: f64) -> Self {
        let values = || curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value);
        let most = values().fold(0.0, f64::max);
        let (bottom, top, steps) = match scale {
            Scale::Linear => {
                let decade = 10f64.powf(most.max(1.0).log10().floor());
                let nice = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0].map(|step| step * decade);
                (0.0, nice.into_iter().find(|top| *top >= most).unwrap_or(most), 2)
            }
            Scale::Logarithmic => {
                let least = values().filter(|value| *value > 0.0).fold(most.max(1.0), f64::min);
                let top = most.max(10.0).log10().ceil();
                let bottom = least.max(1.0).log10().floor().max(top - DECADES_MAX).min(top - 1.0);
                (10f64.powf(bottom), 10f64.powf(top), (top - bottom) as usize)
            }
        };
        Self { bottom, top, steps, scale, window_s, height }
    }

    /// The value at a step from the bottom.
    fn value(&self, step: usize) -> f64 {
        let share = step as f64 / self.steps as f64;
        match self.scale {
            Scale::Linear => self.bottom + (self.top - self.bottom) * share,
            Scale::Logarithmic => self.bottom * (self.top / self.bottom).powf(share),
        }
    }

    /// The height of a value, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.bottom) / (self.top - self.bottom),
            Scale::Logarithmic => {
                (value.max(self.bottom) / self.bottom).log10() / (self.top / self.bottom).log10()
            }
        };
        share.clamp(0.0, 1.0)
    }

    /// The path of a line, with gaps where nothing is known.
    fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::with_capacity(points.len() * 10);
        let gap_s = SAMPLE_INTERVAL.as_secs_f64() * GAP_INTERVALS;
        let mut last: Option<f64> = None;
        for (ago, value) in points.iter().filter(|(ago, _)| *ago <= self.window_s) {
            let x = WIDTH * (1.0 - ago / self.window_s);
            let y = self.height * (1.0 - self.share(*value));
            let joined = last.is_some_and(|last| last - ago <= gap_s);
            // A point alone is a line without length: a dot, with round ends.
            let step = if joined { format!("L{x:.0} {y:.1}") } else { format!("M{x:.0} {y:.1}h0") };
            path += &step;
            last = Some(*ago);
        }
        path
    }

    /// Times under the drawing, from left to right.
    fn times(&self) -> Vec<String> {
        let minutes = |quarter: u32| self.window_s / 60.0 * f64::from(quarter) / 4.0;
        let text = |quarter| match quarter {
            4 => format!("−{} min", minutes(4)),
            0 => "now".to_owned(),
            _ => format!("−{}", minutes(quarter)),
        };
        (0..=4).rev().map(text).collect()
    }
}

/// What is read instead of seen.
fn summary(plot: &Plot<'_>) -> String {
    let mut text = format!("{}, the last {:.0} minutes.", plot.title, plot.window_s / 60.0);
    for curve in &plot.curves {
        let Some((_, now)) = curve.points.last() else { continue };
        let most = curve.points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let (now, most) = ((plot.write)(*now), (plot.write)(most));
        let _ = write!(text, " {}: now {now}, at most {most}.", curve.name);
    }
    text
}

impl Plot<'_> {
    /// The drawing with its title, its legend and its labels.
    pub(super) fn draw(&self) -> Markup {
        let frame = Frame::around(&self.curves, self.scale, self.window_s, HEIGHT);
        let is_empty = self.curves.iter().all(|curve| curve.points.is_empty());
        html! {
            figure.plot {
                figcaption {
                    h3 { (self.title) }
                    (self.legend())
                }
                div.y aria-hidden="true" {
                    @for step in (0..=frame.steps).rev() {
                        span { ((self.write)(frame.value(step))) }
                    }
                }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                    aria-label=(summary(self)) {
                    @for step in 0..=frame.steps {
                        @let y = HEIGHT * step as f64 / frame.steps as f64;
                        line.grid x1="0" x2=(WIDTH) y1=(y) y2=(y) {}
                    }
                    @for (index, curve) in self.curves.iter().enumerate() {
                        path class={ "c" (index) } d=(frame.path(&curve.points)) {}
                    }
                }
                div.x aria-hidden="true" {
                    @for text in frame.times() { span { (text) } }
                }
                @if is_empty { p.none { "Nothing was measured yet." } }
            }
        }
    }

    fn legend(&self) -> Markup {
        let now = |curve: &Curve| {
            curve.points.last().map_or("–".into(), |(_, value)| (self.write)(*value))
        };
        html! {
            ul.legend {
                @for (index, curve) in self.curves.iter().enumerate() {
                    li {
                        svg.key viewBox="0 0 24 8" aria-hidden="true" {
                            path class={ "c" (index) } d="M1 4H23" {}
                        }
                        (curve.name) " " b { (now(curve)) }
                    }
                }
            }
        }
    }
}

/// A small line for a cell of a table, with the highest value in words.
pub(super) fn spark(
    points: &[(f64, f64)],
    window_s: f64,
    write: fn(f64) -> String,
    what: &str,
) -> Markup {
    let curve = Curve { name: String::new(), points: points.to_vec() };
    let frame = Frame::around(&[curve], Scale::Linear, window_s, SPARK_HEIGHT);
    let most = points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    html! {
        @if points.is_empty() { "–" } @else {
            svg.spark viewBox={ "0 0 " (WIDTH) " " (SPARK_HEIGHT) } preserveAspectRatio="none" role="img"
                aria-label={ (what) ", the last hour: at most " (write(most)) } {
                path.c0 d=(frame.path(points)) {}
            }
        }
    }
}

/// A share of a whole as a bar, with the share in words beside it.
pub(super) fn bar(part: f64, whole: f64) -> Markup {
    let share = if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 };
    html! {
        span.bar {
            svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
                rect.rest width="100" height="8" {}
                rect.part width={ (format!("{:.1}", share * 100.0)) } height="8" {}
            }
            (number::exact((share * 1000.0).round() / 10.0, &number::percent(part, whole)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: &[f64]) -> Curve {
        let points = values.iter().enumerate().map(|(index, v)| (60.0 - index as f64 * 10.0, *v));
        Curve { name: "x".into(), points: points.collect() }
    }

    #[test]
    fn scales_hold_every_value() {
        let around = |curves: &[Curve], scale| Frame::around(curves, scale, 3600.0, 100.0);
        for values in [&[0.0][..], &[0.4], &[17.0, 3.0], &[1e6, 2e6], &[999.0]] {
            let curves = [curve(values)];
            let most = values.iter().copied().fold(0.0, f64::max);
            let frame = around(&curves, Scale::Linear);
            assert!(frame.bottom == 0.0 && frame.top >= most && frame.top > 0.0, "{frame:?}");
            let frame = around(&curves, Scale::Logarithmic);
            assert!(frame.bottom > 0.0 && frame.top >= most && frame.bottom < frame.top);
            assert!((1..=6).contains(&frame.steps), "{frame:?}");
        }
        let frame = around(&[curve(&[250.0, 40_000.0])], Scale::Logarithmic);
        assert_eq!((frame.bottom, frame.top, frame.steps), (100.0, 1e5, 3));
        assert_eq!(frame.times(), ["−60 min", "−45", "−30", "−15", "now"]);
    }

    #[test]
    fn a_gap_is_not_drawn_over() {
        let points = [(3600.0, 0.0), (3590.0, 10.0), (1800.0, 5.0), (4000.0, 1.0)];
        let (bottom, top, steps, scale) = (0.0, 10.0, 2, Scale::Linear);
        let frame = Frame { bottom, top, steps, scale, window_s: 3600.0, height: 100.0 };
        assert_eq!(frame.path(&points), "M0 100.0h0L2 0.0M360 50.0h0");
    }

    #[test]
    fn a_young_process_shows_a_shorter_time() {
        let now = SystemTime::now();
        let sample = |ago_s| {
            let at = now - std::time::Duration::from_secs(ago_s);
            let (took, databases, hosts) = (SAMPLE_INTERVAL, Box::default(), Box::default());
            std::sync::Arc::new(Sample { at, took, databases, hosts })
        };
        for (ago_s, window_s) in [(10, 300.0), (299, 300.0), (301, 1200.0), (1300, 3600.0)] {
            let recent = Recent { samples: vec![sample(ago_s), sample(0)], ..Recent::default() };
            assert_eq!(super::window_s(&recent, now), window_s);
        }
    }
}
