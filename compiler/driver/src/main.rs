//! The command `onnxc`.

fn main() -> std::process::ExitCode {
    onnxc::main()
}
