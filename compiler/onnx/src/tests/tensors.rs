//! Every form in which a tensor is stored.

use std::fs;

use half::{bf16, f16};
use ir::{DType, Tensor, TensorType};
use prost::Message;

use super::build::*;
use crate::external::External;
use crate::proto::{StringStringEntryProto, TensorProto};
use crate::tensor::decode;
use crate::{Options, import, read_tensor_pb, write_tensor_pb};

#[test]
fn tensor_files_read_back() {
    for dtype in DType::ALL {
        let ty = TensorType::new(dtype, [2, 3]);
        let bytes: Vec<u8> = (0..ty.bytes()).map(|k| (k % 2) as u8).collect();
        let tensor = Tensor::new(ty, bytes);
        assert_eq!(read_tensor_pb(&write_tensor_pb("t", &tensor)).unwrap(), ("t".to_owned(), tensor));
    }
    assert!(read_tensor_pb(&[0xff; 9]).unwrap_err().message.contains("not an ONNX tensor"));
}

/// A tensor of two elements.
fn pair(data_type: i32, fill: impl FnOnce(&mut TensorProto)) -> Tensor {
    let mut proto = TensorProto { dims: vec![2], data_type, ..TensorProto::default() };
    fill(&mut proto);
    decode(&proto, &mut External::nowhere()).unwrap_or_else(|problem| panic!("{problem}"))
}

#[test]
fn typed_fields_hold_the_types_that_the_standard_gives_them() {
    let int32 = |data_type: i32, values: [i32; 2]| pair(data_type, |proto| proto.int32_data = values.into());
    assert_eq!(pair(1, |p| p.float_data = vec![0.5, -2.0]).to_vec::<f32>(), Some(vec![0.5, -2.0]));
    assert_eq!(pair(11, |p| p.double_data = vec![0.5, -2.0]).to_vec::<f64>(), Some(vec![0.5, -2.0]));
    assert_eq!(pair(7, |p| p.int64_data = vec![i64::MIN, 1]).to_vec::<i64>(), Some(vec![i64::MIN, 1]));
    assert_eq!(pair(13, |p| p.uint64_data = vec![u64::MAX, 1]).to_vec::<u64>(), Some(vec![u64::MAX, 1]));
    assert_eq!(pair(12, |p| p.uint64_data = vec![1 << 31, 1]).to_vec::<u32>(), Some(vec![1 << 31, 1]));
    assert_eq!(int32(6, [i32::MIN, 1]).to_vec::<i32>(), Some(vec![i32::MIN, 1]));
    assert_eq!(int32(5, [-300, 300]).to_vec::<i16>(), Some(vec![-300, 300]));
    assert_eq!(int32(4, [0, 65535]).to_vec::<u16>(), Some(vec![0, 65535]));
    assert_eq!(int32(3, [-128, 127]).to_vec::<i8>(), Some(vec![-128, 127]));
    assert_eq!(int32(2, [0, 255]).to_vec::<u8>(), Some(vec![0, 255]));
    assert_eq!(int32(9, [0, 7]).to_vec::<bool>(), Some(vec![false, true]));
    assert_eq!(
        int32(10, [0x3c00, 0xc000]).to_vec::<f16>(),
        Some(vec![f16::from_f32(1.0), f16::from_f32(-2.0)])
    );
    assert_eq!(
        int32(16, [0x3f80, 0xc000]).to_vec::<bf16>(),
        Some(vec![bf16::from_f32(1.0), bf16::from_f32(-2.0)])
    );
}

#[test]
fn raw_bools_become_zero_and_one() {
    let tensor = pair(9, |proto| proto.raw_data = Some(vec![0, 0xff].into()));
    assert_eq!(*tensor.data, [0, 1]);
}

#[test]
fn packed_and_unpacked_numbers_read_alike() {
    // dims 2, data_type FLOAT, float_data 1.0 and 2.0: packed (one field of eight bytes), then one field each.
    let head = [0x08, 2, 0x10, 1];
    let packed = [&head[..], &[0x22, 8], &1f32.to_le_bytes(), &2f32.to_le_bytes()].concat();
    let unpacked = [&head[..], &[0x25], &1f32.to_le_bytes(), &[0x25], &2f32.to_le_bytes()].concat();
    let tensor = Tensor::from_slice([2], &[1f32, 2.0]);
    for bytes in [packed, unpacked] {
        assert_eq!(read_tensor_pb(&bytes).unwrap().1, tensor);
    }
}

#[test]
fn an_empty_tensor_needs_no_data() {
    let proto = TensorProto { dims: vec![0, 3], data_type: FLOAT, ..TensorProto::default() };
    assert_eq!(decode(&proto, &mut External::nowhere()).unwrap().ty.shape, [0, 3]);
}

/// The small model whose `w` is outside, at the entries given.
fn outside(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut model = small();
    let w = &mut model.graph.as_mut().unwrap().initializer[0];
    (w.raw_data, w.data_location) = (None, 1);
    let entry =
        |(key, value): &(&str, &str)| StringStringEntryProto { key: (*key).into(), value: (*value).into() };
    w.external_data = entries.iter().map(entry).collect();
    model.encode_to_vec()
}

#[test]
fn external_data_is_read_from_the_models_folder_and_from_nowhere_else() {
    let top = tempfile::tempdir().unwrap();
    let folder = top.path().join("model");
    fs::create_dir_all(folder.join("data")).unwrap();
    let file = |entries: &[(&str, &str)]| {
        let path = folder.join("model.onnx");
        fs::write(&path, outside(entries)).unwrap();
        import(&path, &Options::default()).map_err(|problems| text(&problems))
    };
    let weights: Vec<u8> = [9f32, 1.0, -2.0, 3.0, -4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    fs::write(folder.join("data/w.bin"), &weights).unwrap();
    fs::write(top.path().join("secret"), &weights).unwrap();
    std::os::unix::fs::symlink(top.path().join("secret"), folder.join("link")).unwrap();

    assert!(file(&[("location", "data/w.bin"), ("offset", "4"), ("length", "16")]).is_ok());
    assert!(file(&[("location", "./data/w.bin")]).is_ok());
    let secret = top.path().join("secret");
    let refused: [(&[(&str, &str)], &str); 12] = [
        (&[("location", "../secret")], "outside the model's folder"),
        (&[("location", "data/../../secret")], "outside the model's folder"),
        (&[("location", secret.to_str().unwrap())], "outside the model's folder"),
        (&[("location", "link")], "outside the model's folder"),
        (&[("location", "gone.bin")], "cannot be read"),
        (&[("location", "")], "is not a file"),
        (&[("location", "data")], "is not a file"),
        (&[("location", "data/w.bin"), ("offset", "8")], "needs 16 bytes at offset 8, the file has 20"),
        (&[("location", "data/w.bin"), ("offset", "18446744073709551615")], "at offset 18446744073709551615"),
        (&[("location", "data/w.bin"), ("offset", "-4")], "not a number of bytes"),
        (&[("location", "data/w.bin"), ("length", "NaN")], "not a number of bytes"),
        (&[("location", "data/w.bin"), ("length", "20")], "needs 16 bytes, its external data has 20"),
    ];
    for (entries, says) in refused {
        let message = file(entries).unwrap_err();
        assert!(message.contains(says), "{entries:?} should say `{says}`: {message}");
    }
}
