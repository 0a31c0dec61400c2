use serde::{Deserialize, Serialize};

/// Where a feature map keeps its channels: ONNX's `[n, c, spatial...]` or `[n, spatial..., c]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    #[default]
    ChannelsFirst,
    ChannelsLast,
}

/// The places of a feature map's axes.
#[derive(Debug, Clone, Copy)]
pub struct LayoutAxes {
    pub channel: usize,
    first_spatial: usize,
}

impl LayoutAxes {
    pub fn spatial(self, k: usize) -> usize {
        self.first_spatial + k
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Layout::ChannelsFirst => "channels first",
            Layout::ChannelsLast => "channels last",
        })
    }
}

impl Layout {
    pub const ALL: [Layout; 2] = [Layout::ChannelsFirst, Layout::ChannelsLast];

    pub fn axes(self, rank: usize) -> LayoutAxes {
        match self {
            Layout::ChannelsFirst => LayoutAxes { channel: 1, first_spatial: 2 },
            Layout::ChannelsLast => LayoutAxes { channel: rank - 1, first_spatial: 1 },
        }
    }

    /// Batch, channels and spatial extents (or whatever is listed per axis) of a feature map of rank 2 or more.
    pub fn split<T: Copy>(self, shape: &[T]) -> (T, T, Vec<T>) {
        match self {
            Layout::ChannelsFirst => (shape[0], shape[1], shape[2..].to_vec()),
            Layout::ChannelsLast => (shape[0], shape[shape.len() - 1], shape[1..shape.len() - 1].to_vec()),
        }
    }

    /// The inverse of `split`, for extents and indices alike.
    pub fn join<T: Clone>(self, batch: T, channel: T, spatial: &[T]) -> Vec<T> {
        let mut all = vec![batch];
        match self {
            Layout::ChannelsFirst => {
                all.push(channel);
                all.extend_from_slice(spatial);
            }
            Layout::ChannelsLast => {
                all.extend_from_slice(spatial);
                all.push(channel);
            }
        }
        all
    }
}
