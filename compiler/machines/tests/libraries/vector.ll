; y = x + x on sixteen floats at once: what LLVM makes of a preset's triple, CPU, features and ABI.
define i32 @vector_run(ptr %in, ptr %out, ptr %arena) nounwind {
  %x = load ptr, ptr %in
  %y = load ptr, ptr %out
  %xs = load <16 x float>, ptr %x, align 4
  %ys = fadd <16 x float> %xs, %xs
  store <16 x float> %ys, ptr %y, align 4
  ret i32 0
}
