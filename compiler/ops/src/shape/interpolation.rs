use serde::{Deserialize, Serialize};

/// How a place along a resized axis relates to the operand (ONNX `coordinate_transformation_mode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    #[default]
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
}

/// Which neighbour is the nearest one (ONNX `nearest_mode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    #[default]
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

impl Rounding {
    fn apply(self, place: f64) -> f64 {
        match self {
            Rounding::RoundPreferFloor => (place - 0.5).ceil(),
            Rounding::RoundPreferCeil => (place + 0.5).floor(),
            Rounding::Floor => place.floor(),
            Rounding::Ceil => place.ceil(),
        }
    }
}

/// One axis on its way from `from` to `to` elements.
#[derive(Debug, Clone, Copy)]
pub struct ResizedAxis {
    pub from: usize,
    pub to: usize,
    /// `None` is `to / from`; a scale that the model states differs from it where `to` was rounded.
    pub scale: Option<f64>,
    pub coordinates: Coordinates,
}

/// The elements that make up each element of a resized axis: `taps` of them, position after position.
pub struct Taps {
    pub taps: usize,
    pub places: Vec<i64>,
    pub weights: Vec<f64>,
}

/// The interpolating function: how much an element at some distance weighs.
#[derive(Debug, Clone, Copy)]
pub enum Kernel {
    Linear,
    /// Keys' cubic convolution with the free coefficient `a`.
    Cubic {
        a: f64,
    },
}

impl Kernel {
    /// The distance from which on nothing weighs anything.
    fn support(self) -> f64 {
        match self {
            Kernel::Linear => 1.0,
            Kernel::Cubic { .. } => 2.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        let d = distance.abs();
        match self {
            Kernel::Linear => (1.0 - d).max(0.0),
            Kernel::Cubic { a } if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
            Kernel::Cubic { a } if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
            Kernel::Cubic { .. } => 0.0,
        }
    }
}

impl ResizedAxis {
    fn scale(&self) -> f64 {
        self.scale.unwrap_or(self.to as f64 / self.from as f64)
    }

    /// Where on the operand's axis, counted in elements, the element `position` of the result lies.
    fn original(&self, position: usize) -> f64 {
        let (from, to) = (self.from as f64, self.to as f64);
        // By multiplication before division, so that exact ratios stay exact.
        let unscaled = |x: f64| match self.scale {
            None => x * from / to,
            Some(scale) => x / scale,
        };
        let x = position as f64;
        match self.coordinates {
            Coordinates::PytorchHalfPixel if self.to == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => unscaled(x + 0.5) - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = to / (self.scale() * from);
                from / 2.0 * (1.0 - adjustment) + unscaled(x + 0.5) - 0.5
            }
            Coordinates::AlignCorners if self.to == 1 => 0.0,
            Coordinates::AlignCorners => {
                x * (from - 1.0) / (self.scale.map_or(to, |scale| scale * from) - 1.0)
            }
            Coordinates::Asymmetric => unscaled(x),
            Coordinates::TfHalfPixelForNn => unscaled(x + 0.5),
        }
    }

    fn clamped(&self, place: f64) -> i64 {
        (place as i64).clamp(0, self.from as i64 - 1)
    }

    /// For each position the element that is nearest.
    pub fn nearest(&self, rounding: Rounding) -> Vec<i64> {
        (0..self.to).map(|position| self.clamped(rounding.apply(self.original(position)))).collect()
    }

    /// For each position the neighbours and what they weigh. With `antialias` a shrinking axis spreads the kernel
    /// over as many elements as fall on one; with `exclude_outside` what lies beyond the ends weighs nothing,
    /// otherwise the outermost element stands there.
    pub fn interpolated(&self, kernel: Kernel, antialias: bool, exclude_outside: bool) -> Taps {
        let narrowing = if antialias { self.scale().min(1.0) } else { 1.0 };
        let first = (-kernel.support() / narrowing).floor() + 1.0;
        let taps = (2.0 - 2.0 * first) as usize;
        let (mut places, mut all_weights) = (vec![], vec![]);
        for position in 0..self.to {
            let original = self.original(position);
            let floor = original.floor();
            let neighbours: Vec<f64> = (0..taps).map(|tap| floor + first + tap as f64).collect();
            let weight = |&place: &f64| {
                let outside = place < 0.0 || place > self.from as f64 - 1.0;
                if exclude_outside && outside { 0.0 } else { kernel.weight((place - original) * narrowing) }
            };
            let weights: Vec<f64> = neighbours.iter().map(weight).collect();
            let sum: f64 = if antialias || exclude_outside { weights.iter().sum() } else { 1.0 };
            places.extend(neighbours.into_iter().map(|place| self.clamped(place)));
            all_weights.extend(weights.into_iter().map(|weight| weight / sum));
        }
        Taps { taps, places, weights: all_weights }
    }
}
