use std::fmt;

use ir::Tensor;
use serde::Serialize;
use targets::Target;

use crate::cli::{self, On};
use crate::compare::{Comparison, Tolerance, compare};
use crate::compile::{Artifact, Options};
use crate::data::{self, Given, Side};
use crate::diagnostic::{Diagnostic, Diagnostics, Kind, code};
use crate::execute::{self, Execution};
use crate::table::{grouped, table};
use crate::terminal::{Progress, Report};
use crate::watch::Watch;
use crate::{random, records};

#[derive(Serialize)]
pub struct Verified {
    model: String,
    target: String,
    ran: &'static str,
    expected: &'static str,
    tolerance: Tolerance,
    cases: Vec<Case>,
    pass: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Diagnostic>,
}

#[derive(Serialize)]
struct Case {
    name: String,
    outputs: Vec<Comparison>,
    /// Executed by one inference, where the emulator counts them.
    instructions: Option<u64>,
    arena_used: Option<usize>,
    stack_used: Option<usize>,
}

/// `onnxc verify`: compiled code against the reference evaluator, or against expected outputs.
pub fn verify(arguments: &cli::Verify) -> Result<Verified, Diagnostics> {
    let target = arguments.rewriting.allowed(arguments.target.resolve()?);
    let place = place(arguments.on, &target)?;
    let (records, mut warnings) = records::load(&arguments.records, &target)?;
    let progress = Progress::start();
    let say = |stage| progress.say(stage);
    let options = Options {
        pins: arguments.model.pins.options(),
        rewriting: arguments.rewriting.options(),
        io_layout: arguments.io.io_layout.clone(),
        records,
        ..Options::default()
    };
    let artifact = crate::compile(&arguments.model.model, &target, &options, &mut Watch::new(&[], &say))?;
    let tolerance = Tolerance { relative: arguments.tolerance(), absolute: arguments.absolute };
    let mut cases = Vec::new();
    for trial in trials(arguments, &artifact)? {
        progress.say("run");
        let execution = place.execute(&artifact, &target, &trial.inputs)?;
        progress.say("compare");
        let expected = match trial.expected {
            Some(expected) => expected,
            None => ops::evaluate(&artifact.reference, &trial.inputs),
        };
        cases.push(case(trial.name, &artifact, &expected, &execution, tolerance));
    }
    warnings.extend(artifact.warnings);
    Ok(Verified {
        warnings,
        model: artifact.metadata.name.clone(),
        target: target.name,
        ran: place.words(),
        expected: if arguments.data.is_some() { "the given outputs" } else { "the reference evaluator" },
        tolerance,
        pass: cases.iter().flat_map(|case| &case.outputs).all(|output| output.pass),
        cases,
    })
}

/// Where compiled code runs.
#[derive(Clone, Copy)]
enum Place {
    InProcess,
    Program,
    Emulator,
}

impl Place {
    fn execute(
        self,
        artifact: &Artifact,
        target: &Target,
        inputs: &[Tensor],
    ) -> Result<Execution, Diagnostic> {
        match self {
            Place::InProcess => execute::in_process(&artifact.object, &artifact.metadata, inputs),
            Place::Program | Place::Emulator => {
                execute::as_program(&artifact.archive, &artifact.metadata, target, inputs)
            }
        }
    }

    fn words(self) -> &'static str {
        match self {
            Place::InProcess => "in this process",
            Place::Program => "on this machine",
            Place::Emulator => "in QEMU",
        }
    }
}

/// Exactly this machine: in this process. Another of its family: as a program, which may meet instructions that this
/// machine lacks without taking the compiler with it.
fn place(on: Option<On>, target: &Target) -> Result<Place, Diagnostic> {
    let native = execute::is_native(target);
    let wrong = |message: &str, hint: &str| {
        Err(Diagnostic::usage(code::CANNOT_RUN, message.replace("{}", &target.name)).with_hint(hint))
    };
    match (on, native) {
        (None | Some(On::Host), true) if execute::is_this_machine(target) => Ok(Place::InProcess),
        (None | Some(On::Host), true) => Ok(Place::Program),
        (Some(On::Host), false) => wrong("code for {} does not run on this machine", "use --on qemu"),
        (Some(On::Qemu), true) => {
            wrong("{} is this machine's own family and has no emulator", "use --on host")
        }
        (None | Some(On::Qemu), false) => match target.runner {
            Some(_) => Ok(Place::Emulator),
            None => {
                wrong("{} does not say how its programs are run here", "give it a [runner] in a .toml file")
            }
        },
    }
}

/// Inputs, and what should come of them if it is given.
struct Trial {
    name: String,
    inputs: Vec<Tensor>,
    expected: Option<Vec<Tensor>>,
}

fn trials(arguments: &cli::Verify, artifact: &Artifact) -> Result<Vec<Trial>, Diagnostic> {
    let metadata = &artifact.metadata;
    let Some(path) = &arguments.data else {
        let inputs = random::inputs(metadata.inputs.iter().map(|port| &port.ty), arguments.seed);
        return Ok(vec![Trial { name: format!("seed {}", arguments.seed), inputs, expected: None }]);
    };
    let given = |given: &Given| -> Result<(Vec<Tensor>, Vec<Tensor>), Diagnostic> {
        Ok((given.bind(&metadata.inputs, Side::Inputs)?, given.bind(&metadata.outputs, Side::Outputs)?))
    };
    let trial = |case: data::Case| {
        let (inputs, expected) = given(&case.given)?;
        Ok(Trial { name: case.name, inputs, expected: Some(expected) })
    };
    data::cases(path)?.into_iter().map(trial).collect()
}

fn case(
    name: String,
    artifact: &Artifact,
    expected: &[Tensor],
    execution: &Execution,
    tolerance: Tolerance,
) -> Case {
    let ports = &artifact.metadata.outputs;
    let pairs = ports.iter().zip(expected).zip(&execution.outputs);
    let outputs =
        pairs.map(|((port, expected), actual)| compare(&port.name, expected, actual, tolerance)).collect();
    let &Execution { instructions, arena_used, stack_used, .. } = execution;
    Case { name, outputs, instructions, arena_used, stack_used }
}

impl Report for Verified {
    fn exit_code(&self) -> u8 {
        if self.pass { 0 } else { Kind::VerificationFailed.exit_code() }
    }

    fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} for {}, run {}, against {}", self.model, self.target, self.ran, self.expected)?;
        for case in &self.cases {
            writeln!(f, "\n{}", case.name)?;
            let row = |output: &Comparison| {
                let note = match (output.pass, output.not_finite) {
                    (true, _) => String::new(),
                    (false, 0) => format!("differs, most at element {}", output.worst_element),
                    (false, n) => format!(
                        "{n} elements are NaN or infinite in one alone, the first is {}",
                        output.worst_element
                    ),
                };
                vec![
                    output.output.clone(),
                    ir::TensorType::new(output.dtype, output.shape.clone()).to_string(),
                    format!("{:.3e}", output.max_abs_error),
                    format!("{:.3e}", output.max_abs_error / output.range),
                    output.max_ulp.to_string(),
                    format!("{:.9}", output.cosine),
                    note,
                ]
            };
            let rows: Vec<Vec<String>> = case.outputs.iter().map(row).collect();
            let heading = ["output", "type", ">max abs error", ">of range", ">max ULP", ">cosine", ""];
            f.write_str(&table(&heading, &rows))?;
            if let Some(instructions) = case.instructions {
                writeln!(f, "  instructions  {}", grouped(instructions))?;
            }
            if let Some(bytes) = case.arena_used {
                writeln!(f, "  arena touched {} bytes", grouped(bytes as u128))?;
            }
            if let Some(bytes) = case.stack_used {
                writeln!(f, "  stack touched {} bytes", grouped(bytes as u128))?;
            }
        }
        let Tolerance { relative, absolute } = self.tolerance;
        writeln!(f, "\ntolerance: {relative:e} of an output's range, or {absolute:e}")?;
        writeln!(f, "{}", if self.pass { "PASS" } else { "FAIL" })
    }
}
