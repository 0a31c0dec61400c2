use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::problem::{Problem, code};
use crate::proto::StringStringEntryProto;

/// The files beside a model that hold its large tensors.
pub(crate) struct External {
    /// Files are looked up here and nowhere above; `None` refuses external data.
    folder: Option<PathBuf>,
    /// What was read already, by file, offset and length: tied weights share their data.
    read: HashMap<(PathBuf, u64, usize), Arc<Vec<u8>>>,
}

impl External {
    pub fn beside(folder: &Path) -> External {
        // The folder of `model.onnx` is the empty path.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        External { folder: Some(folder.into()), read: HashMap::new() }
    }

    pub fn nowhere() -> External {
        External { folder: None, read: HashMap::new() }
    }

    /// The `bytes` bytes that `entries` (a tensor's `external_data`) points at.
    pub fn read(
        &mut self,
        entries: &[StringStringEntryProto],
        bytes: usize,
    ) -> Result<Arc<Vec<u8>>, Problem> {
        let entry = |key: &str| entries.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let location = entry("location").ok_or_else(|| invalid("external data without a location"))?;
        let offset = entry("offset").map(|text| number("offset", text)).transpose()?.unwrap_or(0);
        let length = entry("length").map(|text| number("length", text)).transpose()?.unwrap_or(bytes as u64);
        if length != bytes as u64 {
            return Err(invalid(format!("the tensor needs {bytes} bytes, its external data has {length}")));
        }
        let path = self.path(location)?;
        if let Some(data) = self.read.get(&(path.clone(), offset, bytes)) {
            return Ok(Arc::clone(data));
        }
        let data = Arc::new(
            part(&path, offset, bytes)
                .map_err(|why| invalid(format!("external data `{location}`: {why}")))?,
        );
        self.read.insert((path, offset, bytes), Arc::clone(&data));
        Ok(data)
    }

    /// Where `location` is; an error if that is outside the model's folder, also by way of a link.
    fn path(&self, location: &str) -> Result<PathBuf, Problem> {
        let folder = self.folder.as_ref().ok_or_else(|| {
            invalid(format!("external data `{location}` has no folder to be in"))
                .hint("import the model from its file")
        })?;
        let relative = Path::new(location);
        let outside = || {
            invalid(format!("external data `{location}` is outside the model's folder"))
                .hint("put the file beside the model")
        };
        if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(outside());
        }
        let real = |path: &Path| {
            path.canonicalize()
                .map_err(|err| invalid(format!("external data `{location}` cannot be read: {err}")))
        };
        let (root, path) = (real(folder)?, real(&folder.join(relative))?);
        if path.starts_with(root) { Ok(path) } else { Err(outside()) }
    }
}

fn invalid(message: impl Into<String>) -> Problem {
    Problem::invalid(code::TENSOR, message)
}

fn number(key: &str, text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| {
        invalid(format!("external data with the {key} `{text}`, which is not a number of bytes"))
    })
}

fn part(path: &Path, offset: u64, bytes: usize) -> Result<Vec<u8>, String> {
    let text = |err: std::io::Error| err.to_string();
    let mut file = File::open(path).map_err(text)?;
    let metadata = file.metadata().map_err(text)?;
    if !metadata.is_file() {
        return Err("is not a file".into());
    }
    if offset.checked_add(bytes as u64).is_none_or(|end| end > metadata.len()) {
        return Err(format!("needs {bytes} bytes at offset {offset}, the file has {}", metadata.len()));
    }
    file.seek(SeekFrom::Start(offset)).map_err(text)?;
    let mut data = vec![0; bytes];
    file.read_exact(&mut data).map_err(text)?;
    Ok(data)
}
