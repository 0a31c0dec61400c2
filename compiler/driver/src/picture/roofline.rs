//! Measured kernels under a machine's roofline: a picture, and a page with the kernels as a table beside it.

use std::fmt::Write;

use super::html::{PAGE_STYLE, filled};
use super::svg::{Point, STYLE, shade, text};
use super::{escaped, shortened};
use crate::roofline::{COMPUTE, Ceilings, Timed};
use crate::table::{grouped, time};

/// Has the places `{heading}`, `{style}`, `{rows}` and `{picture}`.
const PAGE: &str = include_str!("roofline.html");

/// In pixels: the picture, and the margins around the plot.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 620.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 56.0;
const LABEL: f64 = 11.0;
/// Of the roofs and of the dots that they bind: memory levels from the nearest on, then again; arithmetic.
const LEVELS: [&str; 5] = ["#1a7f37", "#bf8700", "#bc4c00", "#8250df", "#57606a"];
const ARITHMETIC: &str = "#0969da";

/// The page: `heading` says what was measured.
pub fn page(heading: &str, ceilings: &Ceilings, kernels: &[Timed]) -> String {
    let most = kernels.iter().map(|timed| timed.share).fold(0.0, f64::max);
    let mut rows = String::new();
    for (number, timed) in kernels.iter().enumerate() {
        let _ = writeln!(
            rows,
            "<tr data-kernel=\"kernel-{number}\"><td>{}</td><td class=\"n\" data-key=\"{}\">{}</td>\
             <td class=\"n\" style=\"background:{}\">{:.1}</td><td class=\"n\">{}</td><td class=\"n\">{:.1}</td>\
             <td class=\"n\">{:.0}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            escaped(&timed.kernel.symbol),
            timed.times.median,
            time(timed.times.median),
            shade(timed.share, most),
            100.0 * timed.share,
            timed.gflops.map(|gflops| format!("{gflops:.1}")).unwrap_or_default(),
            timed.gigabytes_per_second,
            100.0 * timed.of_roof,
            escaped(&timed.bound.roof),
            grouped(timed.kernel.macs),
            grouped(timed.kernel.bytes as u128),
            escaped(&timed.kernel.nodes.join(" + "))
        );
    }
    let heading = escaped(heading);
    let picture = picture(ceilings, kernels);
    filled(
        PAGE,
        &[("{heading}", &heading), ("{style}", PAGE_STYLE), ("{rows}", &rows), ("{picture}", &picture)],
    )
}

/// A decimal logarithmic scale from a range of values to a range of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scale {
    /// Powers of ten.
    values: (f64, f64),
    pixels: (f64, f64),
}

impl Scale {
    /// Whole decades around `values`, which are positive.
    fn around(values: impl Iterator<Item = f64>, pixels: (f64, f64)) -> Scale {
        let (least, most) =
            values.fold((f64::MAX, f64::MIN_POSITIVE), |(a, b), value| (a.min(value), b.max(value)));
        let first = least.min(most).log10().floor();
        Scale { values: (first, most.log10().ceil().max(first + 1.0)), pixels }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.log10() - self.values.0) / (self.values.1 - self.values.0);
        self.pixels.0 + part * (self.pixels.1 - self.pixels.0)
    }

    fn least(&self) -> f64 {
        10f64.powf(self.values.0)
    }

    fn most(&self) -> f64 {
        10f64.powf(self.values.1)
    }

    fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        (self.values.0 as i32..=self.values.1 as i32).map(|power| 10f64.powi(power))
    }
}

/// A kernel with multiply-adds, by operations per byte and operations per second.
struct Dot<'a> {
    number: usize,
    timed: &'a Timed,
    intensity: f64,
    gflops: f64,
}

fn picture(ceilings: &Ceilings, kernels: &[Timed]) -> String {
    let dot = |(number, timed): (usize, &'_ Timed)| {
        let intensity = 2.0 * timed.kernel.macs as f64 / timed.kernel.bytes.max(1) as f64;
        Some((number, timed.gflops?, intensity))
    };
    let dots: Vec<Dot> = kernels
        .iter()
        .enumerate()
        .filter_map(|(number, timed)| dot((number, timed)))
        .map(|(number, gflops, intensity)| Dot { number, timed: &kernels[number], intensity, gflops })
        .collect();
    let peak = 1e-9 * ceilings.flops;
    let ridges = ceilings.levels.iter().map(|level| ceilings.flops / level.rate);
    let x = Scale::around(dots.iter().map(|dot| dot.intensity).chain(ridges), (LEFT, WIDTH - RIGHT));
    let y =
        Scale::around(dots.iter().map(|dot| dot.gflops).chain([peak, peak / 20.0]), (HEIGHT - BOTTOM, TOP));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">\n\
         <style>{STYLE}.grid{{stroke:#d8dee4;stroke-width:1}}.roof{{fill:none;stroke-width:1.6}}.dot{{stroke:#ffffff;stroke-width:.8;fill-opacity:.75}}.chosen.dot{{stroke:#0969da;stroke-width:4}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    grid(&mut out, x, y);
    roofs(&mut out, ceilings, x, y);
    for dot in dots {
        draw_dot(&mut out, &dot, ceilings, x, y);
    }
    out + "</svg>\n"
}

fn grid(out: &mut String, x: Scale, y: Scale) {
    for value in x.decades() {
        line(out, "grid", None, &[(x.at(value), TOP), (x.at(value), HEIGHT - BOTTOM)]);
        let at = Point { x: x.at(value), y: HEIGHT - BOTTOM + 18.0 };
        text(out, at, LABEL, "middle", &value.to_string());
    }
    for value in y.decades() {
        line(out, "grid", None, &[(LEFT, y.at(value)), (WIDTH - RIGHT, y.at(value))]);
        text(out, Point { x: LEFT - 8.0, y: y.at(value) + 4.0 }, LABEL, "end", &value.to_string());
    }
    let below = Point { x: (LEFT + WIDTH - RIGHT) / 2.0, y: HEIGHT - 14.0 };
    text(out, below, LABEL, "middle", "operations per byte read or written (multiply-adds count twice)");
    text(out, Point { x: LEFT - 40.0, y: TOP - 14.0 }, LABEL, "start", "GFLOP/s");
}

/// A slope for each level, up to the flat roof that all share; and what the colours mean, above.
fn roofs(out: &mut String, ceilings: &Ceilings, x: Scale, y: Scale) {
    let peak = 1e-9 * ceilings.flops;
    let mut left = x.most();
    let mut legend = LEFT + 60.0;
    let mut explain = |out: &mut String, words: &str, colour: &str| {
        let _ = writeln!(out, "<circle cx=\"{legend:.1}\" cy=\"26\" r=\"5\" fill=\"{colour}\"/>");
        text(out, Point { x: legend + 10.0, y: 30.0 }, LABEL, "start", words);
        legend += 28.0 + 0.58 * LABEL * words.chars().count() as f64;
    };
    explain(out, &format!("arithmetic: {peak:.0} GFLOP/s"), ARITHMETIC);
    for (number, level) in ceilings.levels.iter().enumerate() {
        let slope = 1e-9 * level.rate;
        let start = x.least().max(y.least() / slope);
        let ridge = peak / slope;
        left = left.min(ridge);
        let colour = LEVELS[number % LEVELS.len()];
        line(out, "roof", Some(colour), &[(x.at(start), y.at(start * slope)), (x.at(ridge), y.at(peak))]);
        explain(out, &format!("{}: {slope:.0} GB/s", level.name), colour);
    }
    line(out, "roof", Some(ARITHMETIC), &[(x.at(left), y.at(peak)), (x.at(x.most()), y.at(peak))]);
}

/// As large as its share of the time.
fn draw_dot(out: &mut String, dot: &Dot, ceilings: &Ceilings, x: Scale, y: Scale) {
    let Dot { number, timed, intensity, gflops } = dot;
    let level = ceilings.levels.iter().position(|level| level.name == timed.bound.roof);
    let colour = match level {
        Some(level) if timed.bound.roof != COMPUTE => LEVELS[level % LEVELS.len()],
        _ => ARITHMETIC,
    };
    let _ = writeln!(
        out,
        "<circle class=\"kernel dot\" id=\"kernel-{number}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\" fill=\"{colour}\">\
         <title>{}\n{}\n{}, {:.1} % of the time, {gflops:.1} GFLOP/s, {:.0} % of the roof ({})</title></circle>",
        x.at(*intensity),
        y.at(*gflops),
        3.0 + 22.0 * timed.share.max(0.0).sqrt(),
        escaped(&timed.kernel.symbol),
        escaped(&shortened(&timed.kernel.nodes.join(" + "), 120)),
        time(timed.times.median),
        100.0 * timed.share,
        100.0 * timed.of_roof,
        escaped(&timed.bound.roof)
    );
}

fn line(out: &mut String, class: &str, colour: Option<&str>, points: &[(f64, f64)]) {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let stroke = colour.map(|colour| format!(" stroke=\"{colour}\"")).unwrap_or_default();
    let _ = writeln!(out, "<polyline class=\"{class}\"{stroke} points=\"{}\"/>", points.join(" "));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Kernel;
    use crate::roofline::{Level, timed};
    use crate::timing::Times;

    #[test]
    fn scales_are_logarithmic_over_whole_decades() {
        let scale = Scale::around([0.3, 40.0].into_iter(), (0.0, 300.0));
        assert_eq!(scale.values, (-1.0, 2.0));
        assert!((scale.at(1.0) - 100.0).abs() < 1e-9 && (scale.at(100.0) - 300.0).abs() < 1e-9);
        assert_eq!(scale.decades().collect::<Vec<_>>(), [0.1, 1.0, 10.0, 100.0]);
        let one = Scale::around([10.0].into_iter(), (0.0, 1.0));
        assert!(one.at(10.0).is_finite() && one.values == (1.0, 2.0));
    }

    #[test]
    fn every_kernel_is_a_row_and_those_with_multiply_adds_are_dots() {
        let kernel = |node: &str, macs| Kernel {
            nodes: vec![node.to_owned()],
            kernel: "conv".to_owned(),
            symbol: "net_k0".to_owned(),
            macs,
            bytes: 4000,
            weights_bytes: 0,
            modelled_cycles: 0,
            recorded: false,
        };
        let ceilings = Ceilings {
            cores: 1,
            flops: 1e11,
            levels: vec![Level { name: "memory".to_owned(), bytes: None, rate: 1e10 }],
        };
        let kernels = [kernel("<script>alert(1)</script>", 100_000), kernel("plain", 0)];
        let times = [Times { runs: 1, median: 1e-5, p99: 1e-5, least: 1e-5 }; 2];
        let page = page("net & co", &ceilings, &timed(&kernels, &times, &ceilings, 4000));
        assert!(page.starts_with("<!DOCTYPE html>") && page.contains("net &amp; co"), "{page}");
        assert_eq!(
            (page.matches("<tr data-kernel").count(), page.matches("class=\"kernel dot\"").count()),
            (2, 1)
        );
        assert!(!page.contains("<script>alert") && !page.contains("NaN") && !page.contains("inf"), "{page}");
        // 200 000 operations in 10 µs are 20 GFLOP/s, of 100.
        assert!(page.contains("20.0 GFLOP/s, 20 % of the roof (compute)"), "{page}");
    }
}
