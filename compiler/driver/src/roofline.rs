//! The roofline model: how long a kernel takes at least on a machine whose arithmetic and caches have measured limits.
//!
//! Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore architectures",
//! Communications of the ACM 52(4), 2009; with a roof per level of memory.

mod measured;

use serde::Serialize;

use crate::metadata;
use crate::timing::Times;
pub use measured::measure;

/// What some cores of a machine can do at most together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceilings {
    pub cores: usize,
    /// Float32 operations per second; a multiply-add is two.
    pub flops: f64,
    /// Caches, nearest first, and memory.
    pub levels: Vec<Level>,
}

/// A cache, or memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Level {
    /// `L1`, `L2`, ..., `memory`.
    pub name: String,
    /// Its size; none of memory.
    pub bytes: Option<usize>,
    /// Bytes per second that are read from it.
    pub rate: f64,
}

/// The least time of a piece of work, and what keeps it from being less.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bound {
    /// In seconds.
    pub seconds: f64,
    /// `compute`, or the name of a level.
    pub roof: String,
}

pub const COMPUTE: &str = "compute";

impl Ceilings {
    /// Of two measurements of one machine, what it did at most.
    pub fn best(mut self, other: Ceilings) -> Ceilings {
        self.flops = self.flops.max(other.flops);
        for (level, other) in self.levels.iter_mut().zip(other.levels) {
            level.rate = level.rate.max(other.rate);
        }
        self
    }

    /// The nearest level that holds `bytes`.
    fn holding(&self, bytes: usize) -> Option<&Level> {
        let holds = |level: &&Level| level.bytes.is_none_or(|size| bytes <= size);
        self.levels.iter().find(holds).or(self.levels.last())
    }

    /// Of `macs` multiply-adds on `bytes`, of which `weights` are constants. What is not constant was handed on by
    /// other kernels and lies where all that the kernel touches fits; constants come round once per inference, and lie
    /// where all that the model touches, `model` bytes, does.
    pub fn bound(&self, macs: u64, bytes: usize, weights: usize, model: usize) -> Bound {
        let compute = 2.0 * macs as f64 / self.flops;
        let (near, far) = (self.holding(bytes), self.holding(model));
        let seconds =
            |bytes: usize, level: Option<&Level>| level.map_or(0.0, |level| bytes as f64 / level.rate);
        let (data, constants) = (seconds(bytes.saturating_sub(weights), near), seconds(weights, far));
        let transfer = data + constants;
        let level = if constants > data { far } else { near };
        match level {
            Some(level) if transfer > compute => Bound { seconds: transfer, roof: level.name.clone() },
            _ => Bound { seconds: compute, roof: COMPUTE.to_owned() },
        }
    }
}

/// A kernel that was timed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timed {
    #[serde(flatten)]
    pub kernel: metadata::Kernel,
    pub times: Times,
    /// Of the sum of all kernels' medians.
    pub share: f64,
    /// At the median; none of a kernel without multiply-adds.
    pub gflops: Option<f64>,
    pub gigabytes_per_second: f64,
    /// The least time by the machine's ceilings.
    pub bound: Bound,
    /// That time over the median: 1 is as fast as the machine allows. Above 1 the kernel does with fewer
    /// multiplications than it stands for, reads a part of its operands alone, or finds them nearer than was assumed.
    pub of_roof: f64,
}

/// Holds `kernels`, in the order of their `times`, against the machine; the model touches `model` bytes in all.
pub fn timed(kernels: &[metadata::Kernel], times: &[Times], ceilings: &Ceilings, model: usize) -> Vec<Timed> {
    let all: f64 = times.iter().map(|times| times.median).sum();
    let timed = |(kernel, times): (&metadata::Kernel, &Times)| {
        // The clock may not tell anything of very short ones.
        let median = times.median.max(1e-9);
        let bound = ceilings.bound(kernel.macs, kernel.bytes, kernel.weights_bytes, model);
        Timed {
            kernel: kernel.clone(),
            times: *times,
            share: times.median / all.max(1e-9),
            gflops: (kernel.macs > 0).then(|| 2e-9 * kernel.macs as f64 / median),
            gigabytes_per_second: 1e-9 * kernel.bytes as f64 / median,
            of_roof: bound.seconds / median,
            bound,
        }
    };
    kernels.iter().zip(times).map(timed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 GFLOP/s; 1 KiB at 200 GB/s, 64 KiB at 50 GB/s, memory at 10 GB/s.
    fn ceilings() -> Ceilings {
        let level =
            |name: &str, bytes, gigabytes: f64| Level { name: name.to_owned(), bytes, rate: gigabytes * 1e9 };
        Ceilings {
            cores: 1,
            flops: 100e9,
            levels: vec![
                level("L1", Some(1 << 10), 200.0),
                level("L2", Some(1 << 16), 50.0),
                level("memory", None, 10.0),
            ],
        }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * b.abs()
    }

    #[test]
    fn the_higher_of_arithmetic_and_transfer_binds() {
        // 1000 multiply-adds are 20 ns; 1000 bytes from L1 5 ns.
        let compute = ceilings().bound(1000, 1000, 0, 1000);
        assert!(near(compute.seconds, 20e-9) && compute.roof == COMPUTE, "{compute:?}");
        // 2000 bytes lie in L2: 40 ns.
        let transfer = ceilings().bound(1000, 2000, 0, 2000);
        assert!(near(transfer.seconds, 40e-9) && transfer.roof == "L2", "{transfer:?}");
        let nothing = ceilings().bound(0, 0, 0, 0);
        assert_eq!(nothing, Bound { seconds: 0.0, roof: COMPUTE.to_owned() });
    }

    #[test]
    fn the_best_of_two_measurements_counts() {
        let mut other = ceilings();
        (other.flops, other.levels[0].rate, other.levels[2].rate) = (120e9, 100e9, 20e9);
        let Ceilings { flops, levels, .. } = ceilings().best(other);
        assert_eq!(
            (flops, levels.iter().map(|level| level.rate).collect()),
            (120e9, vec![200e9, 50e9, 20e9])
        );
    }

    #[test]
    fn constants_come_from_where_the_whole_model_lies() {
        // Half of 1000 bytes from memory at 10 GB/s, half from L1 at 200 GB/s.
        let bound = ceilings().bound(0, 1000, 500, 1 << 20);
        assert!(near(bound.seconds, 50e-9 + 2.5e-9) && bound.roof == "memory", "{bound:?}");
    }

    #[test]
    fn kernels_are_held_against_the_machine() {
        let kernel = |macs, bytes| metadata::Kernel {
            nodes: vec!["n".to_owned()],
            kernel: "conv".to_owned(),
            symbol: "net_k0_conv".to_owned(),
            macs,
            bytes,
            weights_bytes: 0,
            modelled_cycles: 0,
            recorded: false,
        };
        let times = |median| Times { runs: 9, median, p99: median, least: median };
        let timed =
            timed(&[kernel(1000, 1000), kernel(0, 500)], &[times(40e-9), times(10e-9)], &ceilings(), 1500);
        assert!(near(timed[0].gflops.unwrap(), 50.0) && near(timed[0].of_roof, 0.5), "{timed:?}");
        assert!(near(timed[0].share, 0.8) && near(timed[1].gigabytes_per_second, 50.0), "{timed:?}");
        assert_eq!((timed[1].gflops, timed[1].bound.roof.as_str()), (None, "L1"));
        assert!(near(timed[1].of_roof, 0.25));
    }
}
