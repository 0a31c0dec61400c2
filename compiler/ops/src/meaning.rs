use ir::TensorType;
use loops::{Compare, Definition, Expr, Source, Stage};

/// What an operator means, in one of a handful of forms.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// New elements, defined stage by stage.
    Compute(Definition),
    /// Each result is operand 0 seen through other indices: per result one index per operand axis, over the result's
    /// axes. Costs nothing where the indices are strides.
    View(Vec<Vec<Expr>>),
    /// Operand 0's elements in row-major order, in another shape. Costs nothing.
    Reshape,
    /// The operands one after the other along `axis`.
    Concat { axis: usize },
}

impl Meaning {
    /// A map over operands that broadcast to `shape` the ONNX (NumPy) way: `body` gets one read per operand.
    pub fn map(inputs: &[TensorType], result: &TensorType, body: impl FnOnce(&[Expr]) -> Expr) -> Meaning {
        let reads: Vec<Expr> = inputs
            .iter()
            .enumerate()
            .map(|(k, ty)| Expr::read(Source::Operand(k), broadcast_index(&ty.shape, result.rank())))
            .collect();
        Meaning::Compute(Definition::single(Stage::map(result.dtype, result.shape.clone(), body(&reads))))
    }

    /// The same as a definition, whatever the form.
    ///
    /// A reshape becomes index arithmetic: fine to evaluate, slow to run; code generation treats it as an alias.
    pub fn definition(self, inputs: &[TensorType], results: &[TensorType]) -> Definition {
        match self {
            Meaning::Compute(definition) => definition,
            Meaning::View(views) => {
                let read = |index: Vec<Expr>| Expr::read(Source::Operand(0), index);
                let stage = |(ty, index): (&TensorType, Vec<Expr>)| {
                    Stage::map(ty.dtype, ty.shape.clone(), read(index))
                };
                let stages: Vec<Stage> = results.iter().zip(views).map(stage).collect();
                Definition { results: (0..stages.len()).collect(), stages, tables: vec![] }
            }
            Meaning::Reshape => {
                let linear = linear_index(&results[0]);
                let read = Expr::read(Source::Operand(0), split_index(linear, &inputs[0]));
                Definition::single(Stage::map(results[0].dtype, results[0].shape.clone(), read))
            }
            Meaning::Concat { axis } => Definition::single(concat(inputs, &results[0], axis)),
        }
    }
}

/// The index that reads an operand of `shape` at a point of a broadcast result of `rank` axes.
pub(crate) fn broadcast_index(shape: &[usize], rank: usize) -> Vec<Expr> {
    let skipped = rank - shape.len();
    let index = |(axis, &extent)| if extent == 1 { Expr::int(0) } else { Expr::Axis(skipped + axis) };
    shape.iter().enumerate().map(index).collect()
}

fn linear_index(ty: &TensorType) -> Expr {
    let terms = ty
        .strides()
        .into_iter()
        .enumerate()
        .map(|(axis, stride)| Expr::Axis(axis) * Expr::int(stride as i64));
    terms.reduce(|a, b| a + b).unwrap_or(Expr::int(0))
}

fn split_index(linear: Expr, ty: &TensorType) -> Vec<Expr> {
    let strides = ty.strides();
    let index = |axis: usize| {
        let quotient = linear.clone() / Expr::int(strides[axis].max(1) as i64);
        Expr::binary(loops::Binary::Rem, quotient, Expr::int(ty.shape[axis].max(1) as i64))
    };
    (0..ty.rank()).map(index).collect()
}

fn concat(inputs: &[TensorType], result: &TensorType, axis: usize) -> Stage {
    let read = |operand: usize, start: usize| {
        let index = (0..result.rank()).map(|a| match a == axis {
            true => Expr::Axis(a) - Expr::int(start as i64),
            false => Expr::Axis(a),
        });
        Expr::read(Source::Operand(operand), index.collect::<Vec<_>>())
    };
    // Built from the last operand backwards: if axis < end of operand k, read k, else the rest.
    let mut body: Option<Expr> = None;
    let mut end = result.shape[axis];
    for (operand, ty) in inputs.iter().enumerate().rev() {
        let this = read(operand, end - ty.shape[axis]);
        body = Some(match body {
            None => this,
            Some(rest) => {
                Expr::select(Expr::compare(Compare::Lt, Expr::Axis(axis), Expr::int(end as i64)), this, rest)
            }
        });
        end -= ty.shape[axis];
    }
    Stage::map(result.dtype, result.shape.clone(), body.unwrap_or(Expr::constant(result.dtype, 0.0)))
}
