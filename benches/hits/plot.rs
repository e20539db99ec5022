//! A plot of hit ratios over sizes, as SVG. The axis of sizes is logarithmic.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;
const COLOURS: [&str; 8] = ["#222222", "#999999", "#bbbbbb", "#1f77b4", "#76b7e0", "#2ca02c", "#d62728", "#c9a227"];

/// One trace: by size, the ratio of each of the names.
pub fn svg(title: &str, names: &[&str], points: &[(f64, Vec<f64>)]) -> String {
    let (first, last) = (points[0].0.ln(), points[points.len() - 1].0.ln());
    let x = |size: f64| LEFT + (size.ln() - first) / (last - first).max(1e-9) * (WIDTH - LEFT - RIGHT);
    let y = |ratio: f64| HEIGHT - BOTTOM - ratio * (HEIGHT - TOP - BOTTOM);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}: hit ratio over cache size</text>\n"
    );
    let mut add = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string takes any text");
    for percent in (0..=100).step_by(20) {
        let at = y(f64::from(percent) / 100.0);
        add(format_args!("<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#dddddd\"/>", WIDTH - RIGHT));
        add(format_args!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>", LEFT - 6.0, at + 4.0));
    }
    for (size, _) in points {
        let at = x(*size);
        add(format_args!(
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.1} %</text>",
            HEIGHT - BOTTOM + 18.0,
            100.0 * size
        ));
    }
    add(format_args!("<text x=\"{LEFT}\" y=\"{:.1}\">of all objects' bytes</text>", HEIGHT - 10.0));
    for (index, name) in names.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let path: Vec<String> =
            points.iter().map(|(size, ratios)| format!("{:.1} {:.1}", x(*size), y(ratios[index]))).collect();
        let dashes = if index < 3 { " stroke-dasharray=\"5 3\"" } else { "" };
        add(format_args!(
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
            path.join("L")
        ));
        let at = TOP + 18.0 * index as f64;
        let from = WIDTH - RIGHT + 14.0;
        add(format_args!("<path d=\"M{from:.1} {at:.1}h22\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>"));
        add(format_args!("<text x=\"{:.1}\" y=\"{:.1}\">{name}</text>", from + 28.0, at + 4.0));
    }
    text.push_str("</svg>\n");
    text
}
