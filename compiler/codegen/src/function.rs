//! Functions of the MLIR module: their declarations, a nest's kernel, and the calls between them.

use ir::DType;
use loops::{Access, Nest};
use melior::Context;
use melior::ir::RegionLike;
use melior::ir::attribute::TypeAttribute;
use melior::ir::operation::OperationLike;
use melior::ir::r#type::{FunctionType, IntegerType};
use melior::ir::{Attribute, BlockLike, BlockRef, Type as MlirType};
use targets::Target;

use crate::builder::{attribute, operation, pointer, region};
use crate::kernel::{Kernel, Lowered};
use crate::typing::Typing;

/// Where functions are added: a module's body.
#[derive(Clone, Copy)]
pub(crate) struct Functions<'c, 'a> {
    pub context: &'c Context,
    pub body: BlockRef<'c, 'a>,
    pub target: &'a Target,
}

/// A function's signature.
pub(crate) struct Signature<'c> {
    pub name: String,
    pub arguments: Vec<MlirType<'c>>,
    /// MLIR dictionaries, one for each argument; or none at all.
    pub facts: Vec<String>,
    pub results: Vec<MlirType<'c>>,
    pub exported: bool,
}

impl<'c, 'a> Functions<'c, 'a> {
    /// Adds a function; its body goes to the block that is returned.
    pub fn declare(&self, signature: &Signature<'c>) -> BlockRef<'c, 'a> {
        let context = self.context;
        let ty = FunctionType::new(context, &signature.arguments, &signature.results);
        let string = |text: &str| Attribute::from(melior::ir::attribute::StringAttribute::new(context, text));
        let mut attributes = vec![
            ("sym_name", string(&signature.name)),
            ("function_type", TypeAttribute::new(ty.into()).into()),
        ];
        if !signature.exported {
            attributes.push(("sym_visibility", string("private")));
            attributes.push(("llvm.linkage", attribute(context, "#llvm.linkage<internal>")));
        }
        if !signature.facts.is_empty() {
            attributes.push(("arg_attrs", attribute(context, &format!("[{}]", signature.facts.join(", ")))));
        }
        let regions = vec![region(context, &signature.arguments)];
        let op = self.body.append_operation(operation(context, "func.func", &[], &[], &attributes, regions));
        let entry = op.regions().next().and_then(|region| region.first_block());
        entry.unwrap_or_else(|| unreachable!("made with a block"))
    }

    /// The integer type of indices.
    pub fn index(&self) -> DType {
        if self.target.pointer_bits == 32 { DType::I32 } else { DType::I64 }
    }

    pub fn i32(&self) -> MlirType<'c> {
        IntegerType::new(self.context, 32).into()
    }

    /// A nest as a function of its buffers.
    pub fn kernel(&self, symbol: &str, nest: &Nest) -> Lowered<()> {
        let typing = Typing::of(nest, self.index())?;
        let entry = self.declare(&kernel_signature(self.context, symbol, nest));
        let mut kernel = Kernel::new(self.context, entry, self.target, &typing);
        kernel.block(&nest.body)?;
        kernel.build.op("func.return", &[], &[], &[]);
        Ok(())
    }
}

/// Pointers that alias nothing that is written.
pub(crate) fn kernel_signature<'c>(context: &'c Context, symbol: &str, nest: &Nest) -> Signature<'c> {
    let facts = nest.buffers.iter().map(|buffer| match buffer.access {
        Access::Read => "{llvm.noalias, llvm.nocapture, llvm.readonly}".to_string(),
        Access::Write | Access::Update | Access::Scratch => "{llvm.noalias, llvm.nocapture}".to_string(),
    });
    Signature {
        name: symbol.to_string(),
        arguments: vec![pointer(context); nest.buffers.len()],
        facts: facts.collect(),
        results: vec![],
        exported: false,
    }
}
