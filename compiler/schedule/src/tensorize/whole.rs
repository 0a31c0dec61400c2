//! Dot products over whole vectors: one dense column of weights after the other, in loops as plain as they can be. The
//! back end forms tail-predicated low-overhead loops of vmlava from them, the instruction's own name is never called.

use super::{BufferId, Contraction, Expr, Ids, Stmt, Unfit, load, packed, place, read_only, result};
use crate::{Argument, Arranged};
use ir::DType;
use loops::{Nest, Reg, Source, Stage, Type};
use targets::instructions::Instruction;

const ACTIVATIONS: BufferId = BufferId(0);
const WEIGHTS: BufferId = BufferId(1);
const RESULT: BufferId = BufferId(2);

pub(super) fn nest(
    name: &str,
    contraction: &Contraction,
    instruction: &Instruction,
) -> Result<Arranged, Unfit> {
    let taken = instruction.arguments[1].dtype;
    if contraction.activations.dtype != taken {
        let have = contraction.activations.dtype;
        return Err(Unfit(format!("{} takes {taken}, not {have}", instruction.name)));
    }
    let buffers = vec![
        read_only("x", contraction.activations.dtype, contraction.activations.len),
        read_only("w", contraction.weights.dtype, weights(contraction).ty().elements()),
        result(contraction),
    ];
    let arguments =
        vec![Argument::Source(Source::Operand(0)), packed(weights(contraction)), Argument::Result];
    Ok(Arranged { nest: Nest { name: name.to_string(), buffers, body: body(contraction) }, arguments })
}

/// `[column, outer reduction, k]`.
fn weights(contraction: &Contraction) -> Stage {
    let domain = [contraction.columns, contraction.outer_steps(), contraction.depth];
    let weight = contraction.weight(&Expr::Axis(0), &Expr::Axis(1), &Expr::Axis(2));
    Stage::map(contraction.weights.dtype, domain, weight)
}

fn body(contraction: &Contraction) -> Vec<Stmt> {
    let i32_scalar = Type::scalar(DType::I32);
    let zero = Expr::constant(DType::I32, 0.0);
    let mut ids = Ids::default();
    ids.over(&contraction.rows, &[], &mut |ids, rows| {
        ids.repeat(contraction.columns, 1, |ids, column| {
            let mut body = Vec::new();
            let sum = ids.declare(&mut body, i32_scalar, zero.clone());
            body.extend(ids.over(&contraction.outer, &[], &mut |ids, outer| {
                ids.repeat(contraction.depth, 1, |_, k| {
                    vec![step(contraction, sum, rows, &column, outer, &k)]
                })
            }));
            let index = place(contraction, rows, column);
            body.push(Stmt::Store { buffer: RESULT, index, value: Expr::Reg(sum), valid: 1 });
            body
        })
    })
}

fn step(contraction: &Contraction, sum: Reg, rows: &[Expr], column: &Expr, outer: &[Expr], k: &Expr) -> Stmt {
    let axes: Vec<Expr> =
        rows.iter().cloned().chain([Expr::int(0)]).chain(outer.iter().cloned()).chain([k.clone()]).collect();
    let position = outer
        .iter()
        .zip(&contraction.outer)
        .fold(column.clone(), |sum, (axis, &extent)| sum * Expr::int(extent as i64) + axis.clone());
    let weight = position * Expr::int(contraction.depth as i64) + k.clone();
    let activation = load(ACTIVATIONS, contraction.activations.at(&axes), 1, 1).cast(DType::I32);
    let product = activation * load(WEIGHTS, weight, 1, 1).cast(DType::I32);
    Stmt::Set { reg: sum, value: Expr::Reg(sum) + product }
}
