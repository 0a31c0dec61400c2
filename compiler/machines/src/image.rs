//! Reading the linked program: where its functions are.

use std::path::Path;

use object::{Object, ObjectSymbol};

use crate::MachineError;

/// The functions of a linked program by address.
pub(crate) struct Symbols(Vec<(u64, String)>);

impl Symbols {
    pub(crate) fn read(program: &Path) -> Result<Symbols, MachineError> {
        let data = std::fs::read(program).map_err(|error| MachineError::files(program.display(), error))?;
        let file =
            object::File::parse(&*data).map_err(|error| MachineError::files(program.display(), error))?;
        let thumb = file.architecture() == object::Architecture::Arm;
        let mut symbols: Vec<(u64, String)> = file
            .symbols()
            .filter(|symbol| symbol.is_definition())
            .filter_map(|symbol| {
                // The lowest bit of a Thumb function's address says only that it is one.
                let address = if thumb { symbol.address() & !1 } else { symbol.address() };
                Some((address, symbol.name().ok()?.to_string()))
            })
            // Mapping symbols ($t, $d, ...) and local labels name no function.
            .filter(|(_, name)| !name.is_empty() && !name.starts_with(['$', '.']))
            .collect();
        symbols.sort();
        Ok(Symbols(symbols))
    }

    pub(crate) fn address(&self, name: &str) -> Result<u64, MachineError> {
        let symbol = self.0.iter().find(|(_, symbol)| symbol == name);
        symbol
            .map(|(address, _)| *address)
            .ok_or_else(|| MachineError::Files(format!("the linked program has no symbol `{name}`")))
    }

    /// `function+0x12`: the last symbol at or before `address`.
    pub(crate) fn around(&self, address: u64) -> Option<String> {
        let (start, name) = self.0.iter().rev().find(|(start, _)| *start <= address)?;
        Some(format!("{name}+{:#x}", address - start))
    }
}
