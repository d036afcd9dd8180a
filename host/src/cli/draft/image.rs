//! A merged component as the core module that runs and what is around it.

use std::ops::Range;

use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder, utils};
use wasm_encoder::{
    ConstExpr, Encode as _, ExportKind, ExportSection, GlobalSection, Ieee32, Ieee64, MemorySection, Module,
    RawSection, ValType,
};
use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind, ComponentTypeRef, Parser, Payload,
};

use super::super::merge::{NotMerged, data, sections};
use crate::sandbox::{CoreExports, Loaded};

/// A page of WebAssembly's.
const PAGE: usize = 64 << 10;
/// The core modules' section in a component.
const CORE_MODULE: u8 = 1;

/// A merged component.
pub(super) struct Image {
    component: Vec<u8>,
    /// Where the core module is.
    place: Range<usize>,
    /// The core module, which exports the globals that change, too.
    pub module: Vec<u8>,
    pub exports: CoreExports,
}

impl Image {
    /// Reads a component as `merge` makes it.
    ///
    /// # Errors
    /// The part of its shape that is not as expected.
    pub fn of(component: Vec<u8>) -> Result<Self, NotMerged> {
        let (mut place, mut functions) = (None, Functions::default());
        for payload in sections(&component)? {
            match payload {
                Payload::ModuleSection { unchecked_range, .. } => place = place.or(Some(unchecked_range)),
                other => functions.take(other)?,
            }
        }
        let (decide, options) = functions.exported.ok_or(NotMerged::unknown("no function 'decide'"))?;
        let place = place.ok_or(NotMerged::unknown("no core module"))?;
        let [realloc, post_return] = [true, false].map(|is_realloc| {
            options.iter().find_map(|option| match option {
                CanonicalOption::Realloc(index) if is_realloc => Some(index.to_string()),
                CanonicalOption::PostReturn(index) if !is_realloc => Some(index.to_string()),
                _ => None,
            })
        });
        let realloc = realloc.ok_or(NotMerged::unknown("a function without room for what it is given"))?;
        let core = component.get(place.clone()).ok_or(NotMerged::unknown("a module that is cut off"))?;
        let (module, globals) = with_globals(core)?;
        // A function's index in a merged component is its name in the module.
        let exports =
            CoreExports { memory: "memory".to_owned(), realloc, decide: decide.to_string(), post_return, globals };
        Ok(Self { component, place, module, exports })
    }

    /// The component that starts as `loaded` was left.
    ///
    /// # Errors
    /// What can't be written.
    pub fn component(&self, loaded: Loaded) -> Result<Vec<u8>, NotMerged> {
        let module = restarted(&self.component[self.place.clone()], loaded)?;
        // Before the module are its section's number and length.
        let mut head = vec![CORE_MODULE];
        self.place.len().encode(&mut head);
        let before = self.component[..self.place.start].strip_suffix(&head[..]);
        let mut component = before.ok_or(NotMerged::unknown("a section with a longer head"))?.to_vec();
        component.push(CORE_MODULE);
        module.len().encode(&mut component);
        component.extend(module);
        component.extend_from_slice(&self.component[self.place.end..]);
        Ok(component)
    }
}

/// A lifted core function's index, and how its values cross.
type Lifted = (u32, Box<[CanonicalOption]>);

/// The functions of a component by their indices; those that are lifted, and the one that is exported as `decide`.
#[derive(Default)]
struct Functions {
    lifted: Vec<Option<Lifted>>,
    exported: Option<Lifted>,
}

impl Functions {
    fn take(&mut self, payload: Payload<'_>) -> Result<(), NotMerged> {
        match payload {
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    if matches!(import?.ty, ComponentTypeRef::Func(_)) {
                        self.lifted.push(None);
                    }
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases {
                    if let ComponentAlias::InstanceExport { kind: ComponentExternalKind::Func, .. } = alias? {
                        self.lifted.push(None);
                    }
                }
            }
            Payload::ComponentCanonicalSection(functions) => {
                for function in functions {
                    if let CanonicalFunction::Lift { core_func_index, options, .. } = function? {
                        self.lifted.push(Some((core_func_index, options)));
                    }
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Func {
                        let function = self.lifted.get(export.index as usize).cloned().flatten();
                        if export.name.name == "decide" {
                            self.exported.clone_from(&function);
                        }
                        // An export is one more function.
                        self.lifted.push(function);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The core module with its changing globals exported, and their names.
fn with_globals(core: &[u8]) -> Result<(Vec<u8>, Vec<String>), NotMerged> {
    let (mut module, mut names, mut indices) = (Module::new(), Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(core) {
        let payload = payload?;
        if let Payload::GlobalSection(globals) = &payload {
            for (index, global) in (0_u32..).zip(globals.clone()) {
                if global?.ty.mutable {
                    indices.push(index);
                }
            }
        }
        if let Payload::ExportSection(exports) = payload {
            let mut section = ExportSection::new();
            RoundtripReencoder.parse_export_section(&mut section, exports).map_err(odd)?;
            for index in &indices {
                let name = format!("global {index}");
                section.export(&name, ExportKind::Global, *index);
                names.push(name);
            }
            module.section(&section);
        } else if let Some((id, range)) = payload.as_section() {
            module.section(&RawSection { id, data: &core[range] });
        }
    }
    Ok((module.finish(), names))
}

/// The core module with this memory, and these values of the globals that change.
fn restarted(core: &[u8], loaded: Loaded) -> Result<Vec<u8>, NotMerged> {
    let mut module = Module::new();
    let mut values = loaded.globals.into_iter();
    let pages = (loaded.memory.len() / PAGE) as u64;
    let mut memory = Some(loaded.memory);
    for payload in Parser::new(0).parse_all(core) {
        let payload = payload?;
        match &payload {
            Payload::MemorySection(memories) => {
                let mut section = MemorySection::new();
                for memory in memories.clone() {
                    let given = utils::memory_type(&mut RoundtripReencoder, memory?);
                    section.memory(wasm_encoder::MemoryType { minimum: pages, ..given });
                }
                module.section(&section);
            }
            Payload::GlobalSection(globals) => {
                let mut section = GlobalSection::new();
                for global in globals.clone() {
                    let global = global?;
                    let ty = utils::global_type(&mut RoundtripReencoder, global.ty).map_err(odd)?;
                    let value =
                        if ty.mutable { values.next().and_then(|bits| number(ty.val_type, bits)) } else { None };
                    match value {
                        Some(value) => drop(section.global(ty, &value)),
                        None => RoundtripReencoder.parse_global(&mut section, global).map_err(odd)?,
                    }
                }
                module.section(&section);
            }
            Payload::DataSection(_) => drop(module.section(&data(memory.take().unwrap_or_default()))),
            other => {
                if let Some((id, range)) = other.as_section() {
                    module.section(&RawSection { id, data: &core[range] });
                }
            }
        }
    }
    Ok(module.finish())
}

fn number(of: ValType, bits: u64) -> Option<ConstExpr> {
    match of {
        ValType::I32 => Some(ConstExpr::i32_const(bits as u32 as i32)),
        ValType::I64 => Some(ConstExpr::i64_const(bits as i64)),
        ValType::F32 => Some(ConstExpr::f32_const(Ieee32::new(bits as u32))),
        ValType::F64 => Some(ConstExpr::f64_const(Ieee64::new(bits))),
        _ => None,
    }
}

fn odd<E: std::fmt::Display>(error: E) -> NotMerged {
    NotMerged::unknown(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with globals of each kind, of which three change.
    const MODULE: &str = r#"(module
        (memory (export "memory") 1 9)
        (global $fixed i32 (i32.const 5))
        (global $small (mut i32) (i32.const 0))
        (global $large (mut i64) (i64.const 0))
        (global $real (mut f64) (f64.const 0))
        (func (export "0") (result i32)
            (i32.add (global.get $fixed) (i32.add (global.get $small) (i32.load (i32.const 70000)))))
        (data (i32.const 8) "before"))"#;

    #[test]
    fn a_module_starts_with_the_memory_and_the_globals_that_were_left() {
        let core = wat::parse_str(MODULE).expect("a module");
        let (exporting, names) = with_globals(&core).expect("reads");
        assert_eq!(names, ["global 1", "global 2", "global 3"]);
        wasmparser::Validator::new().validate_all(&exporting).expect("is valid");
        let mut memory = vec![0; 2 * PAGE];
        memory[70_000..70_004].copy_from_slice(&30_u32.to_le_bytes());
        let globals = vec![u64::from(-2_i32 as u32), u64::MAX, 0.5_f64.to_bits()];
        let restarted = restarted(&core, Loaded { memory, globals }).expect("writes");
        let (mut pages, mut values, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
        let first = |expression: &wasmparser::ConstExpr<'_>| {
            format!("{:?}", expression.get_operators_reader().read().expect("a number"))
        };
        for payload in Parser::new(0).parse_all(&restarted) {
            match payload.expect("is whole") {
                Payload::MemorySection(all) => pages.extend(all.into_iter().map(|m| m.map(|m| (m.initial, m.maximum)))),
                Payload::GlobalSection(all) => {
                    values.extend(all.into_iter().map(|global| first(&global.expect("a global").init_expr)));
                }
                Payload::DataSection(all) => {
                    for piece in all {
                        let piece = piece.expect("a piece");
                        let wasmparser::DataKind::Active { offset_expr, .. } = &piece.kind else { panic!("is active") };
                        pieces.push((first(offset_expr), piece.data.to_vec()));
                    }
                }
                _ => {}
            }
        }
        assert_eq!(pages.into_iter().collect::<Result<Vec<_>, _>>().expect("memories"), [(2, Some(9))]);
        let half = format!("F64Const {{ value: Ieee64({}) }}", 0.5_f64.to_bits());
        assert_eq!(values, ["I32Const { value: 5 }", "I32Const { value: -2 }", "I64Const { value: -1 }", &half]);
        assert_eq!(pieces, [("I32Const { value: 70000 }".to_owned(), vec![30])], "what was there before is gone");
    }
}
