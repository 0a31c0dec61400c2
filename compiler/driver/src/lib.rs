//! The pipeline in order, and the command line around it.

mod compare;
mod diagnostic;
mod example;
mod header;
mod identifier;
mod interface;
pub mod lower;
mod metadata;
mod output;
mod random;
mod tensor_file;

/// TODO
pub struct Artifact;
impl Artifact { fn files(&self) -> Vec<(String, Vec<u8>)> { vec![] } }
