//! Charts as SVG: lines over axes, and ratios with their intervals. Colours are the page's (`var(--c1)` and so on), so
//! that one drawing serves light, dark and print; lines differ in their dashes too.

use super::number;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const PLOT_HEIGHT: f64 = 300.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 26.0;
const BOTTOM: f64 = 52.0;
const LEGEND_ROW: f64 = 20.0;
/// Pixels of a character of the legend, at its size of type.
const CHARACTER: f64 = 6.7;
/// Colours of the page; further lines begin again, with other dashes.
pub const COLOURS: usize = 8;

/// How values become places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    Linear,
    Log,
}

/// An axis. Ticks are values with what stands beside them; the first and last are the ends.
#[derive(Debug, Clone)]
pub struct Axis {
    pub title: String,
    pub scale: Scale,
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to above `high`.
    pub fn linear(title: &str, high: f64, show: impl Fn(f64) -> String) -> Axis {
        let ticks = number::linear_ticks(0.0, if 0.0 < high { high } else { 1.0 }, 5);
        Axis::of(title, Scale::Linear, ticks, show)
    }

    /// From 0 to exactly `high`: for time, whose end is known.
    pub fn up_to(title: &str, high: f64, show: impl Fn(f64) -> String) -> Axis {
        let mut axis = Axis::linear(title, high, show);
        axis.high = high;
        axis.ticks.retain(|(at, _)| *at <= high * 1.000_001);
        axis
    }

    /// Around `low` and `high`, both above 0.
    pub fn log(title: &str, low: f64, high: f64, show: impl Fn(f64) -> String) -> Axis {
        let low = low.max(1e-3);
        Axis::of(title, Scale::Log, number::log_ticks(low, high.max(low)), show)
    }

    fn of(title: &str, scale: Scale, mut ticks: Vec<f64>, show: impl Fn(f64) -> String) -> Axis {
        if ticks.len() < 2 {
            ticks.push(ticks[0] * 10.0);
        }
        let (low, high) = (ticks[0], *ticks.last().expect("two ticks"));
        let ticks = ticks.into_iter().map(|tick| (tick, show(tick))).collect();
        Axis { title: title.into(), scale, low, high, ticks }
    }

    /// Percentiles, each nine as wide as the one before, up to `percentile`.
    pub fn nines(percentile_max: f64) -> Axis {
        let high = nines(percentile_max).max(1.0);
        let marks = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999, 99.99999, 99.999999];
        let marks = marks.iter().map(|mark| (nines(*mark), format!("{} %", number::percentile(*mark))));
        let ticks = marks.filter(|(at, _)| *at <= high + 1e-9).collect();
        Axis { title: "percentile".into(), scale: Scale::Linear, low: 0.0, high, ticks }
    }

    fn fraction(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        part.clamp(0.0, 1.0)
    }
}

/// Where a percentile stands on an axis of nines: 90 at 1, 99 at 2.
pub fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).max(1e-9).log10()
}

/// A line. Where a point is missing, it is interrupted.
#[derive(Debug, Clone)]
pub struct Line {
    pub name: String,
    pub points: Vec<Option<(f64, f64)>>,
    /// Each point is a dot, and tells its values.
    pub has_dots: bool,
    /// Which colour; others than this are told apart by dashes.
    pub colour: usize,
    pub dash: usize,
}

/// A chart of lines.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows, for who cannot see it.
    pub description: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    /// Upright lines with a word.
    pub marks: Vec<(f64, String)>,
}

/// Text inside an element or attribute.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const DASHES: [&str; 4] = ["", "7 3", "2 3", "9 3 2 3"];

fn stroke(colour: usize, dash: usize) -> String {
    let dashes = DASHES[dash % DASHES.len()];
    let dashes = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
    format!("stroke=\"var(--c{})\"{dashes}", colour % COLOURS + 1)
}

impl Chart {
    /// The drawing.
    pub fn svg(&self) -> String {
        let (legend, legend_height) = self.legend();
        let top = legend_height + 14.0;
        let (right, bottom) = (WIDTH - RIGHT, top + PLOT_HEIGHT);
        let x_of = |value: f64| LEFT + self.x.fraction(value) * (right - LEFT);
        let y_of = |value: f64| bottom - self.y.fraction(value) * PLOT_HEIGHT;
        let mut out = open(&self.description, bottom + BOTTOM);
        out += &legend;
        for (value, text) in &self.y.ticks {
            let y = y_of(*value);
            let _ = write!(out, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
            let _ = write!(
                out,
                "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                escape(text)
            );
        }
        let mut free_from = f64::MIN;
        for (value, text) in &self.x.ticks {
            let x = x_of(*value);
            let _ = write!(out, "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>");
            let half = text.chars().count() as f64 * CHARACTER / 2.0;
            // A label that would touch the one before it is left out; its grid line stays.
            if free_from < x - half {
                let x = x.min(WIDTH - half - 2.0);
                let _ = write!(
                    out,
                    "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    bottom + 18.0,
                    escape(text)
                );
                free_from = x + half + 6.0;
            }
        }
        let _ = write!(out, "<path class=\"axis\" d=\"M{LEFT} {top}V{bottom}H{right}\"/>");
        let middle = (LEFT + right) / 2.0;
        let _ = write!(
            out,
            "<text class=\"title\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 42.0,
            escape(&self.x.title)
        );
        let height = (top + bottom) / 2.0;
        let _ = write!(
            out,
            "<text class=\"title\" transform=\"translate(16 {height:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escape(&self.y.title)
        );
        for (value, text) in &self.marks {
            let x = x_of(*value);
            let _ = write!(out, "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>");
            let (anchor, x) = if x < middle { ("start", x + 5.0) } else { ("end", x - 5.0) };
            let _ = write!(
                out,
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                bottom - 8.0,
                escape(text)
            );
        }
        for line in &self.lines {
            let mut path = String::new();
            let mut pen_is_down = false;
            for point in &line.points {
                match point {
                    Some((x, y)) => {
                        let _ = write!(path, "{}{:.1} {:.1}", if pen_is_down { 'L' } else { 'M' }, x_of(*x), y_of(*y));
                        pen_is_down = true;
                    }
                    None => pen_is_down = false,
                }
            }
            let _ = write!(
                out,
                "<path class=\"line\" {} d=\"{path}\"><title>{}</title></path>",
                stroke(line.colour, line.dash),
                escape(&line.name)
            );
            let alone = line.points.iter().flatten().count() == 1;
            if line.has_dots || alone {
                for (x, y) in line.points.iter().flatten() {
                    let _ = write!(
                        out,
                        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.2\" fill=\"var(--c{})\"><title>{}</title></circle>",
                        x_of(*x),
                        y_of(*y),
                        line.colour % COLOURS + 1,
                        escape(&format!(
                            "{}: {} {}, {} {}",
                            line.name,
                            number::short(*x),
                            self.x.title,
                            number::short(*y),
                            self.y.title
                        )),
                    );
                }
            }
        }
        out + "</svg>"
    }

    /// The legend's rows above the plot, and how high they are. One line needs none.
    fn legend(&self) -> (String, f64) {
        if self.lines.len() < 2 {
            return (String::new(), 0.0);
        }
        let (mut x, mut y) = (LEFT, 14.0);
        let mut out = String::new();
        for line in &self.lines {
            let width = 34.0 + line.name.chars().count() as f64 * CHARACTER + 18.0;
            if WIDTH - RIGHT < x + width && LEFT < x {
                x = LEFT;
                y += LEGEND_ROW;
            }
            let _ = write!(
                out,
                "<line class=\"line\" {} x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                stroke(line.colour, line.dash),
                x + 26.0,
                y - 4.0,
                y - 4.0
            );
            let _ =
                write!(out, "<text class=\"legend\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>", x + 32.0, escape(&line.name));
            x += width;
        }
        (out, y + 2.0)
    }
}

fn open(description: &str, height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{0}\" xmlns=\"http://www.w3.org/2000/svg\">",
        escape(description)
    )
}

/// A row of [`ratios`]: name, ratio with its bounds, and the control's.
pub struct RatioRow {
    pub name: String,
    pub ratio: (f64, f64, f64),
    pub control: (f64, f64, f64),
    /// What is written at the end of the row.
    pub text: String,
}

/// Ratios with intervals, one below the other, on an axis on which doubling and halving are as wide.
pub fn ratios(description: &str, title: &str, rows: &[RatioRow]) -> String {
    const NAMES: f64 = 190.0;
    const TEXTS: f64 = 150.0;
    const ROW: f64 = 40.0;
    let all = rows.iter().flat_map(|row| [row.ratio.1, row.ratio.2, row.control.1, row.control.2]);
    let widest = all.map(|ratio| ratio.max(1e-6).ln().abs()).fold(0.02f64, f64::max) * 1.12;
    let (top, left, right) = (34.0, NAMES, WIDTH - TEXTS);
    let bottom = top + ROW * rows.len() as f64;
    let x_of = |ratio: f64| left + (ratio.max(1e-6).ln() / widest + 1.0) / 2.0 * (right - left);
    let mut out = open(description, bottom + BOTTOM);
    let legend = [("B / A", "var(--c1)", 6.0, left), ("control: A again / A", "var(--muted)", 3.0, left + 110.0)];
    for (text, colour, width, x) in legend {
        let _ = write!(
            out,
            "<line stroke=\"{colour}\" stroke-width=\"{width}\" x1=\"{x}\" x2=\"{}\" y1=\"12\" y2=\"12\"/>",
            x + 26.0
        );
        let _ = write!(out, "<text class=\"legend\" x=\"{}\" y=\"16\">{}</text>", x + 32.0, escape(text));
    }
    let step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0].into_iter().find(|step| widest / step <= 4.0);
    let step = step.unwrap_or(10.0);
    let mut ticks = vec![1.0];
    let mut at = 1.0 + step;
    while at.ln() <= widest {
        ticks.push(at);
        ticks.push(1.0 / at);
        at += step;
    }
    let mut labelled: Vec<f64> = Vec::new();
    for tick in ticks {
        let x = x_of(tick);
        // From the middle outwards: what would touch a label that is there has neither label nor line.
        if labelled.iter().any(|other| (other - x).abs() < 6.0 * CHARACTER) {
            continue;
        }
        labelled.push(x);
        let class = if tick == 1.0 { "axis" } else { "grid" };
        let _ = write!(out, "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>");
        let _ = write!(
            out,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick:.2}</text>",
            bottom + 18.0
        );
    }
    let _ = write!(
        out,
        "<text class=\"title\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        (left + right) / 2.0,
        bottom + 42.0,
        escape(title)
    );
    for (at, row) in rows.iter().enumerate() {
        let y = top + ROW * (at as f64 + 0.5);
        let _ = write!(
            out,
            "<text class=\"legend\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 12.0,
            y + 4.0,
            escape(&row.name)
        );
        let bars = [(row.ratio, "var(--c1)", 6.0, y - 6.0, 5.5), (row.control, "var(--muted)", 3.0, y + 9.0, 3.5)];
        for ((median, low, high), colour, width, y, radius) in bars {
            let _ = write!(
                out,
                "<line stroke=\"{colour}\" stroke-width=\"{width}\" stroke-opacity=\"0.55\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                x_of(low),
                x_of(high)
            );
            let _ = write!(out, "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\"/>", x_of(median));
        }
        let _ = write!(
            out,
            "<text class=\"legend\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            right + 14.0,
            y + 4.0,
            escape(&row.text)
        );
    }
    out + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<Option<(f64, f64)>>) -> Chart {
        let line = |name: &str, colour| Line {
            name: name.into(),
            points: points.clone(),
            has_dots: true,
            colour,
            dash: colour,
        };
        Chart {
            description: "a <chart>".into(),
            x: Axis::nines(99.99),
            y: Axis::log("µs", 20.0, 5_000.0, number::short),
            lines: vec![line("one", 0), line("two", 1)],
            marks: vec![(1.0, "here".into())],
        }
    }

    /// The numbers of an attribute.
    fn places(svg: &str, attribute: &str) -> Vec<f64> {
        let mark = format!(" {attribute}=\"");
        let pieces = svg.split(&mark).skip(1);
        pieces.map(|piece| piece.split('"').next().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn points_stand_where_their_values_say() {
        let svg = chart(vec![Some((0.0, 20.0)), Some((4.0, 2_000.0)), Some((2.0, 200.0))]).svg();
        let (x, y) = (places(&svg, "cx"), places(&svg, "cy"));
        assert!((x[0] - LEFT).abs() < 0.1 && (x[1] - (WIDTH - RIGHT)).abs() < 0.1);
        assert!((x[2] - (x[0] + x[1]) / 2.0).abs() < 0.1, "99 % is half way to 99.99 %");
        assert!((y[2] - (y[0] + y[1]) / 2.0).abs() < 0.1, "logarithmic");
        assert!(svg.contains("a &lt;chart&gt;") && svg.starts_with("<svg") && svg.ends_with("</svg>"));
    }

    #[test]
    fn gaps_interrupt_a_line() {
        let svg = chart(vec![Some((0.0, 20.0)), None, Some((4.0, 2_000.0))]).svg();
        let path = svg.split("<path class=\"line\"").nth(1).unwrap();
        assert_eq!(path.split(" d=\"").nth(1).unwrap().split('"').next().unwrap().matches('M').count(), 2);
    }

    #[test]
    fn labels_of_an_axis_never_overlap() {
        for percentile in [90.0, 99.0, 99.99, 99.99999] {
            let mut chart = chart(vec![Some((0.0, 20.0))]);
            chart.x = Axis::nines(percentile);
            let svg = chart.svg();
            let ticks: Vec<(f64, usize)> = svg
                .split("<text class=\"tick\"")
                .filter(|piece| piece.contains("%</text>"))
                .map(|piece| {
                    let text = piece.split('>').nth(1).unwrap().split('<').next().unwrap();
                    (places(piece, "x")[0], text.chars().count())
                })
                .collect();
            for pair in ticks.windows(2) {
                let room = (pair[0].1 + pair[1].1) as f64 / 2.0 * CHARACTER;
                assert!(room < pair[1].0 - pair[0].0, "{percentile}: {ticks:?}");
            }
        }
    }

    #[test]
    fn ratios_are_drawn_on_both_sides_of_one() {
        let row = RatioRow { name: "a".into(), ratio: (2.0, 1.5, 3.0), control: (0.5, 0.4, 0.6), text: "x".into() };
        let svg = ratios("d", "t", &[row]);
        let x = places(&svg, "cx");
        let middle = (190.0 + WIDTH - 150.0) / 2.0;
        assert!(((x[0] - middle) + (x[1] - middle)).abs() < 0.11, "half is as far as double");
    }
}
