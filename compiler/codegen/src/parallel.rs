//! Parallel loops: outlined into a function over a range of iterations, called directly or through the hook of
//! `runtime/include/onnxc_threads.h`.
//!
//! A nest with parallel loops becomes
//! - `<nest>_part<k>(buffers, first, last)`: iterations `first..last` of its k-th parallel loop,
//! - `<nest>(buffers)`: everything, on the caller's thread,
//! - `<nest>_body<k>(context, first, last)`: a part as the hook calls it; the context is the list of buffers,
//! - `<nest>_threads(buffers, threads)`: everything, the parallel loops through the hook.

use ir::DType;
use loops::{Expr, LoopVar, Nest, Stmt, Type};
use melior::Context;
use melior::ir::attribute::TypeAttribute;
use melior::ir::operation::OperationLike;
use melior::ir::{BlockLike, RegionLike, Type as MlirType, Value as Ssa};

use crate::builder::{Builder, Value, argument, attribute, operation, pointer, region};
use crate::function::{Functions, Signature, kernel_signature};
use crate::kernel::{Kernel, Lowered};
use crate::typing::Typing;

/// A parallel loop of a nest.
struct Loop<'n> {
    var: LoopVar,
    from: &'n Expr,
    to: &'n Expr,
    step: i64,
    body: &'n [Stmt],
}

fn parallel_loop(stmt: &Stmt) -> Option<Loop<'_>> {
    match stmt {
        Stmt::For { var, from, to, step, parallel: true, body } => {
            Some(Loop { var: *var, from, to, step: *step, body })
        }
        _ => None,
    }
}

/// Whether some outermost loop of `nest` is parallel. Parallel loops further in run serially.
pub(crate) fn is_parallel(nest: &Nest) -> bool {
    nest.body.iter().any(|stmt| parallel_loop(stmt).is_some())
}

/// How a function reaches the parts of its parallel loops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    Call,
    Hook,
}

/// Of `<nest>_threads`.
pub(crate) fn threads_signature<'c>(context: &'c Context, symbol: &str, nest: &Nest) -> Signature<'c> {
    let mut signature = kernel_signature(context, &format!("{symbol}_threads"), nest);
    signature.arguments.push(pointer(context));
    signature.facts.push("{}".to_string());
    signature
}

impl<'c, 'a> Functions<'c, 'a> {
    pub fn parallel_kernel(&self, symbol: &str, nest: &Nest) -> Lowered<()> {
        let typing = Typing::of(nest, self.index())?;
        for (k, parallel) in nest.body.iter().filter_map(parallel_loop).enumerate() {
            self.part(&format!("{symbol}_part{k}"), &parallel, &typing)?;
            self.hook_body(symbol, k, nest.buffers.len());
        }
        self.whole(symbol, &typing, Through::Call)?;
        self.whole(symbol, &typing, Through::Hook)
    }

    /// Iterations `first..last` of one loop.
    fn part(&self, name: &str, parallel: &Loop, typing: &Typing) -> Lowered<()> {
        let mut signature = kernel_signature(self.context, name, typing.nest);
        signature.arguments.extend([self.i32(); 2]);
        signature.facts.extend(["{}".to_string(), "{}".to_string()]);
        signature.local = true;
        let entry = self.define(&signature);
        let buffers = typing.nest.buffers.len();
        let mut kernel = Kernel::new(self.context, entry, self.target, typing);
        let from = kernel.index(parallel.from)?;
        let step = kernel.build.at(parallel.step);
        let range = [0, 1].map(|k| {
            let iteration = Value { ssa: argument(entry, buffers + k), ty: I32 };
            let iteration = match kernel.build.index {
                DType::I32 => iteration,
                index => kernel.build.value("arith.extsi", &[iteration], Type { dtype: index, lanes: 1 }),
            };
            let offset = kernel.build.value("arith.muli", &[iteration, step], step.ty);
            kernel.build.value("arith.addi", &[from, offset], step.ty)
        });
        kernel.for_loop(parallel.var, range, parallel.step, parallel.body)?;
        kernel.build.op("func.return", &[], &[], &[]);
        Ok(())
    }

    /// All of a nest's statements.
    fn whole(&self, symbol: &str, typing: &Typing, through: Through) -> Lowered<()> {
        let signature = match through {
            Through::Call => kernel_signature(self.context, symbol, typing.nest),
            Through::Hook => threads_signature(self.context, symbol, typing.nest),
        };
        let entry = self.define(&signature);
        let mut kernel = Kernel::new(self.context, entry, self.target, typing);
        let buffers = kernel.buffers.clone();
        let context = (through == Through::Hook).then(|| self.store_buffers(&mut kernel.build, &buffers));
        let mut number = 0;
        for stmt in &typing.nest.body {
            let Some(parallel) = parallel_loop(stmt) else {
                kernel.block(std::slice::from_ref(stmt))?;
                continue;
            };
            let count = iterations(&mut kernel, &parallel)?;
            match context {
                None => {
                    let zero = kernel.build.integer(I32, 0);
                    let mut arguments = buffers.clone();
                    arguments.extend([zero.ssa, count.ssa]);
                    let callee = [("callee", kernel.build.symbol(&format!("{symbol}_part{number}")))];
                    kernel.build.op("func.call", &arguments, &[], &callee);
                }
                Some(context) => {
                    let threads = argument(entry, buffers.len());
                    self.call_hook(&kernel.build, threads, &format!("{symbol}_body{number}"), context, count);
                }
            }
            number += 1;
        }
        kernel.build.op("func.return", &[], &[], &[]);
        Ok(())
    }

    /// The list of buffers, on the stack.
    fn store_buffers(&self, build: &mut Builder<'c, 'a>, buffers: &[Ssa<'c, 'a>]) -> Ssa<'c, 'a> {
        let count = build.integer(I32, buffers.len().max(1) as i64);
        let element = [("elem_type", TypeAttribute::new(build.pointer()).into())];
        let list = build.ssa("llvm.alloca", &[count.ssa], build.pointer(), &element);
        for (k, buffer) in buffers.iter().enumerate() {
            let at = build.address_bytes(list, self.pointer_offset(k));
            build.op("llvm.store", &[*buffer, at], &[], &[]);
        }
        list
    }

    /// `threads->parallel_for(threads->pool, body, context, count)`.
    fn call_hook(
        &self,
        build: &Builder<'c, 'a>,
        threads: Ssa<'c, 'a>,
        body: &str,
        context: Ssa<'c, 'a>,
        count: Value<'c, 'a>,
    ) {
        let [hook, pool] = [0, 1].map(|k| {
            let at = build.address_bytes(threads, self.pointer_offset(k));
            build.ssa("llvm.load", &[at], build.pointer(), &[])
        });
        let name = [("global_name", build.symbol(body))];
        let body = build.ssa("llvm.mlir.addressof", &[], build.pointer(), &name);
        let operands = [hook, pool, body, context, count.ssa];
        let attributes = [
            ("operandSegmentSizes", build.i32_array(&[operands.len() as i32, 0])),
            ("op_bundle_sizes", build.i32_array(&[])),
        ];
        build.op("llvm.call", &operands, &[], &attributes);
    }

    /// `<symbol>_body<k>`: unpacks the buffers and calls the part.
    fn hook_body(&self, symbol: &str, number: usize, buffers: usize) {
        let context = self.context;
        let ty = MlirType::parse(context, "!llvm.func<void (ptr, i32, i32)>")
            .unwrap_or_else(|| unreachable!("a function type"));
        let name = melior::ir::attribute::StringAttribute::new(context, &format!("{symbol}_body{number}"));
        let attributes = [
            ("sym_name", name.into()),
            ("function_type", TypeAttribute::new(ty).into()),
            ("linkage", attribute(context, "#llvm.linkage<internal>")),
        ];
        let regions = vec![region(context, &[pointer(context), self.i32(), self.i32()])];
        let op = self.body.append_operation(operation(context, "llvm.func", &[], &[], &attributes, regions));
        let entry = op.regions().next().and_then(|region| region.first_block());
        let entry = entry.unwrap_or_else(|| unreachable!("made with a block"));
        let build = Builder::new(context, entry, self.index());
        let load = |k: usize| {
            let at = build.address_bytes(argument(entry, 0), self.pointer_offset(k));
            build.ssa("llvm.load", &[at], build.pointer(), &[])
        };
        let mut arguments: Vec<_> = (0..buffers).map(load).collect();
        arguments.extend([argument(entry, 1), argument(entry, 2)]);
        let callee = [("callee", build.symbol(&format!("{symbol}_part{number}")))];
        build.op("func.call", &arguments, &[], &callee);
        build.op("llvm.return", &[], &[], &[]);
    }

    /// Bytes before the k-th pointer of a list.
    pub fn pointer_offset(&self, k: usize) -> i32 {
        k as i32 * (self.target.pointer_bits / 8) as i32
    }
}

const I32: Type = Type { dtype: DType::I32, lanes: 1 };

/// How often a loop runs: `ceil((to - from) / step)`, not below 0, as `int32_t`.
fn iterations<'c, 'a>(kernel: &mut Kernel<'_, 'c, 'a>, parallel: &Loop) -> Lowered<Value<'c, 'a>> {
    let (from, to) = (kernel.index(parallel.from)?, kernel.index(parallel.to)?);
    let ty = from.ty;
    let (step, round) = (kernel.build.at(parallel.step), kernel.build.at(parallel.step - 1));
    let distance = kernel.build.value("arith.subi", &[to, from], ty);
    let rounded = kernel.build.value("arith.addi", &[distance, round], ty);
    let count = kernel.build.value("arith.divsi", &[rounded, step], ty);
    let zero = kernel.build.at(0);
    let count = kernel.binary(loops::Binary::Max, count, zero)?;
    match ty {
        I32 => Ok(count),
        _ => Ok(kernel.build.value("arith.trunci", &[count], I32)),
    }
}
