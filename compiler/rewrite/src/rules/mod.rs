//! One file a theme. A rule is a name, and what it says about one node of one class; above each stands the algebra.
//!
//! Rules are directional: they tell a form that is no worse, or that opens the way to a better one.

pub mod fold;
pub mod fuse;
pub mod layout;
pub mod pad;
pub mod part;
pub mod view;

use crate::Rule;

/// The rules that are run to saturation one group after the other: what a later group finds gives no more work to an
/// earlier one.
pub fn phases() -> Vec<Vec<Rule>> {
    vec![[view::RULES, part::RULES, fold::RULES, pad::RULES, layout::RULES].concat(), fuse::RULES.to_vec()]
}

/// All rules, for tests that go through them.
pub fn all() -> Vec<Rule> {
    phases().concat()
}
