//! The picture: for each place, what share of requests was answered within what time, before and after. SVG without
//! scripts or fonts of its own, so that it can be looked at anywhere.
use std::fmt::Write as _;

use super::distribution::Distribution;

const WIDTH: f64 = 960.0;
const COLUMNS: usize = 2;
const PANEL_WIDTH: f64 = WIDTH / COLUMNS as f64;
const PANEL_HEIGHT: f64 = 300.0;
const HEADER: f64 = 76.0;
/// Around a panel's curves: left for the shares, above for the title, below for the times.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 24.0;
const ABOVE: f64 = 40.0;
const BELOW: f64 = 48.0;
/// The time axis, logarithmic, in ms.
const SHORTEST_MS: f64 = 1.0;
const LONGEST_MS: f64 = 1_000.0;
const TICKS_MS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];
const SHARES: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// Steps of a curve.
const STEPS: u32 = 240;
const BEFORE: &str = "#c2410c";
const AFTER: &str = "#1d4ed8";

/// One place.
pub(super) struct Panel<'a> {
    pub(super) title: &'a str,
    pub(super) before: &'a Distribution,
    pub(super) after: &'a Distribution,
}

/// Draws all panels.
pub(super) fn draw(panels: &[Panel<'_>]) -> String {
    let rows = panels.len().div_ceil(COLUMNS);
    let height = HEADER + PANEL_HEIGHT * rows as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#1f2937\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"18\" font-weight=\"bold\">Requests answered within a time, by where users are</text>\n"
    );
    let mut x = LEFT;
    for (colour, what, room) in [(BEFORE, "everything in us-east", 220.0), (AFTER, "the regions", 0.0)] {
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"52\" x2=\"{}\" y2=\"52\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{}\" y=\"56.5\">{what}</text>",
            x + 28.0,
            x + 36.0
        );
        x += room;
    }
    for (index, panel) in panels.iter().enumerate() {
        let left = (index % COLUMNS) as f64 * PANEL_WIDTH;
        let top = HEADER + (index / COLUMNS) as f64 * PANEL_HEIGHT;
        panel.draw(left, top, &mut svg);
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel<'_> {
    fn draw(&self, left: f64, top: f64, svg: &mut String) {
        let (x0, x1) = (left + LEFT, left + PANEL_WIDTH - RIGHT);
        let (y0, y1) = (top + PANEL_HEIGHT - BELOW, top + ABOVE);
        let x = |ms: f64| x0 + (x1 - x0) * along(ms);
        let y = |share: f64| y0 + (y1 - y0) * share;
        let _ = writeln!(
            svg,
            "<text x=\"{x0}\" y=\"{:.1}\" font-size=\"15\" font-weight=\"bold\">users near {}</text>",
            top + 24.0,
            escaped(self.title)
        );
        for share in SHARES {
            let _ = writeln!(
                svg,
                "<line x1=\"{x0}\" y1=\"{0:.1}\" x2=\"{x1}\" y2=\"{0:.1}\" stroke=\"#e5e7eb\"/>\
                 <text x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"end\" font-size=\"11\">{3:.0} %</text>",
                y(share),
                x0 - 6.0,
                y(share) + 4.0,
                share * 100.0
            );
        }
        for ms in TICKS_MS {
            let _ = writeln!(
                svg,
                "<line x1=\"{0:.1}\" y1=\"{y0:.1}\" x2=\"{0:.1}\" y2=\"{y1:.1}\" stroke=\"#f3f4f6\"/>\
                 <text x=\"{0:.1}\" y=\"{1:.1}\" text-anchor=\"middle\" font-size=\"11\">{ms}</text>",
                x(ms),
                y0 + 16.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\">ms</text>",
            f64::midpoint(x0, x1),
            y0 + 32.0
        );
        // Marks' labels stand on different lines, so that they never cover each other.
        for (distribution, colour, share_of_label) in [(self.before, BEFORE, 0.32), (self.after, AFTER, 0.12)]
        {
            let Some(p95) = distribution.within(0.95) else { continue };
            let mut path = String::new();
            for step in 0..=STEPS {
                let ms = SHORTEST_MS * (LONGEST_MS / SHORTEST_MS).powf(f64::from(step) / f64::from(STEPS));
                let verb = if step == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{verb}{:.1} {:.1}", x(ms), y(distribution.share_within(ms)));
            }
            let _ = writeln!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\" stroke-linejoin=\"round\"/>\
                 <line x1=\"{0:.1}\" y1=\"{y0:.1}\" x2=\"{0:.1}\" y2=\"{1:.1}\" stroke=\"{colour}\" stroke-dasharray=\"4 3\"/>",
                x(p95),
                y(0.95)
            );
            // On the side where there is room.
            let (anchor, at) = if along(p95) > 0.5 { ("end", x(p95) - 6.0) } else { ("start", x(p95) + 6.0) };
            let _ = writeln!(
                svg,
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\" stroke=\"#ffffff\" \
                 stroke-width=\"4\" paint-order=\"stroke\" font-weight=\"bold\">p95 {p95:.1} ms</text>",
                y(share_of_label)
            );
        }
    }
}

/// Where a time lies on the axis, 0 to 1.
fn along(ms: f64) -> f64 {
    ((ms / SHORTEST_MS).ln() / (LONGEST_MS / SHORTEST_MS).ln()).clamp(0.0, 1.0)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_axis_is_logarithmic_and_what_lies_beyond_it_stays_on_its_edge() {
        for (ms, place) in [(0.1, 0.0), (1.0, 0.0), (31.622_776_6, 0.5), (1_000.0, 1.0), (9_999.0, 1.0)] {
            assert!((along(ms) - place).abs() < 1e-6, "{ms} ms at {}", along(ms));
        }
    }

    #[test]
    fn each_place_has_both_curves_and_their_p95_and_the_file_is_whole() {
        let slow = Distribution::of((80..120).map(Duration::from_millis));
        let fast = Distribution::of((2..12).map(Duration::from_millis));
        let nothing = Distribution::default();
        let svg = draw(&[
            Panel { title: "here & there", before: &slow, after: &fast },
            Panel { title: "nowhere", before: &nothing, after: &nothing },
            Panel { title: "one side", before: &slow, after: &nothing },
        ]);
        assert_eq!(svg.matches("<path").count(), 3, "{svg}");
        assert!(svg.contains("p95 117.0 ms") && svg.contains("p95 11.0 ms"), "{svg}");
        assert!(svg.contains("here &amp; there") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        for tag in ["svg", "text"] {
            let (opened, closed) =
                (svg.matches(&format!("<{tag} ")).count(), svg.matches(&format!("</{tag}>")).count());
            assert_eq!(opened, closed, "{tag}");
        }
        assert!(svg.contains("height=\"676\""), "two rows of panels");
    }
}
