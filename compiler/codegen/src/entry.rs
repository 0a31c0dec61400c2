//! `<name>_run`: one call for each step of the model, with every buffer's address computed from the four bases; and
//! single steps as functions of their own.

use loops::Nest;
use melior::ir::attribute::TypeAttribute;
use melior::ir::{BlockLike, BlockRef, Type as MlirType, Value as Ssa};

use crate::builder::{Builder, argument, attribute, operation, pointer, region};
use crate::function::{Functions, Signature, kernel_signature};
use crate::parallel::{is_parallel, threads_signature};
use crate::{Module, Place};

/// The weights' symbol.
pub(crate) fn weights_symbol(module: &Module) -> String {
    format!("{}_weights", module.name)
}

/// What goes into the object: the module's weights, unless no call reads any.
pub(crate) fn weights<'m>(module: &'m Module) -> &'m [u8] {
    let read = |place: &Place| matches!(place, Place::Weights { .. });
    if module.calls.iter().any(|call| call.arguments.iter().any(read)) { &module.weights } else { &[] }
}

/// A kernel's symbol.
pub(crate) fn kernel_symbol(module: &Module, kernel: usize) -> String {
    format!("{}_{}", module.name, module.kernels[kernel].name)
}

/// The symbol of what stands in for a kernel where there are no matrix registers.
fn without_matrices(symbol: &str) -> String {
    format!("{symbol}_without_matrices")
}

/// The module's kernels in order, each with its symbol, behind it what stands in for it.
pub(crate) fn kernels<'m>(module: &'m Module) -> Vec<(String, &'m Nest)> {
    let both = |(k, nest)| {
        let symbol = kernel_symbol(module, k);
        let without = module.without_matrices.get(&k).map(|nest| (without_matrices(&symbol), nest));
        [(symbol, nest)].into_iter().chain(without)
    };
    module.kernels.iter().enumerate().flat_map(both).collect()
}

impl<'c, 'a> Functions<'c, 'a> {
    /// The weights as zeros of the right size and section; their bytes are written into the object file.
    pub fn weights(&self, module: &Module) {
        if weights(module).is_empty() {
            return;
        }
        let context = self.context;
        let ty = MlirType::parse(context, &format!("!llvm.array<{} x i8>", module.weights.len()))
            .unwrap_or_else(|| unreachable!("an array type"));
        let text = |text: String| melior::ir::attribute::StringAttribute::new(context, &text).into();
        let attributes = [
            ("global_type", TypeAttribute::new(ty).into()),
            ("sym_name", text(weights_symbol(module))),
            ("linkage", attribute(context, "#llvm.linkage<internal>")),
            ("constant", attribute(context, "unit")),
            ("alignment", attribute(context, &format!("{} : i64", crate::ALIGN))),
            ("section", text(format!(".rodata.{}", weights_symbol(module)))),
            ("addr_space", attribute(context, "0 : i32")),
        ];
        let initializer = region(context, &[]);
        {
            use melior::ir::RegionLike;
            let block = initializer.first_block().unwrap_or_else(|| unreachable!("made with a block"));
            let zero = block.append_operation(operation(context, "llvm.mlir.zero", &[], &[ty], &[], vec![]));
            let value = crate::builder::result_of(zero, 0);
            block.append_operation(operation(context, "llvm.return", &[value], &[], &[], vec![]));
        }
        self.body.append_operation(operation(
            context,
            "llvm.mlir.global",
            &[],
            &[],
            &attributes,
            vec![initializer],
        ));
    }

    /// What entries call.
    pub fn declare_kernels(&self, module: &Module) {
        for (symbol, nest) in kernels(module) {
            self.declare(&kernel_signature(self.context, &symbol, nest));
            if is_parallel(nest) {
                self.declare(&threads_signature(self.context, &symbol, nest));
            }
        }
    }

    /// `int32_t <name>_run(const void *const *in, void *const *out, void *arena)`; `<name>_step<k>` makes the k-th call
    /// alone. With `threads` their names end in `_threads`, and they take the hook, too.
    pub fn entry(&self, module: &Module, entry: Entry, threads: bool) {
        let pointer = pointer(self.context);
        let (suffix, calls) = match entry {
            Entry::Run => ("run".to_string(), &module.calls[..]),
            Entry::Step(call) => (format!("step{call}"), &module.calls[call..=call]),
        };
        let (suffix, pointers) = if threads { (suffix + "_threads", 4) } else { (suffix, 3) };
        let entry = self.define(&Signature {
            name: format!("{}_{suffix}", module.name),
            arguments: vec![pointer; pointers],
            facts: vec![],
            results: vec![self.i32()],
            local: false,
        });
        let mut bases = Bases::new(self, entry, module);
        let asks = calls.iter().any(|call| module.without_matrices.contains_key(&call.kernel));
        let given = asks.then(|| bases.build.ask_for_matrices());
        for call in calls {
            let symbol = kernel_symbol(module, call.kernel);
            let arguments: Vec<_> = call.arguments.iter().map(|place| bases.address(*place)).collect();
            let threads = threads.then(|| argument(entry, 3));
            let nest = &module.kernels[call.kernel];
            match (given, module.without_matrices.get(&call.kernel)) {
                (Some(given), Some(without)) => {
                    let (_, sides) = bases.build.op_with_regions("scf.if", &[given], &[], 2, &[]);
                    let before = bases.build.block;
                    let names = [symbol.clone(), without_matrices(&symbol)];
                    for ((side, name), nest) in sides.into_iter().zip(names).zip([nest, without]) {
                        bases.build.block = side;
                        bases.build.call_kernel(&name, nest, arguments.clone(), threads);
                        bases.build.op("scf.yield", &[], &[], &[]);
                    }
                    bases.build.block = before;
                }
                _ => bases.build.call_kernel(&symbol, nest, arguments, threads),
            }
        }
        let zero = bases.build.integer(loops::Type { dtype: ir::DType::I32, lanes: 1 }, 0);
        bases.build.op("func.return", &[zero.ssa], &[], &[]);
    }
}

impl<'c, 'a> Builder<'c, 'a> {
    /// A kernel on this thread, or its parallel loops through the hook.
    fn call_kernel(
        &self,
        symbol: &str,
        nest: &Nest,
        mut arguments: Vec<Ssa<'c, 'a>>,
        threads: Option<Ssa<'c, 'a>>,
    ) {
        let mut symbol = symbol.to_string();
        if let Some(threads) = threads.filter(|_| is_parallel(nest)) {
            symbol += "_threads";
            arguments.push(threads);
        }
        let callee = [("callee", self.symbol(&symbol))];
        self.op("func.call", &arguments, &[], &callee);
    }
}

/// What a function makes: all calls, or one.
#[derive(Clone, Copy)]
pub(crate) enum Entry {
    Run,
    Step(usize),
}

/// The pointers that every address starts from, loaded once.
pub(crate) struct Bases<'c, 'a> {
    pub build: Builder<'c, 'a>,
    inputs: Vec<Ssa<'c, 'a>>,
    outputs: Vec<Ssa<'c, 'a>>,
    arena: Ssa<'c, 'a>,
    weights: Option<Ssa<'c, 'a>>,
}

impl<'c, 'a> Bases<'c, 'a> {
    /// `entry` takes the two structs and the arena as its first arguments.
    pub fn new(functions: &Functions<'c, 'a>, entry: BlockRef<'c, 'a>, module: &Module) -> Bases<'c, 'a> {
        let build = Builder::new(functions.context, entry, functions.index());
        let members = |of: usize, count: usize| -> Vec<_> {
            let member = |k: usize| {
                let at = build.address_bytes(argument(entry, of), functions.pointer_offset(k));
                build.ssa("llvm.load", &[at], build.pointer(), &[])
            };
            (0..count).map(member).collect()
        };
        let (inputs, outputs) = (members(0, module.inputs), members(1, module.outputs));
        let weights = (!weights(module).is_empty()).then(|| {
            let name = [("global_name", build.symbol(&weights_symbol(module)))];
            build.ssa("llvm.mlir.addressof", &[], build.pointer(), &name)
        });
        Bases { arena: argument(entry, 2), build, inputs, outputs, weights }
    }

    /// `place` as an address; the module was checked to have what it names.
    pub fn address(&mut self, place: Place) -> Ssa<'c, 'a> {
        let (base, offset) = match place {
            Place::Input { index, offset } => (self.inputs[index], offset),
            Place::Output { index, offset } => (self.outputs[index], offset),
            Place::Arena { offset } => (self.arena, offset),
            // Without weights only an empty buffer can lie there: any address will do.
            Place::Weights { offset } => (self.weights.unwrap_or(self.arena), offset),
        };
        if offset == 0 {
            return base;
        }
        let offset = self.build.at(offset as i64);
        let byte = melior::ir::r#type::IntegerType::new(self.build.context, 8).into();
        self.build.address(base, byte, offset.ssa)
    }
}
