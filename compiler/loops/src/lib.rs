//! One kernel at a time, in two forms over one expression language.
//!
//! A [`Definition`] is pure: domains, reductions and expressions that say *what* each element is. A [`Nest`] is
//! explicit: loops, registers, loads and stores that say *how*. [`evaluate`] runs a definition (it is the reference
//! evaluator of the whole compiler), [`interpret`] runs a nest; a schedule is right when both agree.
//!
//! This room knows no operator names and no targets.

pub mod affine;
mod definition;
mod evaluate;
mod expr;
mod interpret;
mod nest;
mod parse;
mod print;
mod value;
mod verify;

pub use definition::{Definition, Fold, Source, Stage};
pub use evaluate::evaluate;
pub use expr::{Binary, Compare, Expr, Unary};
pub use interpret::{InterpretError, interpret, interpret_expr};
pub use nest::{Access, Buffer, BufferId, LoopVar, Nest, Reg, Stmt, Type};
pub use parse::{ParseError, parse};
pub use value::Value;
pub use verify::{Instructions, NestError, verify};
