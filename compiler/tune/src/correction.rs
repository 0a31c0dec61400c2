//! What the cost model gets wrong about one workload, learned from what was measured of it: boosted regression trees over
//! a schedule's features.
//!
//! The model's figure stays; trees say by which factor to correct it. Points that are near measured ones then rank as those
//! did, all others as the model has them.

use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::xgboost::{XGRegressor, XGRegressorParameters};

/// Points before anything is learned: with fewer, trees only repeat them.
const FEW: usize = 16;

/// As usual for a few hundred points of some twenty features: shallow trees, and enough of them at this rate to follow.
const TREES: usize = 60;
const DEPTH: u16 = 3;
const RATE: f64 = 0.15;

type Trees = XGRegressor<f64, f64, DenseMatrix<f64>, Vec<f64>>;

/// The correction of one workload's estimates.
#[derive(Default)]
pub(crate) struct Correction {
    features: Vec<Vec<f64>>,
    /// Logarithms of what was measured as a part of what was modelled.
    errors: Vec<f64>,
    trees: Option<Trees>,
}

impl Correction {
    /// Takes note of a schedule by its features and `error`, the logarithm of what it takes as a part of what is modelled.
    pub(crate) fn note(&mut self, features: Vec<f64>, error: f64) {
        self.features.push(features);
        self.errors.push(error);
    }

    /// Learns from everything noted so far. The same notes give the same trees.
    pub(crate) fn learn(&mut self) {
        if self.errors.len() < FEW {
            return;
        }
        let parameters = XGRegressorParameters::default()
            .with_n_estimators(TREES)
            .with_max_depth(DEPTH)
            .with_learning_rate(RATE)
            .with_base_score(self.errors.iter().sum::<f64>() / self.errors.len() as f64);
        let rows = DenseMatrix::from_2d_vec(&self.features).ok();
        // What can't be learned leaves the model as it is.
        self.trees = rows.and_then(|rows| Trees::fit(&rows, &self.errors, parameters).ok());
    }

    /// The logarithm of the factor that the estimate of a schedule with these features is to be corrected by.
    pub(crate) fn of(&self, features: Vec<f64>) -> f64 {
        let Some(trees) = &self.trees else { return 0.0 };
        let row = DenseMatrix::from_2d_vec(&vec![features]).ok();
        let corrections = row.and_then(|row| trees.predict(&row).ok());
        corrections.and_then(|all| all.first().copied()).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Schedules of odd tiles take thrice what the model says: they come last after some were measured.
    #[test]
    fn what_is_slow_again_and_again_is_expected_to_be_slow() {
        let mut correction = Correction::default();
        let slow = |tile: usize| if tile % 2 == 1 { 3f64.ln() } else { 0.0 };
        let features = |tile: usize, unroll: usize| vec![tile as f64, (tile % 2) as f64, unroll as f64];
        for tile in 1..6 {
            assert_eq!(correction.of(features(tile, 1)), 0.0, "nothing is known yet");
        }
        for (tile, unroll) in (0..24).map(|k| (1 + k % 6, k / 6)) {
            correction.note(features(tile, unroll), slow(tile));
        }
        correction.learn();
        for tile in 7..20 {
            let correction = correction.of(features(tile, 9));
            assert!((correction - slow(tile)).abs() < 0.2, "{tile}: {correction}");
        }
    }
}
