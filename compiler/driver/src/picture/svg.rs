//! The picture as SVG.

use std::fmt::Write;

pub use super::place::Point;
use super::place::{Path, Placed};
use super::{Block, Picture, escaped, shortened};
use crate::explain::Kernel;

/// In pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Size {
    pub width: f64,
    pub height: f64,
}

/// Wider than most characters of the fonts below are at 1 pixel of height.
const CHARACTER: f64 = 0.58;
const TITLE: f64 = 13.0;
const NAME: f64 = 11.0;
const LABEL: f64 = 10.0;
/// From one ONNX node of a kernel to the next.
const LINE: f64 = 20.0;
const PADDING: f64 = 8.0;
const MARGIN: f64 = 24.0;
/// Above the graph: heading and legend.
const HEADER: f64 = 64.0;
/// Characters of a name, and nodes of a kernel, that are shown.
const MOST_CHARACTERS: usize = 44;
const MOST_NODES: usize = 12;

pub const STYLE: &str = "text{font-family:Helvetica,Arial,'DejaVu Sans',sans-serif;fill:#1b1f24}\
    .kernel>rect{stroke:#57606a;stroke-width:1.2}.node{fill:#ffffff;fill-opacity:.72;stroke:#afb8c1;stroke-width:.6}\
    .edge{fill:none;stroke:#6e7781;stroke-width:1.3;stroke-linejoin:round}.type{fill:#57606a;stroke:#ffffff;stroke-width:3;stroke-linejoin:round;paint-order:stroke}\
    .port>rect{fill:#ddf4ff;stroke:#54aeff;stroke-width:1.2}.chosen>rect{stroke:#0969da;stroke-width:4}";

pub fn box_size(drawn: &Block) -> Size {
    match drawn {
        Block::Input(name) | Block::Output(name) => {
            Size { width: width(&shortened(name, MOST_CHARACTERS), TITLE) + 4.0 * PADDING, height: 28.0 }
        }
        Block::Kernel(kernel, types) => {
            let lines = lines(kernel, types);
            let widest = lines.iter().map(|(text, _)| width(text, NAME) + 4.0 * PADDING);
            let title = width(&title(kernel), TITLE) + 2.0 * PADDING;
            Size {
                width: widest.fold(title, f64::max),
                height: TITLE + 2.0 * PADDING + LINE * lines.len() as f64,
            }
        }
    }
}

pub fn label_size(label: &str) -> Size {
    Size { width: width(label, LABEL) + PADDING, height: LABEL + 4.0 }
}

fn width(text: &str, height: f64) -> f64 {
    text.chars().count() as f64 * height * CHARACTER
}

fn title(kernel: &Kernel) -> String {
    let layout = kernel.layout.as_ref().map(|layout| format!(" · {layout}")).unwrap_or_default();
    format!("{} · {:.1} %{layout}", kernel.op, 100.0 * kernel.share)
}

/// A line of text per node, and its whole name.
fn lines<'a>(kernel: &'a Kernel, types: &[Option<&str>]) -> Vec<(String, &'a str)> {
    let line = |(name, op_type): (&'a String, &Option<&str>)| {
        let op_type = op_type.map(|op_type| format!("{op_type}: ")).unwrap_or_default();
        (op_type + &shortened(name, MOST_CHARACTERS), name.as_str())
    };
    let mut lines: Vec<(String, &str)> = kernel.nodes.iter().zip(types).take(MOST_NODES).map(line).collect();
    if kernel.nodes.is_empty() {
        lines.push((shortened(&kernel.subject(), MOST_CHARACTERS), ""));
    }
    if kernel.nodes.len() > MOST_NODES {
        lines.push((format!("and {} more", kernel.nodes.len() - MOST_NODES), ""));
    }
    lines
}

/// The whole file.
pub fn draw(picture: &Picture, placed: &Placed) -> String {
    let width = placed.size.width.max(460.0) + 2.0 * MARGIN;
    let height = placed.size.height + HEADER + 2.0 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n\
         <style>{STYLE}</style>\n\
         <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path d=\"M0 0L8 4L0 8z\" fill=\"#6e7781\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let most = picture.kernels.iter().map(|kernel| kernel.share).fold(0.0, f64::max);
    header(&mut out, picture, most);
    let _ = writeln!(out, "<g transform=\"translate({MARGIN} {})\">", HEADER + MARGIN);
    for (edge, path) in picture.edges.iter().zip(&placed.paths) {
        line(&mut out, path, &edge.label);
    }
    for (edge, path) in picture.edges.iter().zip(&placed.paths) {
        label(&mut out, &edge.label, path.label);
    }
    let mut number = 0;
    for (drawn, at) in picture.boxes.iter().zip(&placed.boxes) {
        match drawn {
            Block::Input(name) | Block::Output(name) => port(&mut out, name, box_size(drawn), *at),
            Block::Kernel(described, types) => {
                kernel(&mut out, number, described, types, (box_size(drawn), *at), most);
                number += 1;
            }
        }
    }
    out + "</g>\n</svg>\n"
}

fn header(out: &mut String, picture: &Picture, most: f64) {
    text(out, Point { x: MARGIN, y: 30.0 }, 16.0, "start", &picture.heading);
    let _ = write!(out, "<defs><linearGradient id=\"share\">");
    for stop in 0..=4 {
        let part = f64::from(stop) / 4.0;
        let _ = write!(out, "<stop offset=\"{part}\" stop-color=\"{}\"/>", shade(part * most, most));
    }
    let _ = writeln!(out, "</linearGradient></defs>");
    text(out, Point { x: MARGIN + 190.0, y: 56.0 }, NAME, "end", "share of the modelled cost: 0 %");
    let _ = writeln!(
        out,
        "<rect x=\"{}\" y=\"46\" width=\"120\" height=\"12\" fill=\"url(#share)\" stroke=\"#afb8c1\"/>",
        MARGIN + 196.0
    );
    text(out, Point { x: MARGIN + 322.0, y: 56.0 }, NAME, "start", &format!("{:.1} %", 100.0 * most));
}

fn line(out: &mut String, path: &Path, label: &str) {
    let points: Vec<String> =
        path.points.iter().map(|point| format!("{:.1},{:.1}", point.x, point.y)).collect();
    let _ = writeln!(
        out,
        "<polyline class=\"edge\" points=\"{}\" marker-end=\"url(#arrow)\"><title>{}</title></polyline>",
        points.join(" "),
        escaped(label)
    );
}

fn label(out: &mut String, label: &str, at: Point) {
    let _ = writeln!(
        out,
        "<text class=\"type\" x=\"{:.1}\" y=\"{:.1}\" font-size=\"{LABEL}\" text-anchor=\"middle\">{}</text>",
        at.x,
        at.y + LABEL * 0.35,
        escaped(label)
    );
}

fn port(out: &mut String, name: &str, size: Size, at: Point) {
    let _ = write!(out, "<g class=\"port\"><title>{}</title>", escaped(name));
    rectangle(out, size, at, 14.0, None);
    let at = Point { y: at.y + TITLE * 0.35, ..at };
    text(out, at, TITLE, "middle", &shortened(name, MOST_CHARACTERS));
    out.push_str("</g>\n");
}

fn kernel(
    out: &mut String,
    number: usize,
    kernel: &Kernel,
    types: &[Option<&str>],
    (size, at): (Size, Point),
    most: f64,
) {
    let _ = write!(out, "<g class=\"kernel\" id=\"kernel-{number}\"><title>");
    let _ = write!(
        out,
        "{}\n{} MACs, {} bytes moved</title>",
        escaped(&kernel.symbols.join(", ")),
        kernel.macs,
        kernel.bytes
    );
    rectangle(out, size, at, 6.0, Some(&shade(kernel.share, most)));
    let left = at.x - size.width / 2.0 + PADDING;
    let mut y = at.y - size.height / 2.0 + PADDING + TITLE * 0.85;
    let _ = write!(
        out,
        "<text x=\"{left:.1}\" y=\"{y:.1}\" font-size=\"{TITLE}\" font-weight=\"bold\">{}</text>",
        escaped(&title(kernel))
    );
    y += 5.0;
    for (line, name) in lines(kernel, types) {
        let _ = write!(
            out,
            "<g><title>{}</title><rect class=\"node\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"3\"/>",
            escaped(name),
            size.width - 2.0 * PADDING,
            LINE - 3.0
        );
        text(out, Point { x: left + PADDING, y: y + 12.5 }, NAME, "start", &line);
        out.push_str("</g>");
        y += LINE;
    }
    out.push_str("</g>\n");
}

fn rectangle(out: &mut String, Size { width, height }: Size, at: Point, round: f64, fill: Option<&str>) {
    let fill = fill.map(|fill| format!(" fill=\"{fill}\"")).unwrap_or_default();
    let _ = write!(
        out,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{round}\"{fill}/>",
        at.x - width / 2.0,
        at.y - height / 2.0
    );
}

pub fn text(out: &mut String, at: Point, height: f64, anchor: &str, words: &str) {
    let _ = write!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{height}\" text-anchor=\"{anchor}\">{}</text>",
        at.x,
        at.y,
        escaped(words)
    );
}

/// From white to orange; the root makes the small ones among the shares distinguishable.
pub fn shade(share: f64, most: f64) -> String {
    let part = if most > 0.0 { (share / most).clamp(0.0, 1.0).sqrt() } else { 0.0 };
    let mix = |white: f64, full: f64| (white + (full - white) * part).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(255.0, 245.0), mix(255.0, 133.0), mix(255.0, 63.0))
}
