//! Where boxes and edges lie: layers from top to bottom, by dagre.

use dagre::graph::{Graph, GraphOptions};
use dagre::{EdgeLabel, LayoutOptions, NodeLabel, layout};

use super::svg::{Size, box_size, label_size};
use super::{Edge, Picture};

/// In pixels; y grows downwards.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// An edge's bends from box to box, and the middle of its label.
pub struct Path {
    pub points: Vec<Point>,
    pub label: Point,
}

pub struct Placed {
    /// The middle of each box.
    pub boxes: Vec<Point>,
    /// Of each edge.
    pub paths: Vec<Path>,
    pub size: Size,
}

pub fn place(picture: &Picture) -> Placed {
    let mut graph = Graph::with_options(GraphOptions { directed: true, multigraph: true, compound: false });
    for (k, drawn) in picture.boxes.iter().enumerate() {
        let Size { width, height } = box_size(drawn);
        graph.set_node(k.to_string(), Some(NodeLabel { width, height, ..NodeLabel::default() }));
    }
    for (k, Edge { from, to, label }) in picture.edges.iter().enumerate() {
        let Size { width, height } = label_size(label);
        let label = EdgeLabel { width, height, ..EdgeLabel::default() };
        graph.set_edge(from.to_string(), to.to_string(), Some(label), Some(&k.to_string()));
    }
    let distances = LayoutOptions { nodesep: 24.0, edgesep: 12.0, ranksep: 36.0, ..LayoutOptions::default() };
    layout(&mut graph, Some(distances));
    let boxes: Vec<Point> = (0..picture.boxes.len())
        .map(|k| {
            let place = graph.node(&k.to_string());
            place
                .map_or(Point::default(), |node| Point { x: node.x.unwrap_or(0.0), y: node.y.unwrap_or(0.0) })
        })
        .collect();
    let path = |(k, edge): (usize, &Edge)| {
        let straight = || vec![boxes[edge.from], boxes[edge.to]];
        let known = graph.edge(&edge.from.to_string(), &edge.to.to_string(), Some(&k.to_string()));
        let points = known.map_or_else(straight, |known| {
            known.points.iter().map(|point| Point { x: point.x, y: point.y }).collect()
        });
        let label = known.and_then(|known| Some(Point { x: known.x?, y: known.y? }));
        Path { label: label.unwrap_or(points[points.len() / 2]), points }
    };
    let paths: Vec<Path> = picture.edges.iter().enumerate().map(path).collect();
    let size = extent(picture, &boxes, &paths);
    Placed { boxes, paths, size }
}

/// As far as anything reaches.
fn extent(picture: &Picture, boxes: &[Point], paths: &[Path]) -> Size {
    let boxes = picture.boxes.iter().zip(boxes).map(|(drawn, at)| (box_size(drawn), *at));
    let labels = picture.edges.iter().zip(paths).map(|(edge, path)| (label_size(&edge.label), path.label));
    let bends = paths.iter().flat_map(|path| &path.points).map(|point| (Size::default(), *point));
    let corner = |(size, at): (Size, Point)| (at.x + size.width / 2.0, at.y + size.height / 2.0);
    let far = boxes.chain(labels).chain(bends).map(corner);
    let (width, height) = far.fold((0.0, 0.0), |(w, h): (f64, f64), (x, y)| (w.max(x), h.max(y)));
    Size { width, height }
}
