//! Copies that read across: a few elements of each line at once, and each line to its end.

use ir::{DType, Tensor};
use loops::{Expr, Source, Stage, interpret};
use schedule::{Argument, Destination, Loop, Operand, View, lower};
use targets::Target;

const ROWS: usize = 37;
const COLUMNS: usize = 70;

#[test]
fn lines_are_read_to_their_ends() {
    let read = Expr::read(Source::Operand(0), [Expr::Axis(1), Expr::Axis(0)]);
    let stage = Stage::map(DType::F32, [COLUMNS, ROWS], read);
    let (view, len) = (View::contiguous(&[ROWS, COLUMNS]), ROWS * COLUMNS);
    let operand = Operand { source: Source::Operand(0), dtype: DType::F32, view, len, constant: false };
    let result = Destination { view: View::contiguous(&[COLUMNS, ROWS]), len };
    for name in ["x86-64-v3", "x86-64-v4", "neoverse-n1"] {
        let target = Target::preset(name).unwrap();
        let kernel = lower("transpose", &stage, std::slice::from_ref(&operand), &result, &target).unwrap();
        let [schedule] = &kernel.stages[..] else { panic!("{name}: {} schedules", kernel.stages.len()) };
        assert_eq!((schedule.lanes, schedule.vectors), (1, 8), "{name}");
        assert_eq!(schedule.order, [Loop::Axis(1), Loop::Axis(0)], "{name}:\n{}", kernel.nest);

        let elements: Vec<f32> = (0..len).map(|k| k as f32).collect();
        let of = |argument: &Argument| match argument {
            Argument::Result => Tensor::from_slice([len], &vec![f32::NAN; len]),
            _ => Tensor::from_slice([len], &elements),
        };
        let mut buffers: Vec<Tensor> = kernel.arguments.iter().map(of).collect();
        interpret(&kernel.nest, &mut buffers, &()).unwrap();
        let place = kernel.arguments.iter().position(|argument| *argument == Argument::Result).unwrap();
        let expected: Vec<f64> = (0..len).map(|k| (k % ROWS * COLUMNS + k / ROWS) as f64).collect();
        assert_eq!(buffers[place].to_f64s(), expected, "{name}:\n{}", kernel.nest);
    }
}
