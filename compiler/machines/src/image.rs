//! Reading the linked program: where its functions are.

use std::path::Path;

use object::{Object, ObjectSymbol};

use crate::MachineError;

/// The functions of a linked program by address.
pub(crate) struct Symbols(Vec<Symbol>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Symbol {
    pub address: u64,
    pub name: String,
    /// In bytes.
    pub size: u64,
}

impl Symbols {
    pub(crate) fn read(program: &Path) -> Result<Symbols, MachineError> {
        let data = std::fs::read(program).map_err(|error| MachineError::files(program.display(), error))?;
        let file =
            object::File::parse(&*data).map_err(|error| MachineError::files(program.display(), error))?;
        let thumb = file.architecture() == object::Architecture::Arm;
        let mut symbols: Vec<Symbol> = file
            .symbols()
            .filter(|symbol| symbol.is_definition())
            .filter_map(|symbol| {
                // The lowest bit of a Thumb function's address says only that it is one.
                let address = if thumb { symbol.address() & !1 } else { symbol.address() };
                Some(Symbol { address, name: symbol.name().ok()?.to_string(), size: symbol.size() })
            })
            // Mapping symbols ($t, $d, ...) and local labels name no function.
            .filter(|symbol| !symbol.name.is_empty() && !symbol.name.starts_with(['$', '.']))
            .collect();
        symbols.sort();
        Ok(Symbols(symbols))
    }

    pub(crate) fn find(&self, name: &str) -> Result<&Symbol, MachineError> {
        let missing = || MachineError::Files(format!("the linked program has no symbol `{name}`"));
        self.0.iter().find(|symbol| symbol.name == name).ok_or_else(missing)
    }

    /// `function+0x12`: the last symbol at or before `address`.
    pub(crate) fn around(&self, address: u64) -> Option<String> {
        let symbol = self.0.iter().rev().find(|symbol| symbol.address <= address)?;
        Some(format!("{}+{:#x}", symbol.name, address - symbol.address))
    }
}
