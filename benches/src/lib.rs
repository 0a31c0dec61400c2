//! Timings: nothing here is a test.
//!
//! - `cargo bench -p benches`: how long the compiler takes for one layer, and how long the layer takes here.
//! - `benches/peers/compare.py`: whole models against ONNX Runtime, interleaved on one core.
//! - `benches/rewriting/compare.py`: whole models with rewriting off, first match and saturation (docs/benchmarks.md).
