//! Runs a generated x86-64 object in this process: a loader for relocatable ELF without writable data, and the threads
//! that its loops may run on.
//!
//! Needs neither LLVM nor a linker. The object may refer to nothing outside itself.

mod pool;

use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;

pub use pool::Pool;

use memmap2::{Mmap, MmapMut};
use object::{
    Architecture, File, Object as _, ObjectSection, ObjectSymbol, Relocation, RelocationKind,
    RelocationTarget, SectionFlags, SectionIndex, elf,
};

/// Why an object cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// Not a relocatable x86-64 ELF file.
    Format(String),
    /// A section that the program could write.
    Writable(String),
    /// A symbol that the object has not.
    Undefined(String),
    /// A kind of relocation that this loader does not know, or one whose value does not fit.
    Relocation(String),
    /// No memory to be had from the system.
    Memory(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Format(what) => write!(f, "not an x86-64 object: {what}"),
            LoadError::Writable(name) => write!(f, "section `{name}` is writable"),
            LoadError::Undefined(name) => write!(f, "symbol `{name}` is not defined in the object"),
            LoadError::Relocation(what) => write!(f, "relocation {what}"),
            LoadError::Memory(what) => write!(f, "mapping memory: {what}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// A loaded object: read-only, executable memory and the addresses of its symbols.
pub struct Library {
    memory: Mmap,
    symbols: HashMap<String, usize>,
}

/// `int32_t <name>_run(const <name>_inputs *in, const <name>_outputs *out, void *arena)`.
pub type Run = unsafe extern "C" fn(*const *const u8, *const *mut u8, *mut u8) -> i32;
/// `int32_t <name>_run_threads(in, out, arena, const struct onnxc_threads *threads)`.
pub type RunThreads = unsafe extern "C" fn(*const *const u8, *const *mut u8, *mut u8, *const Threads) -> i32;

/// `struct onnxc_threads` of `runtime/include/onnxc_threads.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Threads {
    pub parallel_for: unsafe extern "C" fn(pool: *mut c_void, body: Body, context: *mut c_void, count: i32),
    pub pool: *mut c_void,
}

/// A function of a library that makes a run, or a step of one: on one thread, or with its loops on several.
#[derive(Clone, Copy)]
pub enum Entry {
    Alone(Run),
    OnThreads(RunThreads),
}

impl Entry {
    /// Calls it; 0 is success.
    ///
    /// # Safety
    /// As for [`Library::run`] and [`Library::run_threads`], whose library must still be there; a function on threads must
    /// be given some.
    pub unsafe fn enter(
        self,
        inputs: *const *const u8,
        outputs: *const *mut u8,
        arena: *mut u8,
        threads: Option<&Threads>,
    ) -> i32 {
        let threads = threads.map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the caller vouches for the library, the memory and the threads.
        unsafe {
            match self {
                Entry::Alone(run) => run(inputs, outputs, arena),
                Entry::OnThreads(run) => run(inputs, outputs, arena, threads),
            }
        }
    }
}

/// A part of a parallel loop: iterations `first..last`.
pub type Body = unsafe extern "C" fn(context: *mut c_void, first: i32, last: i32);

impl Library {
    pub fn load(object: &[u8]) -> Result<Library, LoadError> {
        let file = File::parse(object).map_err(|e| LoadError::Format(e.to_string()))?;
        if file.architecture() != Architecture::X86_64 || file.kind() != object::ObjectKind::Relocatable {
            return Err(LoadError::Format(format!("{:?}, {:?}", file.architecture(), file.kind())));
        }
        let (places, size) = lay_out(&file)?;
        let mut memory = MmapMut::map_anon(size.max(1)).map_err(|e| LoadError::Memory(e.to_string()))?;
        for (index, &at) in &places {
            let section = file.section_by_index(*index).map_err(|e| LoadError::Format(e.to_string()))?;
            let data = section.data().map_err(|e| LoadError::Format(e.to_string()))?;
            memory[at..at + data.len()].copy_from_slice(data);
        }
        let image = Image { file: &file, places: &places, base: memory.as_ptr() as usize };
        for (index, &at) in &places {
            let section = file.section_by_index(*index).map_err(|e| LoadError::Format(e.to_string()))?;
            for (offset, relocation) in section.relocations() {
                image.relocate(&mut memory, at + offset as usize, &relocation)?;
            }
        }
        let defined = file.symbols().filter(|symbol| symbol.is_definition());
        let symbols =
            defined.filter_map(|symbol| Some((symbol.name().ok()?.to_string(), image.offset(&symbol)?)));
        let symbols = symbols.collect();
        let memory = memory.make_exec().map_err(|e| LoadError::Memory(e.to_string()))?;
        Ok(Library { memory, symbols })
    }

    /// The address of a symbol, local or not.
    pub fn symbol(&self, name: &str) -> Result<*const u8, LoadError> {
        let offset = self.symbols.get(name).ok_or_else(|| LoadError::Undefined(name.to_string()))?;
        Ok(self.memory[*offset..].as_ptr())
    }

    /// A function of the type of `<name>_run`, to be called often.
    ///
    /// # Safety
    /// `name` must be a function of that type; it must not be called after the library is dropped.
    pub unsafe fn function(&self, name: &str) -> Result<Run, LoadError> {
        let address = self.symbol(name)?;
        // SAFETY: the caller vouches for the signature.
        Ok(unsafe { std::mem::transmute::<*const u8, Run>(address) })
    }

    /// `<name>_run` or `<name>_step<k>`; the one on `threads` if they are wanted and the library has it.
    ///
    /// # Safety
    /// As for [`Library::function`].
    pub unsafe fn entry(&self, name: &str, threads: bool) -> Result<Entry, LoadError> {
        // SAFETY: the caller vouches for the signatures.
        unsafe {
            match self.function_on_threads(&format!("{name}_threads")) {
                Ok(run) if threads => Ok(Entry::OnThreads(run)),
                _ => self.function(name).map(Entry::Alone),
            }
        }
    }

    /// A function of the type of `<name>_run_threads`, to be called often.
    ///
    /// # Safety
    /// As for [`Library::function`].
    unsafe fn function_on_threads(&self, name: &str) -> Result<RunThreads, LoadError> {
        let address = self.symbol(name)?;
        // SAFETY: the caller vouches for the signature.
        Ok(unsafe { std::mem::transmute::<*const u8, RunThreads>(address) })
    }

    /// Calls `<name>_run`; 0 is success.
    ///
    /// # Safety
    /// The object must have been made by this compiler for a CPU like this one, under `name`; inputs, outputs and arena
    /// must be as large and as aligned as its header says.
    pub unsafe fn run(
        &self,
        name: &str,
        inputs: &[*const u8],
        outputs: &[*mut u8],
        arena: *mut u8,
    ) -> Result<i32, LoadError> {
        // SAFETY: every object of this compiler has that function.
        let run = unsafe { self.function(&format!("{name}_run"))? };
        // SAFETY: the caller vouches for the memory.
        Ok(unsafe { run(inputs.as_ptr(), outputs.as_ptr(), arena) })
    }

    /// Calls `<name>_run_threads`, whose parallel loops run through `threads`.
    ///
    /// # Safety
    /// As for [`Library::run`]; `threads.parallel_for` must cover `0..count` exactly once before it returns.
    pub unsafe fn run_threads(
        &self,
        name: &str,
        inputs: &[*const u8],
        outputs: &[*mut u8],
        arena: *mut u8,
        threads: &Threads,
    ) -> Result<i32, LoadError> {
        // SAFETY: an object with that name has it of that type.
        let run = unsafe { self.function_on_threads(&format!("{name}_run_threads"))? };
        // SAFETY: the caller vouches for the memory.
        Ok(unsafe { run(inputs.as_ptr(), outputs.as_ptr(), arena, threads) })
    }
}

/// Where each loaded section starts in the image, and the image's size.
fn lay_out(file: &File) -> Result<(HashMap<SectionIndex, usize>, usize), LoadError> {
    let mut places = HashMap::new();
    let mut end = 0usize;
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
        if !sh_flags.contains(elf::SHF_ALLOC) {
            continue;
        }
        if sh_flags.contains(elf::SHF_WRITE) && section.size() > 0 {
            return Err(LoadError::Writable(section.name().unwrap_or("?").to_string()));
        }
        // Pages bound what alignment can be had.
        let align = section.align().clamp(1, 4096) as usize;
        end = end.next_multiple_of(align);
        places.insert(section.index(), end);
        end += section.size() as usize;
    }
    Ok((places, end))
}

/// The sections at their final addresses.
struct Image<'f> {
    file: &'f File<'f>,
    places: &'f HashMap<SectionIndex, usize>,
    base: usize,
}

impl Image<'_> {
    /// Where a symbol lies in the image.
    fn offset<'d>(&self, symbol: &impl ObjectSymbol<'d>) -> Option<usize> {
        let section = self.places.get(&symbol.section_index()?)?;
        Some(section + symbol.address() as usize)
    }

    fn relocate(&self, memory: &mut [u8], at: usize, relocation: &Relocation) -> Result<(), LoadError> {
        let unknown = || LoadError::Relocation(format!("{relocation:?} is not supported"));
        let RelocationTarget::Symbol(index) = relocation.target() else { return Err(unknown()) };
        let symbol = self.file.symbol_by_index(index).map_err(|e| LoadError::Format(e.to_string()))?;
        let offset = self
            .offset(&symbol)
            .ok_or_else(|| LoadError::Undefined(symbol.name().unwrap_or("?").to_string()))?;
        let target = (self.base + offset) as i64 + relocation.addend();
        let value = match relocation.kind() {
            RelocationKind::Absolute => target,
            RelocationKind::Relative | RelocationKind::PltRelative => target - (self.base + at) as i64,
            _ => return Err(unknown()),
        };
        match relocation.size() {
            64 => memory[at..at + 8].copy_from_slice(&value.to_le_bytes()),
            32 => {
                let short = i32::try_from(value)
                    .map_err(|_| LoadError::Relocation(format!("of 32 bits cannot hold {value:#x}")))?;
                memory[at..at + 4].copy_from_slice(&short.to_le_bytes());
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }
}
