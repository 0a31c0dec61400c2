//! `infer` never panics, and what it accepts has a meaning.

use ir::{DType, Scalar, TensorType};
use ops::ops::{
    arg_reduce::ArgReduce, average_pool::AveragePool, concat::Concat, conv::Conv,
    conv_transpose::ConvTranspose, cum_sum::CumSum, expand::Expand, gather::Gather,
    gather_elements::GatherElements, gather_nd::GatherNd, lp_pool::LpPool, max_pool::MaxPool,
    one_hot::OneHot, pad::Pad, pad::PadMode, reduce::Reduce, resize::Resize,
    reverse_sequence::ReverseSequence, slice::Slice, split::Split, tile::Tile,
};
use ops::shape::{Layout, Pool, Window};
use ops::{AnyOp, OpKind};

const HUGE: usize = usize::MAX / 2 + 3;

#[test]
fn every_operator_judges_any_types() {
    let shapes: [&[usize]; 11] = [
        &[],
        &[0],
        &[2],
        &[HUGE],
        &[2, 3],
        &[3, 2],
        &[1, 2, 3],
        &[2, 0, 3],
        &[1, 2, 5, 4],
        &[2, 1, 3, 3],
        &[HUGE, HUGE, HUGE],
    ];
    let types: Vec<TensorType> = shapes
        .iter()
        .flat_map(|&shape| [DType::F32, DType::I64].map(|dtype| TensorType::new(dtype, shape)))
        .collect();
    let ops: Vec<AnyOp> =
        OpKind::ALL.iter().map(|kind| kind.with_defaults()).chain(odd_attributes()).collect();
    let mut accepted = 0;
    for op in &ops {
        let mut check = |inputs: &[TensorType]| {
            let Ok(results) = op.infer(inputs) else { return };
            let small = |ty: &TensorType| {
                ty.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).is_some_and(|n| n < 1 << 20)
            };
            if results.iter().chain(inputs).all(small) {
                accepted += 1;
                assert!(
                    op.meaning(inputs).definition(inputs, &results).results.len() == results.len(),
                    "{op:?}"
                );
                op.macs(inputs);
            }
        };
        check(&[]);
        for a in &types {
            check(std::slice::from_ref(a));
            for b in &types {
                check(&[a.clone(), b.clone()]);
                check(&[a.clone(), b.clone(), types[4].clone()]);
            }
        }
    }
    assert!(accepted > ops.len(), "hardly anything was accepted: {accepted}");
}

fn odd_attributes() -> Vec<AnyOp> {
    let plain = Window::plain(2);
    let windows = [
        plain.clone(),
        Window { strides: vec![0, 1], ..plain.clone() },
        Window { strides: vec![HUGE, 2], ..plain.clone() },
        Window { dilations: vec![HUGE, HUGE], ..plain.clone() },
        Window { pads: vec![(HUGE, HUGE), (1, 1)], ..plain.clone() },
    ];
    let mut ops: Vec<AnyOp> = vec![
        Concat { axis: HUGE }.into(),
        Concat { axis: 1 }.into(),
        ArgReduce { axis: 1, ..ArgReduce::default() }.into(),
        CumSum { axis: 1, ..CumSum::default() }.into(),
        Expand { shape: vec![HUGE, 2, 3] }.into(),
        Gather { axis: HUGE }.into(),
        Gather { axis: 1 }.into(),
        GatherElements { axis: 1 }.into(),
        GatherNd { batch_axes: HUGE }.into(),
        GatherNd { batch_axes: 1 }.into(),
        OneHot { axis: 1, depth: HUGE }.into(),
        OneHot { axis: 1, depth: 4 }.into(),
        Pad { pads: vec![(i64::MAX, i64::MAX), (0, 0)], ..Pad::default() }.into(),
        Pad { pads: vec![(i64::MIN, 1), (0, -1)], mode: PadMode::Edge, value: None }.into(),
        Pad { pads: vec![(-1, 1), (2, 1)], mode: PadMode::Reflect, value: None }.into(),
        Pad { pads: vec![(1, 1)], mode: PadMode::Constant, value: Some(Scalar::f32(1.0)) }.into(),
        Reduce { axes: vec![1, 0], ..Reduce::default() }.into(),
        Reduce { axes: vec![0, HUGE], ..Reduce::default() }.into(),
        Reduce { axes: vec![0, 1], ..Reduce::default() }.into(),
        Resize { shape: vec![3, 7], ..Resize::default() }.into(),
        Resize { shape: vec![HUGE], ..Resize::default() }.into(),
        ReverseSequence { batch_axis: 1, time_axis: 0 }.into(),
        Slice { starts: vec![HUGE], steps: vec![i64::MIN], shape: vec![HUGE] }.into(),
        Slice { starts: vec![1, 0], steps: vec![-1, 2], shape: vec![2, 2] }.into(),
        Split { axis: 1, sizes: vec![HUGE, HUGE] }.into(),
        Split { axis: 1, sizes: vec![1, 2] }.into(),
        Tile { repeats: vec![HUGE, 2] }.into(),
        Tile { repeats: vec![2, 2] }.into(),
    ];
    for window in windows {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            for kernel in [vec![2, 2], vec![0, 1], vec![HUGE, HUGE]] {
                let pool = Pool { kernel, window: window.clone(), layout };
                ops.push(MaxPool { pool: pool.clone() }.into());
                ops.push(LpPool { pool: pool.clone(), p: 3 }.into());
                ops.push(AveragePool { pool: pool.clone(), counted: vec![] }.into());
                ops.push(AveragePool { pool, counted: vec![(1, HUGE); 2] }.into());
            }
            for group in [0, 1, HUGE] {
                let window = window.clone();
                ops.push(Conv { window: window.clone(), group, layout }.into());
                ops.push(ConvTranspose { window, output_padding: vec![HUGE, 0], group, layout }.into());
            }
            ops.push(
                ConvTranspose { window: window.clone(), output_padding: vec![1, 0], group: 1, layout }.into(),
            );
        }
    }
    ops
}
