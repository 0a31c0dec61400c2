//! Channels that are always zero, or that nobody reads, are dropped before anything else is rewritten.
//!
//! A *strand* is a set of channels of several tensors that stay or go together: those of a convolution's result, of the
//! activation behind it, of the other term of a residual sum. It goes if no sum over channels can tell: wherever one
//! reads it, the channel is zero, or its weights are, or the sum's own strand goes. Only such terms are dropped as add
//! zero to a sum, so that every sum stays the same to the bit (docs/numerics.md).

mod analysis;
mod drop;
mod flow;
mod interval;
mod strands;

use ir::DType;
use ops::Graph;

use crate::Error;
use analysis::Analysis;
use interval::Interval;
use strands::Strands;

/// Whether channels without effect are dropped, and what may be taken for granted about floats that are not known
/// before the model runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ConstantChannels {
    /// Inputs of the graph, and what convolutions and matrix products read, are numbers within `±bound`.
    Within(f64),
    /// Nothing: they may be infinite or NaN.
    Exact,
    /// No channel is dropped.
    Kept,
}

impl ConstantChannels {
    /// The bound that is taken for granted unless the user says otherwise.
    pub const BOUND: f64 = 1e6;

    fn input(self, dtype: DType) -> Interval {
        match self {
            ConstantChannels::Within(bound) if dtype.is_float() => Interval::any(dtype).within(bound),
            _ => Interval::any(dtype),
        }
    }

    fn activation(self, value: Interval) -> Interval {
        match self {
            ConstantChannels::Within(bound) => value.within(bound),
            ConstantChannels::Exact | ConstantChannels::Kept => value,
        }
    }
}

impl Default for ConstantChannels {
    fn default() -> ConstantChannels {
        ConstantChannels::Within(ConstantChannels::BOUND)
    }
}

/// Channels that one node of the model no longer computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub node: String,
    /// Of all that it had.
    pub channels: usize,
    pub of: usize,
    /// How many of them are always zero; the others are never read.
    pub zero: usize,
}

/// A graph without the channels that have no effect.
#[derive(Debug, Clone)]
pub struct Eliminated {
    pub graph: Graph,
    /// The convolutions and matrix products that became narrower, in the graph's order.
    pub dropped: Vec<Dropped>,
    /// Multiply-accumulates of one inference that are no longer done.
    pub macs_saved: u64,
}

/// Drops the channels of `graph` that have no effect on its outputs; `None` if there are none. A tensor that
/// nearly has a multiple of `at_once` channels then keeps as many ([`crate::CostModel::channels_at_once`]).
pub fn eliminate(
    graph: &Graph,
    constants: ConstantChannels,
    at_once: usize,
) -> Result<Option<Eliminated>, Error> {
    if constants == ConstantChannels::Kept {
        return Ok(None);
    }
    let order = graph.order();
    let analysis = Analysis::of(graph, &order, constants);
    let strands = Strands::of(graph, &order, &analysis, constants, at_once);
    match strands.any_dropped() {
        true => drop::without(graph, &order, &analysis, &strands).map(Some),
        false => Ok(None),
    }
}
