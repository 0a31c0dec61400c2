use std::fmt;
use std::path::{Path, PathBuf};

use schedule::{Merged, Record, VERSION};
use serde::Serialize;

use crate::cli::{self, RecordsCommand};
use crate::diagnostic::{Diagnostic, Diagnostics, code};
use crate::records;
use crate::table::{grouped, table};
use crate::terminal::Report;

#[derive(Serialize)]
pub struct Listed {
    records: Vec<Record>,
    /// The file that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Diagnostic>,
}

/// `onnxc records`: what files of records hold, one by one or put together.
pub fn records(arguments: &cli::Records) -> Result<Listed, Diagnostics> {
    match &arguments.what {
        RecordsCommand::List { file } => {
            let (records, warnings) = read(std::slice::from_ref(file))?;
            Ok(Listed { records, output: None, warnings })
        }
        RecordsCommand::Merge { files, output } => {
            let (held, mut warnings) = read(files)?;
            let Merged { records, incomparable } = schedule::merge(held);
            if incomparable > 0 {
                warnings.push(Diagnostic::warning(
                    code::INCOMPARABLE_RECORDS,
                    format!(
                        "{incomparable} records were measured in another place than an earlier one of the same \
                         kernel, which stands"
                    ),
                ));
            }
            records::write(output, &records)?;
            Ok(Listed { records, output: Some(output.clone()), warnings })
        }
    }
}

fn read(paths: &[PathBuf]) -> Result<(Vec<Record>, Vec<Diagnostic>), Diagnostic> {
    let (mut all, mut warnings) = (Vec::new(), Vec::new());
    for path in paths {
        for file in records::files(path)? {
            let (held, stale) = records::read(&file)?;
            if stale > 0 {
                warnings.push(left_out(&file, stale));
            }
            all.extend(held);
        }
    }
    Ok((all, warnings))
}

fn left_out(file: &Path, stale: usize) -> Diagnostic {
    let message =
        format!("{stale} records of `{}` are of another version than {VERSION} and left out", file.display());
    Diagnostic::warning(code::STALE_RECORDS, message)
}

impl Report for Listed {
    fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(output) = &self.output {
            return writeln!(f, "{} records in {}", self.records.len(), output.display());
        }
        let row = |record: &Record| {
            vec![
                record.kernel.chars().take(12).collect(),
                record.about.clone(),
                record.target.name.clone(),
                record.threads.to_string(),
                format!("{} {}", grouped(record.cost.best.round() as u128), record.cost.unit),
                format!("{:.2}x", record.cost.default / record.cost.best),
                record.measured.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = self.records.iter().map(row).collect();
        let head = ["key", "kernel", "target", ">threads", ">cost", ">gain", "measured"];
        f.write_str(&table(&head, &rows))
    }
}
