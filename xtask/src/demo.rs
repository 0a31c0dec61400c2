//! `cargo xtask demo`: a real model on this machine and on a microcontroller.
//!
//! The model is PaddleOCR's text direction classifier (a MobileNetV3 of 16 million multiply-accumulates, Apache-2.0),
//! from the Python package that carries it. It is asked of two pictures of one line of text whether they are upright.

use std::path::Path;

use crate::command::{self, command, root, step, target};

const PACKAGE: &str = "rapidocr-onnxruntime==1.4.4";
const MEMBER: &str = "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx";
/// The exporter left all dimensions of the picture open; text lines of 48×192 pixels are what it was trained on.
const SHAPE: &str = "x:1x3x48x192";

pub fn run(python: &Path) -> Result<(), String> {
    let onnxc = target().join("release/onnxc");
    let folder = target().join("demo");
    let place = |name: &str| folder.join(name).display().to_string();
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;

    step("building onnxc");
    command::run(&mut command("cargo", &["build", "--release", "--package", "onnxc"]))?;

    let model = place("text_direction.onnx");
    step("fetching a model");
    let script = root().join("xtask/demo.py").display().to_string();
    let python = |arguments: &[&str]| command::run(command(python, &[&script]).args(arguments));
    python(&["fetch", PACKAGE, MEMBER, &model])?;
    python(&["pictures", &place("pictures")])?;

    for name in ["host", "cortex-m4f"] {
        step(&format!("compiling for {name}"));
        let output = place(name);
        command::run(&mut command(
            &onnxc,
            &["compile", &model, "--shape", SHAPE, "--target", name, "--output", &output],
        ))?;
    }

    for (name, place_name) in [("host", "this machine"), ("cortex-m4f", "a Cortex-M4F, emulated by QEMU")] {
        step(&format!("running on {place_name}"));
        for picture in ["upright", "turned"] {
            let input = format!("x={}", place(&format!("pictures/{picture}.npy")));
            let output = place(&format!("{name}/{picture}"));
            command::run(&mut command(
                &onnxc,
                &["run", &place(name), "--inputs", &input, "--outputs", &output],
            ))?;
            python(&["answer", picture, &output])?;
        }
    }
    // Both machines must have given the same numbers.
    python(&["agree", &place("host"), &place("cortex-m4f")])
}
