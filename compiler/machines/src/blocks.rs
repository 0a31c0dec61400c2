//! What an inference executed: the plugin's blocks, put together to runs of instructions.
//!
//! QEMU's blocks end where it suits QEMU: at branches, but also at pages, at a number of instructions, behind `vsetvli`;
//! and one that is entered from above holds the first round of a loop beside what leads to it. Neighbours that are
//! executed equally often are one run, whatever QEMU made of them; a loop's body is one of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// Bytes of an instruction, as they lie in memory.
pub(crate) type Instruction = Rc<[u8]>;

/// Instructions that lie and are executed one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub instructions: Vec<Instruction>,
    pub vector_type: Option<VectorType>,
}

/// RISC-V's `vtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VectorType(pub u16);

/// How often each run was executed, in the order of their addresses.
pub(crate) type Counted = Vec<(Run, u64)>;

/// A block that QEMU translated.
struct Block {
    address: u64,
    /// Before its first instruction.
    vector_type: Option<VectorType>,
    instructions: Vec<Instruction>,
}

/// Of the last inference: what came before its first kernel, then each call of a kernel to the next. `None` if `text`
/// is not what the plugin writes, or has no inference. `thumb`: the instructions are Thumb's.
pub(crate) fn read(text: &str, thumb: bool) -> Option<Vec<Counted>> {
    let mut blocks: HashMap<u64, Block> = HashMap::new();
    let (mut parts, mut last) = (Vec::<Vec<(u64, u64)>>::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split(' ');
        match words.next()? {
            "begin" => parts = vec![vec![]],
            "end" => last = std::mem::take(&mut parts),
            "call" => parts.push(vec![]),
            "block" => {
                let number = words.next()?.parse().ok()?;
                blocks.insert(number, Block::read(words, thumb)?);
            }
            "count" => {
                let (block, times) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                parts.last_mut()?.push((block, times));
            }
            _ => return None,
        }
    }
    let runs_of = |part: &Vec<(u64, u64)>| -> Option<Counted> {
        let counts = part.iter().map(|(number, times)| Some((blocks.get(number)?, *times)));
        Some(runs(&counts.collect::<Option<Vec<_>>>()?))
    };
    if last.is_empty() { None } else { last.iter().map(runs_of).collect() }
}

impl Block {
    fn read<'t>(mut words: impl Iterator<Item = &'t str>, thumb: bool) -> Option<Block> {
        let address = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
        let vector_type = match words.next()? {
            "-" => None,
            number => Some(VectorType(number.parse().ok()?)),
        };
        let instruction =
            |digits| bytes(digits).map(|bytes| if thumb { one_of_thumb(&bytes) } else { bytes });
        let instructions = words.map(instruction).collect::<Option<_>>()?;
        Some(Block { address, vector_type, instructions })
    }
}

/// From hexadecimal digits.
fn bytes(digits: &str) -> Option<Instruction> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Rc<[u8]> = digits.as_bytes().chunks(2).map(byte).collect::<Option<_>>()?;
    (!bytes.is_empty() && digits.len() == 2 * bytes.len()).then_some(bytes)
}

/// Without what QEMU took along: at the end of a page it looks at the halfword behind an instruction.
fn one_of_thumb(bytes: &Instruction) -> Instruction {
    let is_long = bytes.get(1).is_some_and(|byte| byte >> 3 >= 0b11101);
    bytes.iter().take(if is_long { 4 } else { 2 }).copied().collect()
}

/// Where an instruction lies, and the vtype that it meets there.
type Place = (u64, Option<VectorType>);

fn after((address, vector_type): Place, instruction: &[u8]) -> Place {
    let vector_type = match configured(instruction) {
        // Only RISC-V has a type to change.
        Some(new) if vector_type.is_some() => Some(new),
        _ => vector_type,
    };
    (address.saturating_add(instruction.len() as u64), vector_type)
}

/// What RISC-V's `vsetvli` and `vsetivli` say.
fn configured(instruction: &[u8]) -> Option<VectorType> {
    let word = u32::from_le_bytes(instruction.try_into().ok()?);
    let bits = match (word & 0x7f, word >> 12 & 7, word >> 30) {
        (0x57, 7, 0 | 1) => 11,
        (0x57, 7, 3) => 10,
        _ => return None,
    };
    Some(VectorType((word >> 20 & ((1 << bits) - 1)) as u16))
}

fn runs(counts: &[(&Block, u64)]) -> Counted {
    let mut executed: BTreeMap<Place, (&Instruction, u64)> = BTreeMap::new();
    for (block, times) in counts {
        let mut place = (block.address, block.vector_type);
        for instruction in &block.instructions {
            let (_, count) = executed.entry(place).or_insert((instruction, 0));
            *count = count.saturating_add(*times);
            place = after(place, instruction);
        }
    }
    let mut taken: BTreeSet<Place> = BTreeSet::new();
    let mut runs = Vec::new();
    // A run's first instruction has its least address.
    for (&first, &(_, times)) in &executed {
        let (mut place, mut instructions) = (first, Vec::new());
        while let Some(&(instruction, _)) = executed.get(&place).filter(|(_, count)| *count == times) {
            if !taken.insert(place) {
                break;
            }
            instructions.push(Rc::clone(instruction));
            place = after(place, instruction);
        }
        if !instructions.is_empty() {
            runs.push((Run { instructions, vector_type: first.1 }, times));
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Instructions as hexadecimal words, and how often they ran.
    fn told(counted: &Counted) -> Vec<(String, u64)> {
        let hexadecimal = |instruction: &Instruction| {
            instruction.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let words = |run: &Run| run.instructions.iter().map(hexadecimal).collect::<Vec<_>>().join(" ");
        counted.iter().map(|(run, times)| (words(run), *times)).collect()
    }

    #[test]
    fn a_loop_is_a_run_apart_from_what_leads_to_it_and_follows() {
        // The first block runs into the loop at 0x104; a page ends at 0x108, within the loop.
        let text = "begin\nblock 0 0x100 - aaaa0000 bbbb0000\nblock 1 0x104 - bbbb0000\nblock 2 0x108 - cccc0000\n\
                    block 3 0x10c - dddd0000\ncount 3 1\ncount 2 10\ncount 1 9\ncount 0 1\nend\n";
        let parts = read(text, false).unwrap();
        let expected = [("aaaa0000", 1), ("bbbb0000 cccc0000", 10), ("dddd0000", 1)];
        assert_eq!(told(&parts[0]), expected.map(|(words, times)| (words.to_owned(), times)));
    }

    #[test]
    fn the_last_inference_counts_call_by_call() {
        let text = "begin\nblock 7 0x0 - aa\ncount 7 5\ncall\nend\nbegin\ncount 7 1\ncall\ncall\ncount 7 3\nend\n\
                    begin\ncall\ncount 7 9\n";
        let parts = read(text, false).unwrap();
        assert_eq!(
            parts.iter().map(told).collect::<Vec<_>>(),
            [vec![("aa".to_owned(), 1)], vec![], vec![("aa".to_owned(), 3)]]
        );
    }

    #[test]
    fn a_vsetvli_changes_the_type_of_what_follows_it() {
        // vsetivli zero, 8, e32, m1, after which QEMU begins another block.
        let text = "begin\nblock 0 0x0 194 577004cd\nblock 1 0x4 208 13000000\ncount 0 2\ncount 1 2\nend\n";
        let parts = read(text, false).unwrap();
        assert_eq!(told(&parts[0]), [("577004cd 13000000".to_owned(), 2)]);
        assert_eq!(parts[0][0].0.vector_type, Some(VectorType(194)));
        // Under two types one instruction is two.
        let text = "begin\nblock 0 0x0 194 13000000\nblock 1 0x0 208 13000000\ncount 0 2\ncount 1 2\nend\n";
        assert_eq!(read(text, false).unwrap()[0].len(), 2);
    }

    #[test]
    fn a_halfword_behind_a_thumb_instruction_is_not_its_own() {
        let text =
            "begin\nblock 0 0x3fa - 1446 40f2c0051446\nblock 1 0x400 - 0068\ncount 0 1\ncount 1 1\nend\n";
        assert_eq!(told(&read(text, true).unwrap()[0]), [("1446 40f2c005 0068".to_owned(), 1)]);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "count 0 1\n",
            "begin\ncount 0 1\n",
            "begin\nblock 0 12 - aa\nend\n",
            "begin\nblock 0 0x0 - a\nend\n",
            "begin\nblock 0 0x0 - \u{e9}a\nend\n",
            "begin\nblock 0 0x0 - 1\u{e9}\nend\n",
            "begin\nblock 0 0x0 x aa\nend\n",
            "begin\nfoo\nend\n",
            "begin\n\nend\n",
            "begin\n",
            "begin\ncount 0 1\nend\n",
        ] {
            assert!(read(text, false).is_none(), "{text:?}");
        }
    }
}
