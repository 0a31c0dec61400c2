//! Tensors in files: NumPy's `.npy` and `.npz`, and ONNX's `.pb`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use half::f16;
use ir::{DType, Element, Tensor, TensorType};
use npyz::{NpyHeader, Order, TypeChar, WriterBuilder};

use crate::diagnostic::{Diagnostic, code};

/// The tensor of a `.npy` or `.pb` file; a `.pb` may name it.
pub fn read(path: &Path) -> Result<(Option<String>, Tensor), Diagnostic> {
    let tensor = match extension(path) {
        "npy" => {
            File::open(path).map_err(text).and_then(|file| read_npy(BufReader::new(file))).map(|t| (None, t))
        }
        "pb" => std::fs::read(path).map_err(text).and_then(|bytes| {
            let (name, tensor) = onnx::read_tensor_pb(&bytes).map_err(text)?;
            Ok(((!name.is_empty()).then_some(name), tensor))
        }),
        _ => Err("tensors come as .npy, .npz or .pb files".to_owned()),
    };
    tensor.map_err(|why| unreadable(path, &why))
}

/// All arrays of a `.npz` file, by their names.
pub fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>, Diagnostic> {
    let mut archive = npyz::npz::NpzArchive::open(path).map_err(|error| unreadable(path, &text(error)))?;
    let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    let mut arrays = Vec::with_capacity(names.len());
    for name in names {
        let file = archive.zip_archive().by_name(&npyz::npz::file_name_from_array_name(&name));
        let tensor = file.map_err(text).and_then(read_npy);
        arrays
            .push((name.clone(), tensor.map_err(|why| unreadable(path, &format!("array `{name}`: {why}")))?));
    }
    Ok(arrays)
}

/// Writes `tensor` as `.npy`. NumPy has no bfloat16: its bits go into `uint16`.
pub fn write_npy(path: &Path, tensor: &Tensor) -> Result<(), Diagnostic> {
    let result = File::create(path).and_then(|file| {
        let mut file = BufWriter::new(file);
        write_as_its_type(&mut file, tensor)?;
        file.flush()
    });
    result.map_err(|error| unwritable(path, &error))
}

/// Writes arrays under their names as one `.npz`.
pub fn write_npz(path: &Path, arrays: &[(&str, &Tensor)]) -> Result<(), Diagnostic> {
    let write = || -> io::Result<()> {
        let mut archive = npyz::npz::NpzWriter::new(BufWriter::new(File::create(path)?));
        for (name, tensor) in arrays {
            let file_name = npyz::npz::file_name_from_array_name(name);
            archive.zip_writer().start_file(file_name, Default::default())?;
            let mut bytes = Vec::new();
            write_as_its_type(&mut bytes, tensor)?;
            archive.zip_writer().write_all(&bytes)?;
        }
        archive.zip_writer().finish()?.flush()
    };
    write().map_err(|error| unwritable(path, &error))
}

/// Writes `tensor` as ONNX's test data do.
pub fn write_pb(path: &Path, name: &str, tensor: &Tensor) -> Result<(), Diagnostic> {
    std::fs::write(path, onnx::write_tensor_pb(name, tensor)).map_err(|error| unwritable(path, &error))
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or("")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn unreadable(path: &Path, why: &str) -> Diagnostic {
    Diagnostic::usage(code::CANNOT_READ, format!("cannot read `{}`: {why}", path.display()))
}

fn unwritable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::usage(code::CANNOT_WRITE, format!("cannot write `{}`: {error}", path.display()))
}

fn read_npy(mut reader: impl Read) -> Result<Tensor, String> {
    let header = NpyHeader::from_reader(&mut reader).map_err(text)?;
    let dtype = element_type(&header.dtype())?;
    let shape: Vec<usize> =
        header.shape().iter().map(|&dim| usize::try_from(dim).map_err(text)).collect::<Result<_, _>>()?;
    let bytes = shape.iter().try_fold(dtype.bytes(), |bytes, &dim| bytes.checked_mul(dim));
    let bytes = bytes.ok_or_else(|| format!("its shape {shape:?} is too large"))?;
    // What is there decides how much is allocated, not what the header says.
    let mut data = Vec::new();
    reader.take(bytes as u64).read_to_end(&mut data).map_err(text)?;
    if data.len() != bytes {
        return Err(format!("it ends after {} of {bytes} bytes", data.len()));
    }
    if big_endian(&header.dtype()) {
        data.chunks_exact_mut(dtype.bytes()).for_each(<[u8]>::reverse);
    }
    let ty = TensorType::new(dtype, shape);
    Ok(match header.order() {
        Order::C => Tensor::new(ty, data),
        Order::Fortran => Tensor::new(ty.clone(), row_major(&ty, &data)),
    })
}

/// Elements stored first axis fastest, as they lie row-major.
fn row_major(ty: &TensorType, data: &[u8]) -> Vec<u8> {
    let size = ty.dtype.bytes();
    let mut result = Vec::with_capacity(data.len());
    let strides = ty.strides();
    for element in 0..ty.elements() {
        let mut column_stride = 1;
        let mut from = 0;
        for (&extent, &stride) in ty.shape.iter().zip(&strides) {
            from += element / stride % extent * column_stride;
            column_stride *= extent;
        }
        result.extend_from_slice(&data[from * size..(from + 1) * size]);
    }
    result
}

fn element_type(dtype: &npyz::DType) -> Result<DType, String> {
    let unsupported = || format!("elements of type {} are no tensor elements", dtype.descr());
    let npyz::DType::Plain(plain) = dtype else { return Err(unsupported()) };
    Ok(match (plain.type_char(), plain.size_field()) {
        (TypeChar::Bool, 1) => DType::Bool,
        (TypeChar::Uint, 1) => DType::U8,
        (TypeChar::Uint, 2) => DType::U16,
        (TypeChar::Uint, 4) => DType::U32,
        (TypeChar::Uint, 8) => DType::U64,
        (TypeChar::Int, 1) => DType::I8,
        (TypeChar::Int, 2) => DType::I16,
        (TypeChar::Int, 4) => DType::I32,
        (TypeChar::Int, 8) => DType::I64,
        (TypeChar::Float, 2) => DType::F16,
        (TypeChar::Float, 4) => DType::F32,
        (TypeChar::Float, 8) => DType::F64,
        _ => return Err(unsupported()),
    })
}

fn big_endian(dtype: &npyz::DType) -> bool {
    matches!(dtype, npyz::DType::Plain(plain) if plain.endianness() == npyz::Endianness::Big)
}

fn write_as_its_type(file: &mut impl Write, tensor: &Tensor) -> io::Result<()> {
    match tensor.ty.dtype {
        DType::Bool => write_elements::<bool>(file, tensor),
        DType::U8 => write_elements::<u8>(file, tensor),
        DType::U16 => write_elements::<u16>(file, tensor),
        DType::U32 => write_elements::<u32>(file, tensor),
        DType::U64 => write_elements::<u64>(file, tensor),
        DType::I8 => write_elements::<i8>(file, tensor),
        DType::I16 => write_elements::<i16>(file, tensor),
        DType::I32 => write_elements::<i32>(file, tensor),
        DType::I64 => write_elements::<i64>(file, tensor),
        DType::F16 => write_elements::<f16>(file, tensor),
        DType::BF16 => write_elements::<u16>(file, tensor),
        DType::F32 => write_elements::<f32>(file, tensor),
        DType::F64 => write_elements::<f64>(file, tensor),
    }
}

fn write_elements<T: Element + npyz::AutoSerialize>(
    file: &mut impl Write,
    tensor: &Tensor,
) -> io::Result<()> {
    let shape: Vec<u64> = tensor.ty.shape.iter().map(|&dim| dim as u64).collect();
    let mut writer = npyz::WriteOptions::<T>::new().default_dtype().shape(&shape).writer(file).begin_nd()?;
    for element in tensor.data.chunks_exact(T::DTYPE.bytes()) {
        writer.push(&T::read(element))?;
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_a_file() {
        let dir = tempfile::tempdir().unwrap();
        for dtype in DType::ALL {
            let ty = TensorType::new(dtype, [2, 3]);
            let data =
                (0..ty.bytes()).map(|k| if dtype == DType::Bool { k as u8 % 2 } else { k as u8 }).collect();
            let tensor = Tensor::new(ty, data);
            let path = dir.path().join(format!("{dtype}.npy"));
            write_npy(&path, &tensor).unwrap();
            let (_, back) = read(&path).unwrap();
            assert_eq!(back.data, tensor.data, "{dtype}");
            assert_eq!(back.ty.dtype, if dtype == DType::BF16 { DType::U16 } else { dtype });
        }
    }

    fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let mut text = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        text += &" ".repeat((64 - (10 + text.len() + 1) % 64) % 64);
        text.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn columns_become_rows_and_big_endian_little() {
        // NumPy writes [[1, 2, 3], [4, 5, 6]] in Fortran order as 1 4 2 5 3 6.
        let bytes: Vec<u8> = [1u16, 4, 2, 5, 3, 6].iter().flat_map(|v| v.to_be_bytes()).collect();
        let tensor = read_npy(npy(">u2", "True", "(2, 3)", &bytes).as_slice()).unwrap();
        assert_eq!(tensor, Tensor::from_slice([2, 3], &[1u16, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn broken_files_are_errors() {
        let short = read_npy(npy("<f4", "False", "(2,)", &[0; 7]).as_slice()).unwrap_err();
        assert_eq!(short, "it ends after 7 of 8 bytes");
        let huge = "(4611686018427387904, 4611686018427387904)";
        assert!(read_npy(npy("<f4", "False", huge, &[]).as_slice()).is_err());
        let text = read_npy(npy("<U3", "False", "(1,)", &[0; 12]).as_slice()).unwrap_err();
        assert_eq!(text, "elements of type '<U3' are no tensor elements");
        assert!(read_npy(&b"no npy"[..]).is_err());
    }
}
