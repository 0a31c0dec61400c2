//! One file a theme. A rule is a name, and what it says about one node of one class; above each stands the algebra.
//!
//! Rules are directional: they tell a form that is no worse, or that opens the way to a better one.

pub mod attention;
pub mod fold;
pub mod fuse;
pub mod layout;
pub mod matmul;
pub mod merge;
pub mod pad;
pub mod part;
pub mod recognize;
pub mod reduce;
pub mod strength;
pub mod view;

use ir::{DType, Scalar, Tensor};

use crate::Rule;
use crate::rule::Term;

/// The rules that are run to saturation one group after the other: what a later group finds gives no more work to an
/// earlier one.
pub fn phases() -> Vec<Vec<Rule>> {
    let algebra = [
        view::RULES,
        part::RULES,
        strength::RULES,
        reduce::RULES,
        recognize::RULES,
        fold::RULES,
        matmul::RULES,
        pad::RULES,
        layout::RULES,
        attention::RULES,
    ];
    let merge = [view::RULES, part::RULES, merge::RULES, layout::RULES];
    vec![algebra.concat(), merge.concat(), fuse::RULES.to_vec(), fuse::PROLOGUES.to_vec()]
}

/// All rules, for tests that go through them.
pub fn all() -> Vec<Rule> {
    phases().concat()
}

/// A constant of one element.
fn scalar(dtype: DType, value: f64) -> Term {
    Term::Constant(Tensor::scalar(Scalar::from_f64(dtype, value)))
}
