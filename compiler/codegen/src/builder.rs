//! A thin builder over melior: one insertion point, operations by name, typed values.

use std::collections::HashMap;

use ir::{DType, Scalar};
use loops::Type;
use melior::Context;
use melior::ir::attribute::{DenseI32ArrayAttribute, IntegerAttribute, StringAttribute, TypeAttribute};
use melior::ir::operation::{OperationBuilder, OperationLike, OperationRef};
use melior::ir::r#type::IntegerType;
use melior::ir::{
    Attribute, Block, BlockLike, BlockRef, Identifier, Location, Region, RegionLike, Type as MlirType,
    Value as Ssa, ValueLike,
};

/// An SSA value and what it means: MLIR's integers are signless, ours are not.
///
/// `F16` and `BF16` are carried as their 16 bits: machines without such arithmetic are the rule.
#[derive(Clone, Copy)]
pub(crate) struct Value<'c, 'a> {
    pub ssa: Ssa<'c, 'a>,
    pub ty: Type,
}

/// Appends operations to a block of a function.
///
/// Operations are made right or it is our own bug: a failure here panics and names the operation; MLIR's verifier sees
/// the whole module before anything is lowered.
pub(crate) struct Builder<'c, 'a> {
    pub context: &'c Context,
    pub block: BlockRef<'c, 'a>,
    /// Constants live at the top of the function, each once.
    pub entry: BlockRef<'c, 'a>,
    constants: HashMap<(Scalar, usize), Ssa<'c, 'a>>,
    /// Integer constants by their SSA values.
    known: HashMap<usize, i64>,
    /// The integer type of indices: as wide as a pointer.
    pub index: DType,
}

impl<'c, 'a> Builder<'c, 'a> {
    /// A builder at the end of `entry`, a function's first block.
    pub fn new(context: &'c Context, entry: BlockRef<'c, 'a>, index: DType) -> Builder<'c, 'a> {
        Builder { context, block: entry, entry, constants: HashMap::new(), known: HashMap::new(), index }
    }

    pub fn op(
        &self,
        name: &str,
        operands: &[Ssa<'c, 'a>],
        results: &[MlirType<'c>],
        attributes: &[(&str, Attribute<'c>)],
    ) -> OperationRef<'c, 'a> {
        self.block.append_operation(operation(self.context, name, operands, results, attributes, vec![]))
    }

    /// An operation with one result.
    pub fn ssa(
        &self,
        name: &str,
        operands: &[Ssa<'c, 'a>],
        result: MlirType<'c>,
        attributes: &[(&str, Attribute<'c>)],
    ) -> Ssa<'c, 'a> {
        result_of(self.op(name, operands, &[result], attributes), 0)
    }

    /// An operation on typed values whose result has the type `ty`.
    pub fn value(&self, name: &str, operands: &[Value<'c, 'a>], ty: Type) -> Value<'c, 'a> {
        let operands: Vec<_> = operands.iter().map(|v| v.ssa).collect();
        Value { ssa: self.ssa(name, &operands, self.mlir(ty), &[]), ty }
    }

    /// A call of an LLVM intrinsic; overloads are chosen by the types.
    pub fn intrinsic(&self, name: &str, operands: &[Value<'c, 'a>], ty: Type) -> Value<'c, 'a> {
        let operands: Vec<_> =
            operands.iter().map(|v| self.carried_as(v.ssa, self.mlir(v.ty), self.native(v.ty))).collect();
        let ssa = result_of(self.call_intrinsic(name, &operands, &[self.native(ty)]), 0);
        Value { ssa: self.carried_as(ssa, self.native(ty), self.mlir(ty)), ty }
    }

    /// A call of an LLVM intrinsic on values of LLVM's own types.
    pub fn call_intrinsic(
        &self,
        name: &str,
        operands: &[Ssa<'c, 'a>],
        results: &[MlirType<'c>],
    ) -> OperationRef<'c, 'a> {
        let attributes = [
            ("intrin", self.string(name)),
            ("operandSegmentSizes", self.i32_array(&[operands.len() as i32, 0])),
            ("op_bundle_sizes", self.i32_array(&[])),
        ];
        self.op("llvm.call_intrinsic", operands, results, &attributes)
    }

    /// A conversion between floats of which one is carried as its bits.
    pub fn native_cast(&self, name: &str, value: Value<'c, 'a>, ty: Type) -> Value<'c, 'a> {
        let operand = self.carried_as(value.ssa, self.mlir(value.ty), self.native(value.ty));
        let ssa = self.ssa(name, &[operand], self.native(ty), &[]);
        Value { ssa: self.carried_as(ssa, self.native(ty), self.mlir(ty)), ty }
    }

    fn carried_as(&self, ssa: Ssa<'c, 'a>, from: MlirType<'c>, to: MlirType<'c>) -> Ssa<'c, 'a> {
        if from == to { ssa } else { self.ssa("llvm.bitcast", &[ssa], to, &[]) }
    }

    /// The type that intrinsics know `ty` by: 16-bit floats are floats to them.
    fn native(&self, ty: Type) -> MlirType<'c> {
        match ty.dtype {
            DType::F16 => vector(MlirType::float16(self.context), ty.lanes),
            DType::BF16 => vector(MlirType::bfloat16(self.context), ty.lanes),
            _ => self.mlir(ty),
        }
    }

    /// An operation with regions, each of one block that takes `arguments`.
    pub fn op_with_regions(
        &self,
        name: &str,
        operands: &[Ssa<'c, 'a>],
        results: &[MlirType<'c>],
        regions: usize,
        arguments: &[MlirType<'c>],
    ) -> (OperationRef<'c, 'a>, Vec<BlockRef<'c, 'a>>) {
        let regions = (0..regions).map(|_| region(self.context, arguments)).collect();
        let op = self.block.append_operation(operation(self.context, name, operands, results, &[], regions));
        let blocks =
            op.regions().map(|r| r.first_block().unwrap_or_else(|| unreachable!("made with a block")));
        (op, blocks.collect())
    }

    /// The MLIR type of SSA values of type `ty`.
    pub fn mlir(&self, ty: Type) -> MlirType<'c> {
        let element = match ty.dtype {
            DType::Bool => IntegerType::new(self.context, 1).into(),
            DType::F32 => MlirType::float32(self.context),
            DType::F64 => MlirType::float64(self.context),
            other => IntegerType::new(self.context, other.bits()).into(),
        };
        vector(element, ty.lanes)
    }

    pub fn pointer(&self) -> MlirType<'c> {
        pointer(self.context)
    }

    /// `scalar` in `lanes` lanes.
    pub fn constant(&mut self, scalar: Scalar, lanes: usize) -> Value<'c, 'a> {
        let ty = Type { dtype: scalar.dtype, lanes };
        let (context, entry, mlir) = (self.context, self.entry, self.mlir(ty));
        let ssa = *self.constants.entry((scalar, lanes)).or_insert_with(|| {
            let number = literal(scalar);
            let text = match (lanes, scalar.dtype) {
                // MLIR's `true` has its type in it.
                (1, DType::Bool) => number,
                (1, _) => format!("{number} : {mlir}"),
                _ => format!("dense<{number}> : {mlir}"),
            };
            let attributes = [("value", attribute(context, &text))];
            let op = operation(context, "arith.constant", &[], &[mlir], &attributes, vec![]);
            result_of(entry.insert_operation(0, op), 0)
        });
        let value = Value { ssa, ty };
        if !scalar.dtype.is_float() {
            self.note_constant(value, scalar.as_i64());
        }
        value
    }

    /// Remembers that every lane of `value` is `constant`.
    pub fn note_constant(&mut self, value: Value<'c, 'a>, constant: i64) {
        self.known.insert(value.ssa.to_raw().ptr as usize, constant);
    }

    /// What every lane of `value` is, where it is an integer constant.
    pub fn constant_value(&self, value: Value<'c, 'a>) -> Option<i64> {
        self.known.get(&(value.ssa.to_raw().ptr as usize)).copied()
    }

    pub fn integer(&mut self, ty: Type, value: i64) -> Value<'c, 'a> {
        self.constant(Scalar::from_i64(ty.dtype, value), ty.lanes)
    }

    /// An index constant.
    pub fn at(&mut self, value: i64) -> Value<'c, 'a> {
        self.integer(Type { dtype: self.index, lanes: 1 }, value)
    }

    /// A mask whose first `valid` of `lanes` lanes are on.
    pub fn mask(&self, lanes: usize, valid: usize) -> Ssa<'c, 'a> {
        let ty = self.mlir(Type { dtype: DType::Bool, lanes });
        let lanes: Vec<&str> = (0..lanes).map(|lane| if lane < valid { "true" } else { "false" }).collect();
        let value = attribute(self.context, &format!("dense<[{}]> : {ty}", lanes.join(", ")));
        self.ssa("arith.constant", &[], ty, &[("value", value)])
    }

    /// The address `offset` elements of type `element` after `base`.
    pub fn address(&self, base: Ssa<'c, 'a>, element: MlirType<'c>, offset: Ssa<'c, 'a>) -> Ssa<'c, 'a> {
        let attributes = [
            ("rawConstantIndices", self.i32_array(&[i32::MIN])),
            ("elem_type", TypeAttribute::new(element).into()),
            ("noWrapFlags", self.i32(GEP_INBOUNDS)),
        ];
        self.ssa("llvm.getelementptr", &[base, offset], self.pointer(), &attributes)
    }

    /// The address `bytes` after `base`.
    pub fn address_bytes(&self, base: Ssa<'c, 'a>, bytes: i32) -> Ssa<'c, 'a> {
        let attributes = [
            ("rawConstantIndices", self.i32_array(&[bytes])),
            ("elem_type", TypeAttribute::new(IntegerType::new(self.context, 8).into()).into()),
            ("noWrapFlags", self.i32(GEP_INBOUNDS)),
        ];
        self.ssa("llvm.getelementptr", &[base], self.pointer(), &attributes)
    }

    /// The lanes of `a` and `b`, one after the other, picked by `lanes`.
    pub fn shuffle(&self, a: Value<'c, 'a>, b: Value<'c, 'a>, lanes: &[i32]) -> Value<'c, 'a> {
        let ty = Type { dtype: a.ty.dtype, lanes: lanes.len() };
        let result = vector_of(element_of(self, a.ty), lanes.len());
        let mask = [("mask", self.i32_array(lanes))];
        Value { ssa: self.ssa("llvm.shufflevector", &[a.ssa, b.ssa], result, &mask), ty }
    }

    pub fn string(&self, text: &str) -> Attribute<'c> {
        StringAttribute::new(self.context, text).into()
    }

    pub fn i32_array(&self, values: &[i32]) -> Attribute<'c> {
        DenseI32ArrayAttribute::new(self.context, values).into()
    }

    pub fn i32(&self, value: i32) -> Attribute<'c> {
        IntegerAttribute::new(IntegerType::new(self.context, 32).into(), i64::from(value)).into()
    }

    pub fn i64(&self, value: i64) -> Attribute<'c> {
        IntegerAttribute::new(IntegerType::new(self.context, 64).into(), value).into()
    }

    pub fn symbol(&self, name: &str) -> Attribute<'c> {
        melior::ir::attribute::FlatSymbolRefAttribute::new(self.context, name).into()
    }
}

/// `inbounds`, which implies no signed wrap, as `LLVM::GEPNoWrapFlags` numbers it.
const GEP_INBOUNDS: i32 = 3;

/// An operation of its own, by name.
pub(crate) fn operation<'c>(
    context: &'c Context,
    name: &str,
    operands: &[Ssa<'c, '_>],
    results: &[MlirType<'c>],
    attributes: &[(&str, Attribute<'c>)],
    regions: Vec<Region<'c>>,
) -> melior::ir::Operation<'c> {
    let attributes: Vec<_> =
        attributes.iter().map(|(key, value)| (Identifier::new(context, key), *value)).collect();
    OperationBuilder::new(name, Location::unknown(context))
        .add_operands(operands)
        .add_results(results)
        .add_attributes(&attributes)
        .add_regions_vec(regions)
        .build()
        .unwrap_or_else(|e| panic!("codegen made an invalid `{name}`: {e}"))
}

/// A region of one block that takes `arguments`.
pub(crate) fn region<'c>(context: &'c Context, arguments: &[MlirType<'c>]) -> Region<'c> {
    let arguments: Vec<_> = arguments.iter().map(|&ty| (ty, Location::unknown(context))).collect();
    let region = Region::new();
    region.append_block(Block::new(&arguments));
    region
}

/// An attribute from its text.
pub(crate) fn attribute<'c>(context: &'c Context, text: &str) -> Attribute<'c> {
    Attribute::parse(context, text).unwrap_or_else(|| panic!("codegen wrote an invalid attribute: {text}"))
}

pub(crate) fn pointer(context: &Context) -> MlirType<'_> {
    melior::dialect::llvm::r#type::pointer(context, 0)
}

pub(crate) fn result_of<'c, 'a>(op: OperationRef<'c, 'a>, index: usize) -> Ssa<'c, 'a> {
    op.result(index).unwrap_or_else(|e| panic!("codegen: {e}")).into()
}

pub(crate) fn argument<'c, 'a>(block: BlockRef<'c, 'a>, index: usize) -> Ssa<'c, 'a> {
    block.argument(index).unwrap_or_else(|e| panic!("codegen: {e}")).into()
}

fn vector(element: MlirType<'_>, lanes: usize) -> MlirType<'_> {
    if lanes == 1 { element } else { vector_of(element, lanes) }
}

fn vector_of(element: MlirType<'_>, lanes: usize) -> MlirType<'_> {
    MlirType::vector(&[lanes as u64], element)
}

fn element_of<'c>(builder: &Builder<'c, '_>, ty: Type) -> MlirType<'c> {
    builder.mlir(Type { lanes: 1, ..ty })
}

/// How MLIR writes `scalar`; floats by their bits, so that nothing is rounded.
fn literal(scalar: Scalar) -> String {
    match scalar.dtype {
        DType::Bool => (scalar.bits != 0).to_string(),
        DType::F32 => format!("0x{:08X}", scalar.bits),
        DType::F64 => format!("0x{:016X}", scalar.bits),
        DType::F16 | DType::BF16 => scalar.bits.to_string(),
        _ => scalar.as_i64().to_string(),
    }
}
