use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A float attribute of an operator: an `f32` with total equality, order (IEEE `totalOrder`) and hash.
///
/// Serialises as the shortest number that reads back to the same value; infinities and NaN, which JSON has not, as
/// the strings `inf`, `-inf` and `NaN`.
#[derive(Clone, Copy, Default)]
pub struct Float(pub f32);

impl Float {
    /// The value, for computation.
    pub fn wide(self) -> f64 {
        f64::from(self.0)
    }
}

impl From<f32> for Float {
    fn from(value: f32) -> Float {
        Float(value)
    }
}

impl PartialEq for Float {
    fn eq(&self, other: &Float) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Float {}

impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Float) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Float {
    fn cmp(&self, other: &Float) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Hash for Float {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl fmt::Debug for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shortest = self.0.to_string();
        // The `f64` nearest to the shortest text prints as that text again; widening `0.1f32` itself would not.
        match shortest.parse::<f64>() {
            Ok(value) if value.is_finite() => serializer.serialize_f64(value),
            _ => serializer.serialize_str(&shortest),
        }
    }
}

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Float, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(f64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(value) => Ok(Float(value as f32)),
            Form::Text(text) => {
                text.parse().map(Float).map_err(|_| D::Error::custom(format!("`{text}` is no float")))
            }
        }
    }
}
