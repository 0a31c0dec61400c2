//! Tensors that the user gives, matched to a model's inputs or outputs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ir::{DType, Tensor};

use crate::diagnostic::{Diagnostic, code};
use crate::interface::Port;
use crate::tensor_file;

/// Which side of a model tensors are for; decides the prefixes of names in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Inputs,
    Outputs,
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Side::Inputs => "input",
            Side::Outputs => "output",
        }
    }

    /// Of an array's name in a bundle of inputs and outputs.
    fn prefix(self) -> &'static str {
        match self {
            Side::Inputs => "in_",
            Side::Outputs => "out_",
        }
    }
}

/// Given tensors under the names that the user or the files gave them.
#[derive(Debug, Default)]
pub struct Given(BTreeMap<String, Tensor>);

impl Given {
    /// What `--inputs` says: `NAME=FILE`, a `.npz` file, or a directory.
    pub fn from_arguments(arguments: &[String]) -> Result<Given, Diagnostic> {
        let mut given = Given::default();
        for argument in arguments {
            let path = Path::new(argument);
            if path.exists() {
                given.add_path(path)?;
            } else if let Some((name, file)) = argument.split_once('=') {
                given.0.insert(name.to_owned(), tensor_file::read(Path::new(file))?.1);
            } else {
                return Err(Diagnostic::usage(code::CANNOT_READ, format!("there is no `{argument}`"))
                    .with_hint(
                        "--inputs takes NAME=FILE, an .npz file, or a directory of .npy or .pb files",
                    ));
            }
        }
        Ok(given)
    }

    pub fn from_path(path: &Path) -> Result<Given, Diagnostic> {
        let mut given = Given::default();
        given.add_path(path)?;
        Ok(given)
    }

    fn add_path(&mut self, path: &Path) -> Result<(), Diagnostic> {
        if path.is_dir() {
            return files(path)?.iter().try_for_each(|file| self.add_path(file));
        }
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("npz") => self.0.extend(tensor_file::read_npz(path)?),
            Some("npy" | "pb") => {
                let (name, tensor) = tensor_file::read(path)?;
                let stem =
                    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                // A name inside of the file counts beside the file's own.
                self.0.extend(name.map(|name| (name, tensor.clone())));
                self.0.insert(stem, tensor);
            }
            _ => {}
        }
        Ok(())
    }

    /// One tensor per port, or what is missing or of another type.
    ///
    /// A port is found under its name in the model, its field in the header, either with `in_` or `out_` in front,
    /// or by its place (`input_0`, `out_0`).
    pub fn bind(&self, ports: &[Port], side: Side) -> Result<Vec<Tensor>, Diagnostic> {
        ports.iter().enumerate().map(|(place, port)| self.find(place, port, side)).collect()
    }

    fn find(&self, place: usize, port: &Port, side: Side) -> Result<Tensor, Diagnostic> {
        let names = [
            port.name.clone(),
            port.field.clone(),
            format!("{}{}", side.prefix(), port.name),
            format!("{}{}", side.prefix(), port.field),
            format!("{}_{place}", side.word()),
            format!("{}{place}", side.prefix()),
        ];
        let Some(tensor) = names.iter().find_map(|name| self.0.get(name)) else {
            let there = self.0.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let there = if there.is_empty() { "nothing".to_owned() } else { there };
            return Err(Diagnostic::usage(
                code::DATA,
                format!(
                    "no data for {} `{}` ({}); given: {there}",
                    side.word(),
                    port.name,
                    port.model_type()
                ),
            )
            .with_hint(format!("`{}`, `{}` and `{}` would be found", names[0], names[2], names[4])));
        };
        fitting(tensor, port).ok_or_else(|| {
            Diagnostic::usage(
                code::DATA,
                format!(
                    "{} `{}` is {}, but the data is {}",
                    side.word(),
                    port.name,
                    port.model_type(),
                    tensor.ty
                ),
            )
        })
    }
}

/// `tensor`, in the model's order of axes, as the port's type: the same, or the bits that NumPy has no name for.
fn fitting(tensor: &Tensor, port: &Port) -> Option<Tensor> {
    let ty = port.model_type();
    let bits = tensor.ty.dtype == DType::U16 && port.ty.dtype == DType::BF16;
    let same = tensor.ty.dtype == port.ty.dtype || bits;
    (same && tensor.ty.shape == ty.shape)
        .then(|| port.from_model(Tensor { ty, data: std::sync::Arc::clone(&tensor.data) }))
}

/// A case to verify: inputs and expected outputs, and where they came from.
pub struct Case {
    pub name: String,
    pub given: Given,
}

/// The cases of `--data`: one per `test_data_set_*` in a directory, else the file or directory itself.
pub fn cases(path: &Path) -> Result<Vec<Case>, Diagnostic> {
    let name =
        |path: &Path| path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let is_set = |path: &PathBuf| path.is_dir() && name(path).starts_with("test_data_set");
    let mut sets: Vec<PathBuf> = if path.is_dir() { files(path)? } else { vec![] };
    sets.retain(is_set);
    if sets.is_empty() {
        sets.push(path.to_owned());
    }
    sets.iter().map(|set| Ok(Case { name: name(set), given: Given::from_path(set)? })).collect()
}

/// A directory's entries, sorted by name.
fn files(dir: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let entries = fs::read_dir(dir).map_err(|error| {
        Diagnostic::usage(code::CANNOT_READ, format!("cannot read `{}`: {error}", dir.display()))
    })?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use ir::TensorType;

    use super::*;
    use crate::interface::ports;

    fn given(tensors: &[(&str, Tensor)]) -> Given {
        Given(tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect())
    }

    #[test]
    fn ports_are_found_under_many_names() {
        let tensor = Tensor::from_slice([2], &[1.0f32, 2.0]);
        let ports = ports(&[("a:0".to_owned(), tensor.ty.clone())], &[]);
        for name in ["a:0", "a_0", "in_a:0", "in_a_0", "input_0", "in_0"] {
            assert_eq!(
                given(&[(name, tensor.clone())]).bind(&ports, Side::Inputs),
                Ok(vec![tensor.clone()]),
                "{name}"
            );
        }
        let missing = given(&[("out_0", tensor.clone())]).bind(&ports, Side::Inputs).unwrap_err();
        assert_eq!(missing.message, "no data for input `a:0` (f32[2]); given: `out_0`");
    }

    #[test]
    fn types_must_fit() {
        let ports = ports(&[("x".to_owned(), TensorType::new(DType::BF16, [2]))], &[]);
        let bits = Tensor::from_slice([2], &[1u16, 2]);
        assert_eq!(given(&[("x", bits.clone())]).bind(&ports, Side::Inputs).unwrap()[0].ty, ports[0].ty);
        let wrong = given(&[("x", bits.reshaped([1, 2]))]).bind(&ports, Side::Inputs).unwrap_err();
        assert_eq!(wrong.message, "input `x` is bf16[2], but the data is u16[1,2]");
    }
}
