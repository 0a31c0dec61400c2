//! A static library of one object: GNU `ar`'s format with its symbol index, the same bytes for the same input.

use object::{Object as _, ObjectSymbol};

use crate::{CodegenError, Object};

/// `lib<name>.a`: its one member is `<name>.o`; the index names its global symbols.
pub fn archive(name: &str, object: &Object) -> Result<Vec<u8>, CodegenError> {
    let symbols = exported(&object.bytes)?;
    let table = Member::new("/", index(&symbols, 0).len());
    let long_name = format!("{name}.o/\n");
    // Names of more than 15 bytes lie in a member of their own.
    let short = name.len() + 3 <= 16;
    let member_name = if short { format!("{name}.o/") } else { "/0".to_string() };
    let names = Member::new("//", long_name.len());
    let names_bytes = if short { 0 } else { names.padded() };
    let offset = MAGIC.len() + table.padded() + names_bytes;

    let mut out = MAGIC.to_vec();
    table.write(&mut out, &index(&symbols, offset));
    if !short {
        names.write(&mut out, long_name.as_bytes());
    }
    Member::new(&member_name, object.bytes.len()).write(&mut out, &object.bytes);
    Ok(out)
}

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER_BYTES: usize = 60;

fn exported(object: &[u8]) -> Result<Vec<String>, CodegenError> {
    let file = object::File::parse(object)
        .map_err(|e| CodegenError::Internal(format!("reading the object: {e}")))?;
    let global = file.symbols().filter(|s| s.is_global() && s.is_definition());
    Ok(global.filter_map(|s| s.name().ok().map(str::to_string)).collect())
}

/// The symbol index: a count, the member's offset for each symbol (big-endian), the names.
fn index(symbols: &[String], member: usize) -> Vec<u8> {
    let mut out = (symbols.len() as u32).to_be_bytes().to_vec();
    symbols.iter().for_each(|_| out.extend((member as u32).to_be_bytes()));
    symbols.iter().for_each(|symbol| {
        out.extend(symbol.as_bytes());
        out.push(0);
    });
    out
}

struct Member<'n> {
    name: &'n str,
    bytes: usize,
}

impl<'n> Member<'n> {
    fn new(name: &'n str, bytes: usize) -> Member<'n> {
        Member { name, bytes }
    }

    /// Bytes in the archive: members start at even offsets.
    fn padded(&self) -> usize {
        HEADER_BYTES + self.bytes.next_multiple_of(2)
    }

    /// Header and content; no date, no owner.
    fn write(&self, out: &mut Vec<u8>, content: &[u8]) {
        let header = format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", self.name, 0, 0, 0, 644, self.bytes);
        out.extend(header.as_bytes());
        out.extend(content);
        if content.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_start_at_even_offsets_and_the_index_points_at_the_object() {
        for name in ["net", "a_name_of_more_than_fifteen_bytes"] {
            let bytes = include_bytes_of_an_object();
            let library = archive(
                name,
                &Object { bytes: bytes.clone(), code_bytes: 0, weights_bytes: 0, helpers: vec![] },
            )
            .unwrap();
            let file = object::read::archive::ArchiveFile::parse(&*library).unwrap();
            let members: Vec<_> = file.members().map(|m| m.unwrap()).collect();
            assert_eq!(members.len(), 1);
            assert_eq!(members[0].name(), format!("{name}.o").as_bytes());
            assert_eq!(members[0].data(&*library).unwrap(), bytes);
            let symbol = file.symbols().unwrap().unwrap().next().unwrap().unwrap();
            assert_eq!(symbol.name(), b"net_run");
            assert_eq!(file.member(symbol.offset()).unwrap().name(), members[0].name());
        }
    }

    fn include_bytes_of_an_object() -> Vec<u8> {
        use object::write::{Object, Symbol, SymbolSection};
        use object::{Architecture, BinaryFormat, Endianness, SymbolFlags, SymbolKind, SymbolScope};
        let mut object = Object::new(BinaryFormat::Elf, Architecture::Arm, Endianness::Little);
        let text = object.section_id(object::write::StandardSection::Text);
        object.append_section_data(text, &[0; 3], 1);
        object.add_symbol(Symbol {
            name: b"net_run".to_vec(),
            value: 0,
            size: 3,
            kind: SymbolKind::Text,
            scope: SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Section(text),
            flags: SymbolFlags::None,
        });
        object.write().unwrap()
    }
}
