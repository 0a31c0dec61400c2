//! The picture as a page of its own.

use std::fmt::Write;

use super::svg::shade;
use super::{Picture, escaped};
use crate::table::grouped;

/// Has the places `{heading}`, `{style}`, `{rows}` and `{picture}`.
const PAGE: &str = include_str!("page.html");

/// What pages of a picture beside a table of kernels have in common.
pub const PAGE_STYLE: &str = include_str!("page.css");

/// The page around what was drawn.
pub fn page(picture: &Picture, drawn: &str) -> String {
    let most = picture.kernels.iter().map(|kernel| kernel.share).fold(0.0, f64::max);
    let mut rows = String::new();
    for (number, kernel) in picture.kernels.iter().enumerate() {
        let _ = writeln!(
            rows,
            "<tr data-kernel=\"kernel-{number}\"><td>{}</td><td class=\"n\" style=\"background:{}\">{:.2}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&kernel.op),
            shade(kernel.share, most),
            100.0 * kernel.share,
            grouped(kernel.macs),
            grouped(kernel.bytes as u128),
            escaped(kernel.layout.as_deref().unwrap_or_default()),
            escaped(&kernel.subject())
        );
    }
    let heading = escaped(&picture.heading);
    let places =
        [("{heading}", heading.as_str()), ("{style}", PAGE_STYLE), ("{rows}", &rows), ("{picture}", drawn)];
    filled(PAGE, &places)
}

/// `template` with its places filled once, in their order: what is filled in is not looked at again.
pub fn filled(template: &str, places: &[(&str, &str)]) -> String {
    let mut out =
        String::with_capacity(template.len() + places.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut rest = template;
    while let Some((at, place, text)) = places
        .iter()
        .filter_map(|(place, text)| Some((rest.find(place)?, place, text)))
        .min_by_key(|(at, ..)| *at)
    {
        out += &rest[..at];
        out += text;
        rest = &rest[at + place.len()..];
    }
    out + rest
}
