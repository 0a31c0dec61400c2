//! In which order LLVM puts a block's instructions before it gives them registers: [`InstructionOrder`].
//!
//! LLVM takes it as an option of the process, not of a function. So as long as some module is compiled by one order,
//! those that need another one wait.

use std::ffi::CString;
use std::ptr::null;
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};

use inkwell::llvm_sys::support::LLVMParseCommandLineOptions;
use targets::InstructionOrder;

struct Holders {
    order: Option<InstructionOrder>,
    count: usize,
}

static HOLDERS: Mutex<Holders> = Mutex::new(Holders { order: None, count: 0 });
static RELEASED: Condvar = Condvar::new();

/// While this lives, LLVM keeps to one order.
pub(crate) struct Held(());

pub(crate) fn hold(order: InstructionOrder) -> Held {
    let mut holders = holders();
    while holders.count > 0 && holders.order != Some(order) {
        holders = RELEASED.wait(holders).unwrap_or_else(PoisonError::into_inner);
    }
    if holders.order != Some(order) {
        tell_llvm(order);
        holders.order = Some(order);
    }
    holders.count += 1;
    Held(())
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holders = holders();
        holders.count -= 1;
        if holders.count == 0 {
            RELEASED.notify_all();
        }
    }
}

fn holders() -> MutexGuard<'static, Holders> {
    HOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets bitcode keep the order of each value's uses, once for the process. LLVM's choices follow it (loops' induction
/// variables among them): without it, a kernel that comes from bitcode is another one than what was optimised.
pub(crate) fn keep_uses() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| parse_options(&["onnxc", "-preserve-bc-uselistorder"]));
}

/// The last setting of an option stands, in LLVM.
fn tell_llvm(order: InstructionOrder) {
    parse_options(match order {
        InstructionOrder::AsWritten => &["onnxc", "-enable-misched=false"],
        InstructionOrder::TopDown => &["onnxc", "-enable-misched=true", "-misched-prera-direction=topdown"],
        InstructionOrder::BottomUp => &["onnxc", "-enable-misched=true", "-misched-prera-direction=bottomup"],
    });
}

/// No module may be compiled meanwhile that would look at these options: who calls holds a lock, or is the first.
fn parse_options(words: &[&str]) {
    let words: Vec<CString> = words.iter().filter_map(|word| CString::new(*word).ok()).collect();
    let pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    // SAFETY: the strings live until LLVM has read them, and no module is being compiled that would look at the
    // options meanwhile: `hold` calls with the lock while nobody has an order, `keep_uses` before anything is compiled.
    unsafe { LLVMParseCommandLineOptions(pointers.len() as i32, pointers.as_ptr(), null()) };
}

#[cfg(test)]
mod tests {
    use inkwell::context::Context;
    use inkwell::memory_buffer::MemoryBuffer;
    use inkwell::module::Module;
    use inkwell::values::BasicValue;

    use super::*;

    /// The sums that use the function's argument, in the order of its list of uses.
    fn users(module: &Module) -> Vec<String> {
        let argument = module.get_function("f").unwrap().get_first_param().unwrap().into_int_value();
        let uses = std::iter::successors(argument.get_first_use(), |one| one.get_next_use());
        uses.map(|one| one.get_user().into_int_value().get_name().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn bitcode_keeps_the_order_of_uses() {
        keep_uses();
        let context = Context::create();
        let module = context.create_module("m");
        let i32 = context.i32_type();
        let function = module.add_function("f", i32.fn_type(&[i32.into()], false), None);
        let argument = function.get_first_param().unwrap().into_int_value();
        let builder = context.create_builder();
        builder.position_at_end(context.append_basic_block(function, ""));
        let sum = |name: &str, k| builder.build_int_add(argument, i32.const_int(k, false), name).unwrap();
        let sums = [sum("a", 1), sum("b", 2), sum("c", 3)];
        builder.build_return(Some(&sums[2])).unwrap();
        // The first one last, as no reader would have it.
        let first = sums[0].as_instruction().unwrap();
        assert!(first.set_operand(0, i32.const_int(7, false)) && first.set_operand(0, argument));
        let before = users(&module);
        assert_eq!(before, ["a", "c", "b"]);
        let bitcode = module.write_bitcode_to_memory();
        let buffer = MemoryBuffer::create_from_memory_range_copy(bitcode.as_slice(), "");
        assert_eq!(users(&Module::parse_bitcode_from_buffer(&buffer, &context).unwrap()), before);
    }
}
