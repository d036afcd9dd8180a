//! Drafts of one interpreter share its machine code, which takes longer to make than all else that a save waits for.
//!
//! A draft's core module has the interpreter's code and a memory of its own. Where the code is that of the draft that
//! was linked before, it is not compiled again: the component is given the earlier core module as an import, and a
//! module of data alone writes what differs into its memory. An instance begins with the same bytes as without this.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use serin_core::limits::Limits;
use serin_core::manifest::DRAFT_SECTION;
use wasm_encoder::reencode::{RoundtripReencoder, utils};
use wasm_encoder::{
    Component as Encoder, ComponentImportSection, ComponentTypeRef, ConstExpr, CoreTypeSection, DataSection,
    EntityType, ImportSection, InstanceSection, Module as Encoded, ModuleArg, ModuleSection, ModuleType, RawSection,
};
use wasmparser::{BinaryReader, DataKind, ExternalKind, FuncType, MemoryType, Operator, Parser, Payload, TableType};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// The name under which the core module is imported.
pub(super) const INTERPRETER: &str = "interpreter";

/// Sections of a component by their numbers.
const CUSTOM: u8 = 0;
const CORE_MODULE: u8 = 1;
const CORE_INSTANCE: u8 = 2;
const CORE_TYPE: u8 = 3;
/// The data's section in a core module.
const DATA: u8 = 11;
/// A page of WebAssembly's.
const PAGE: usize = 64 << 10;
/// Memory is compared in blocks of so many bytes, and blocks that are not further apart than this are written at once.
const BLOCK: usize = 64;
const APART: usize = 4;

/// The interpreter of the draft that was linked last.
#[derive(Default)]
pub(super) struct LastInterpreter(Mutex<Option<Arc<Interpreter>>>);

struct Interpreter {
    /// All of the core module but its data.
    code: Vec<u8>,
    memory: Vec<u8>,
    module: Module,
}

/// A draft that is compiled.
pub(super) struct Drafted {
    /// Imports its core module as [`INTERPRETER`].
    pub component: Component,
    pub interpreter: Module,
}

impl LastInterpreter {
    /// Compiles a draft, and its core module by `compile` where that is needed; none of another component, and of one
    /// in another shape.
    ///
    /// # Errors
    /// What wasmtime says.
    pub fn compile(
        &self,
        engine: &Engine,
        component: &[u8],
        compile: impl FnOnce(&[u8]) -> wasmtime::Result<Module>,
    ) -> wasmtime::Result<Option<Drafted>> {
        let Some(draft) = sections(component).and_then(|sections| Draft::of(component, sections)) else {
            return Ok(None);
        };
        let last = self.0.lock().clone();
        let interpreter = match last.filter(|last| last.code == draft.core.code) {
            Some(last) => last,
            None => {
                let module = compile(&component[draft.module.clone()])?;
                let Core { code, memory, .. } = &draft.core;
                let new = Arc::new(Interpreter { code: code.clone(), memory: memory.clone(), module });
                *self.0.lock() = Some(Arc::clone(&new));
                new
            }
        };
        let thin = draft.thin(component, &interpreter.memory);
        let component = Component::new(engine, thin)?;
        Ok(Some(Drafted { component, interpreter: interpreter.module.clone() }))
    }
}

/// A component's own sections: their numbers, and where their content is. None where it is cut off.
fn sections(component: &[u8]) -> Option<Vec<(u8, Range<usize>)>> {
    let mut reader = BinaryReader::new(component, 0);
    reader.read_bytes(8).ok()?;
    let mut found = Vec::new();
    while !reader.eof() {
        let (id, length) = (reader.read_u8().ok()?, reader.read_var_u32().ok()? as usize);
        let start = reader.original_position();
        reader.read_bytes(length).ok()?;
        found.push((id, start..start + length));
    }
    Some(found)
}

/// A draft as it is read.
struct Draft {
    sections: Vec<(u8, Range<usize>)>,
    /// Where the interpreter's core module is.
    module: Range<usize>,
    core: Core,
}

impl Draft {
    fn of(component: &[u8], sections: Vec<(u8, Range<usize>)>) -> Option<Self> {
        let is_draft = sections.iter().filter(|(id, _)| *id == CUSTOM).any(|(_, range)| {
            BinaryReader::new(&component[range.clone()], 0).read_string().is_ok_and(|name| name == DRAFT_SECTION)
        });
        if !is_draft || sections.iter().any(|(id, _)| *id == CORE_TYPE) {
            return None;
        }
        let module = sections.iter().find(|(id, _)| *id == CORE_MODULE)?.1.clone();
        let core = Core::of(&component[module.clone()])?;
        Some(Self { sections, module, core })
    }

    /// The component with its core module imported, and with a module that writes what differs from `memory`.
    fn thin(&self, component: &[u8], memory: &[u8]) -> Vec<u8> {
        let mut thin = Encoder::new();
        let last = self.sections.iter().rposition(|(id, _)| *id == CORE_INSTANCE);
        let mut modules = 0;
        for (at, (id, range)) in self.sections.iter().enumerate() {
            if *range == self.module {
                let mut types = CoreTypeSection::new();
                types.ty().module(&self.core.of_type);
                let mut imports = ComponentImportSection::new();
                imports.import(INTERPRETER, ComponentTypeRef::Module(0));
                thin.section(&types).section(&imports);
            } else {
                thin.section(&RawSection { id: *id, data: &component[range.clone()] });
            }
            modules += u32::from(*id == CORE_MODULE);
            if Some(at) == last {
                thin.section(&ModuleSection(&self.core.difference(memory)));
                let mut instances = InstanceSection::new();
                // The first instance is the interpreter's.
                instances.instantiate(modules, [("", ModuleArg::Instance(0))]);
                thin.section(&instances);
            }
        }
        thin.finish()
    }
}

/// A core module without imports, whose data is written when it starts.
struct Core {
    code: Vec<u8>,
    memory: Vec<u8>,
    memory_type: wasm_encoder::MemoryType,
    memory_name: String,
    of_type: ModuleType,
}

impl Core {
    fn of(module: &[u8]) -> Option<Self> {
        let mut reading = Reading::default();
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload.ok()?;
            if let Some((id, range)) = payload.as_section()
                && id != DATA
                && id != CUSTOM
            {
                reading.code.push(id);
                reading.code.extend_from_slice(&module[range]);
            }
            reading.take(payload)?;
        }
        reading.core()
    }

    /// A module that writes what of this memory differs from another one of the same size.
    fn difference(&self, other: &[u8]) -> Encoded {
        let mut imports = ImportSection::new();
        imports.import("", &self.memory_name, EntityType::Memory(self.memory_type));
        let mut data = DataSection::new();
        let differs = |block: usize| {
            let range = block * BLOCK..(block + 1) * BLOCK;
            self.memory[range.clone()] != other[range]
        };
        let mut run: Option<Range<usize>> = None;
        for block in (0..self.memory.len() / BLOCK).filter(|block| differs(*block)) {
            match &mut run {
                Some(run) if block <= run.end + APART => run.end = block + 1,
                run => {
                    if let Some(before) = run.replace(block..block + 1) {
                        self.write(&mut data, &before);
                    }
                }
            }
        }
        if let Some(run) = run {
            self.write(&mut data, &run);
        }
        let mut module = Encoded::new();
        module.section(&imports).section(&data);
        module
    }

    fn write(&self, data: &mut DataSection, blocks: &Range<usize>) {
        let bytes = &self.memory[blocks.start * BLOCK..blocks.end * BLOCK];
        let start = (blocks.start * BLOCK) as u32 as i32;
        data.active(0, &ConstExpr::i32_const(start), bytes.iter().copied());
    }
}

#[derive(Default)]
struct Reading {
    code: Vec<u8>,
    types: Vec<FuncType>,
    functions: Vec<u32>,
    tables: Vec<TableType>,
    memories: Vec<MemoryType>,
    exports: Vec<(String, ExternalKind, u32)>,
    memory: Vec<u8>,
}

impl Reading {
    fn take(&mut self, payload: Payload<'_>) -> Option<()> {
        match payload {
            Payload::ImportSection(_) | Payload::StartSection { .. } => return None,
            Payload::TypeSection(types) => {
                for ty in types.into_iter_err_on_gc_types() {
                    self.types.push(ty.ok()?);
                }
            }
            Payload::FunctionSection(functions) => {
                self.functions = functions.into_iter().collect::<Result<_, _>>().ok()?
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    self.tables.push(table.ok()?.ty);
                }
            }
            Payload::MemorySection(memories) => {
                self.memories = memories.into_iter().collect::<Result<_, _>>().ok()?;
                let pages = usize::try_from(self.memories.first()?.initial).ok()?;
                let size = pages.checked_mul(PAGE).filter(|size| *size as u64 <= Limits::MOST.memory_bytes)?;
                self.memory = vec![0; size];
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export.ok()?;
                    self.exports.push((export.name.to_owned(), export.kind, export.index));
                }
            }
            Payload::DataSection(pieces) => {
                for piece in pieces {
                    let piece = piece.ok()?;
                    let DataKind::Active { memory_index: 0, offset_expr } = piece.kind else { return None };
                    let Ok(Operator::I32Const { value }) = offset_expr.get_operators_reader().read() else {
                        return None;
                    };
                    let start = value as u32 as usize;
                    self.memory.get_mut(start..start.checked_add(piece.data.len())?)?.copy_from_slice(piece.data);
                }
            }
            _ => {}
        }
        Some(())
    }

    fn core(self) -> Option<Core> {
        let mut of_type = ModuleType::new();
        let mut memory_name = None;
        let [memory] = self.memories[..] else { return None };
        let memory_type = utils::memory_type(&mut RoundtripReencoder, memory);
        for (name, kind, index) in self.exports {
            let index = index as usize;
            let entity = match kind {
                ExternalKind::Func => {
                    let ty = self.types.get(*self.functions.get(index)? as usize)?;
                    let value = |ty: &wasmparser::ValType| utils::val_type(&mut RoundtripReencoder, *ty).ok();
                    let params = ty.params().iter().map(value).collect::<Option<Vec<_>>>()?;
                    let results = ty.results().iter().map(value).collect::<Option<Vec<_>>>()?;
                    let number = of_type.type_count();
                    of_type.ty().function(params, results);
                    EntityType::Function(number)
                }
                ExternalKind::Table => {
                    EntityType::Table(utils::table_type(&mut RoundtripReencoder, *self.tables.get(index)?).ok()?)
                }
                ExternalKind::Memory => {
                    memory_name = Some(name.clone());
                    EntityType::Memory(memory_type)
                }
                _ => return None,
            };
            of_type.export(&name, entity);
        }
        Some(Core { code: self.code, memory: self.memory, memory_type, memory_name: memory_name?, of_type })
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::component::Linker;

    use super::*;

    /// A draft whose function adds `added` to the number that is in its memory.
    fn draft(added: u32, number: u32) -> Vec<u8> {
        let bytes: String = number.to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect();
        let text = format!(
            r#"(component
                (core module $m
                    (memory (export "memory") 2)
                    (func (export "0") (result i32) (i32.add (i32.const {added}) (i32.load (i32.const 70000))))
                    (data (i32.const 70000) "{bytes}"))
                (core instance $i (instantiate $m))
                (func (export "read") (result u32) (canon lift (core func $i "0")))
                (@custom "{DRAFT_SECTION}" ""))"#
        );
        wat::parse_str(text).expect("a component")
    }

    fn engine() -> Engine {
        Engine::new(wasmtime::Config::new().wasm_component_model(true)).expect("an engine")
    }

    fn read(engine: &Engine, last: &LastInterpreter, draft: &[u8]) -> u32 {
        let drafted = last.compile(engine, draft, |module| Module::new(engine, module));
        let drafted = drafted.expect("compiles").expect("is a draft");
        let mut linker: Linker<()> = Linker::new(engine);
        linker.root().module(INTERPRETER, &drafted.interpreter).expect("defines it");
        let mut store = wasmtime::Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &drafted.component).expect("starts");
        let function = instance.get_typed_func::<(), (u32,)>(&mut store, "read").expect("is exported");
        function.call(&mut store, ()).expect("answers").0
    }

    #[test]
    fn drafts_with_the_same_code_share_it_and_have_memories_of_their_own() {
        let (engine, last) = (engine(), LastInterpreter::default());
        let kept = || last.0.lock().clone().expect("is kept");
        assert_eq!(read(&engine, &last, &draft(10, 7)), 17);
        let first = kept();
        // Also where a number is gone, and where it is the first one's again.
        for number in [8, 0, 7, u32::MAX - 10] {
            assert_eq!(read(&engine, &last, &draft(10, number)), number.wrapping_add(10));
            assert!(Arc::ptr_eq(&first, &kept()));
        }
        assert_eq!(read(&engine, &last, &draft(20, 7)), 27);
        assert!(!Arc::ptr_eq(&first, &kept()), "other code");
    }

    #[test]
    fn what_is_no_draft_and_what_is_cut_off_is_compiled_as_a_whole() {
        let (engine, last) = (engine(), LastInterpreter::default());
        let whole = draft(10, 7);
        let other = wat::parse_str("(component (core module (memory 1)))").expect("a component");
        for bytes in [&other[..], &whole[..whole.len() - 1], &[], b"\0asm"] {
            let drafted = last.compile(&engine, bytes, |_| panic!("compiles nothing"));
            assert!(drafted.expect("says nothing").is_none());
        }
    }
}
