//! Functions of the MLIR module: their declarations, a nest's kernel, and the calls between them.

use ir::DType;
use loops::{Access, Nest};
use melior::Context;
use melior::ir::attribute::{StringAttribute, TypeAttribute};
use melior::ir::operation::OperationLike;
use melior::ir::r#type::{FunctionType, IntegerType};
use melior::ir::{Attribute, BlockLike, BlockRef, Region, RegionLike, Type as MlirType};
use targets::Target;

use crate::CodegenError;
use crate::builder::{attribute, operation, pointer, region};
use crate::kernel::{Kernel, Lowered};
use crate::parallel::is_parallel;
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
    /// Called from its own module alone.
    pub local: bool,
}

impl<'c, 'a> Functions<'c, 'a> {
    /// Adds a function; its body goes to the block that is returned.
    pub fn define(&self, signature: &Signature<'c>) -> BlockRef<'c, 'a> {
        let context = self.context;
        let mut attributes = self.attributes(signature);
        if signature.local {
            attributes.push(("sym_visibility", string(context, "private")));
            attributes.push(("llvm.linkage", attribute(context, "#llvm.linkage<internal>")));
        }
        let regions = vec![region(context, &signature.arguments)];
        let op = self.body.append_operation(operation(context, "func.func", &[], &[], &attributes, regions));
        let entry = op.regions().next().and_then(|region| region.first_block());
        entry.unwrap_or_else(|| unreachable!("made with a block"))
    }

    /// Adds a function that another module defines.
    pub fn declare(&self, signature: &Signature<'c>) {
        let mut attributes = self.attributes(signature);
        attributes.push(("sym_visibility", string(self.context, "private")));
        let regions = vec![Region::new()];
        self.body.append_operation(operation(self.context, "func.func", &[], &[], &attributes, regions));
    }

    fn attributes(&self, signature: &Signature<'c>) -> Vec<(&'static str, Attribute<'c>)> {
        let context = self.context;
        let ty = FunctionType::new(context, &signature.arguments, &signature.results);
        let mut attributes = vec![
            ("sym_name", string(context, &signature.name)),
            ("function_type", TypeAttribute::new(ty.into()).into()),
        ];
        if !signature.facts.is_empty() {
            attributes.push(("arg_attrs", attribute(context, &format!("[{}]", signature.facts.join(", ")))));
        }
        attributes
    }

    /// The integer type of indices.
    pub fn index(&self) -> DType {
        if self.target.pointer_bits == 32 { DType::I32 } else { DType::I64 }
    }

    pub fn i32(&self) -> MlirType<'c> {
        IntegerType::new(self.context, 32).into()
    }

    /// A nest as a function of its buffers, and what its parallel loops need.
    pub fn nest(&self, symbol: &str, nest: &Nest) -> Result<(), CodegenError> {
        match is_parallel(nest) {
            true => self.parallel_kernel(symbol, nest),
            false => self.kernel(symbol, nest),
        }
        .map_err(|message| CodegenError::Kernel { kernel: nest.name.clone(), message })
    }

    fn kernel(&self, symbol: &str, nest: &Nest) -> Lowered<()> {
        let typing = Typing::of(nest, self.index())?;
        let entry = self.define(&kernel_signature(self.context, symbol, nest));
        let mut kernel = Kernel::new(self.context, entry, self.target, &typing);
        kernel.block(&nest.body)?;
        kernel.build.op("func.return", &[], &[], &[]);
        Ok(())
    }
}

fn string<'c>(context: &'c Context, text: &str) -> Attribute<'c> {
    StringAttribute::new(context, text).into()
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
        local: false,
    }
}
