//! Damaged models through the whole compiler: compiled or refused with a reason, never a panic or an internal error.
//!
//! The models are those of ONNX's own tests, with bytes changed, dropped and moved.

use std::time::{Duration, Instant};

use onnx::import_bytes;
use onnxc::{Kind, Model, Options, Watch};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use targets::Target;
use tests::onnx_cases::{Case, cases};

/// As the command gives itself: deep expressions are walked by recursion.
const STACK_BYTES: usize = 256 << 20;
/// How many damaged models are tried.
const MODELS: usize = 8000;
/// No damage makes a model of a few kilobytes take longer.
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
enum Damage {
    Byte(Index, u8),
    /// Another bit: small changes of numbers and tags.
    Bit(Index, u8),
    Truncated(Index),
    Dropped(Index, usize),
    Repeated(Index, usize),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    prop_oneof![
        4 => (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        8 => (index(), 0u8..8).prop_map(|(at, bit)| Damage::Bit(at, bit)),
        1 => index().prop_map(Damage::Truncated),
        1 => (index(), 1usize..16).prop_map(|(at, length)| Damage::Dropped(at, length)),
        1 => (index(), 1usize..16).prop_map(|(at, length)| Damage::Repeated(at, length)),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match damage {
            Damage::Byte(at, byte) => bytes[at.index(length)] = *byte,
            Damage::Bit(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Damage::Truncated(at) => bytes.truncate(at.index(length)),
            Damage::Dropped(at, n) => drop(bytes.drain(at.index(length)..(at.index(length) + n).min(length))),
            Damage::Repeated(at, n) => {
                let at = at.index(length);
                let again = bytes[at..(at + n).min(length)].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

/// Whether the model was compiled.
fn compiles(bytes: &[u8], target: &Target) -> Result<bool, String> {
    let Ok(imported) = import_bytes(bytes, None, &onnx::Options::default()) else { return Ok(false) };
    let model = Model { sha256: String::new() };
    let options = Options::default();
    match onnxc::compile_graph(imported.graph, model, "model", target, &options, &mut Watch::default()) {
        Ok(_) => Ok(true),
        Err(refused) if refused.0.iter().all(|one| one.kind != Kind::Internal) => Ok(false),
        Err(broken) => Err(broken.to_string()),
    }
}

#[test]
fn damaged_models_are_compiled_or_refused() {
    let Some(cases) = cases() else {
        return eprintln!("skipped: needs the Python package `onnx` or ONNX_NODE_TESTS");
    };
    let targets = Target::list().unwrap();
    let sound = |bytes: &Vec<u8>| import_bytes(bytes, None, &onnx::Options::default()).is_ok();
    let read = |case: Case| Some((case.name.clone(), case.model().ok()?));
    let models: Vec<(String, Vec<u8>)> =
        cases.into_iter().filter_map(read).filter(|(_, bytes)| sound(bytes)).collect();
    let mut runner = TestRunner::deterministic();
    let trial = (any::<Index>(), proptest::collection::vec(any_damage(), 1..3));
    let mut compiled = 0;
    for number in 0..MODELS {
        let (case, damages) = trial.new_tree(&mut runner).unwrap().current();
        let (name, model) = case.get(&models);
        let target = &targets[number % targets.len()];
        let bytes = damaged(model.clone(), &damages);
        let start = Instant::now();
        let result = std::thread::scope(|scope| {
            let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
            let thread = builder.spawn_scoped(scope, || compiles(&bytes, target)).unwrap();
            thread.join().unwrap_or_else(|_| Err("panicked".to_owned()))
        });
        match result {
            Ok(done) => compiled += usize::from(done),
            Err(why) => panic!("{number}: {name} with {damages:?} for {}: {why}", target.name),
        }
        assert!(start.elapsed() < LONGEST, "{number}: {name} with {damages:?} takes {:?}", start.elapsed());
    }
    println!("{compiled} of {MODELS} damaged models still compile");
    // Were nearly all refused at once, nothing would have been tested.
    assert!(compiled * 20 > MODELS, "only {compiled} of {MODELS} compile");
}
