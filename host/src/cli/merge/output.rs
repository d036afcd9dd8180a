//! The component around the merged module: as it was, but for its core modules and their instances.

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, Component, ComponentAliasSection, ExportKind, InstanceSection,
    ModuleArg, ModuleSection, RawSection,
};
use wasmparser::{CanonicalFunction, CanonicalOption as Given, ComponentAlias, Payload};

use super::component::sections;
use super::encode::{HOSTS, MEMORY, Merged, binding};
use super::not_merged::NotMerged;
use super::symbols::{Function, Symbols};

/// The functions that the component itself names: what it lifts, and what reading and writing
/// values needs. In their order, each once.
///
/// # Errors
/// What the linker does not know.
pub(super) fn roots(symbols: &Symbols<'_, '_>) -> Result<Vec<Function>, NotMerged> {
    let mut roots = Vec::new();
    for function in symbols.part.lifted.iter().chain(&symbols.part.lowered) {
        let (lifted, options) = match function {
            CanonicalFunction::Lift { core_func_index, options, .. } => (Some(*core_func_index), options),
            CanonicalFunction::Lower { options, .. } => (None, options),
            _ => continue,
        };
        let named = options.iter().filter_map(|option| match option {
            Given::Realloc(index) | Given::PostReturn(index) => Some(*index),
            _ => None,
        });
        for index in lifted.into_iter().chain(named) {
            let function = symbols.function(index)?;
            if !roots.contains(&function) {
                roots.push(function);
            }
        }
    }
    Ok(roots)
}

/// The component with the merged module in the place of all others.
///
/// # Errors
/// What the linker does not know.
pub(super) fn component(original: &[u8], symbols: &Symbols<'_, '_>, merged: &Merged) -> Result<Vec<u8>, NotMerged> {
    let sections = sections(original)?;
    // Until here, nothing needs an instance.
    let last = sections.iter().rposition(|payload| matches!(payload, Payload::InstanceSection(_)));
    let roots = roots(symbols)?;
    let mut writer = Writer { component: Component::new(), symbols, roots, lowered: merged.hosts.len() as u32 };
    for (at, payload) in sections.iter().enumerate() {
        match payload {
            Payload::ModuleSection { .. } | Payload::InstanceSection(_) => {}
            Payload::ComponentAliasSection(aliases) => {
                let aliases = aliases.clone().into_iter().collect::<Result<Vec<_>, _>>()?;
                writer.aliases(&aliases);
            }
            Payload::ComponentCanonicalSection(functions) => {
                let functions = functions.clone().into_iter().collect::<Result<Vec<_>, _>>()?;
                writer.lifts(&functions)?;
            }
            // Names of what is not there any more, by its index.
            Payload::CustomSection(section) if section.name() == "component-name" => {}
            other => {
                if let Some((id, range)) = other.as_section() {
                    let data = original.get(range).ok_or(NotMerged::unknown("a section that is cut off"))?;
                    writer.component.section(&RawSection { id, data });
                }
            }
        }
        if Some(at) == last {
            writer.core(merged)?;
        }
    }
    Ok(writer.component.finish())
}

struct Writer<'w, 'p, 'a> {
    component: Component,
    symbols: &'w Symbols<'p, 'a>,
    roots: Vec<Function>,
    lowered: u32,
}

impl Writer<'_, '_, '_> {
    /// The aliases of component instances; those of core instances are resolved.
    fn aliases(&mut self, aliases: &[ComponentAlias<'_>]) {
        let mut section = ComponentAliasSection::new();
        for alias in aliases {
            match *alias {
                ComponentAlias::InstanceExport { kind, instance_index, name } => {
                    section.alias(Alias::InstanceExport { instance: instance_index, kind: kind.into(), name });
                }
                ComponentAlias::Outer { kind, count, index } => {
                    section.alias(Alias::Outer { kind: kind.into(), count, index });
                }
                ComponentAlias::CoreInstanceExport { .. } => {}
            }
        }
        if !section.is_empty() {
            self.component.section(&section);
        }
    }

    /// The merged module and its instance; then the host's functions, which need its memory, and the
    /// module that puts them into its table.
    fn core(&mut self, merged: &Merged) -> Result<(), NotMerged> {
        self.component.section(&ModuleSection(&merged.module));
        let mut instances = InstanceSection::new();
        instances.instantiate::<[(&str, ModuleArg); 0], _>(0, []);
        self.component.section(&instances);
        let mut aliases = ComponentAliasSection::new();
        aliases.alias(Alias::CoreInstanceExport { instance: 0, kind: ExportKind::Memory, name: MEMORY });
        // These are the component's first core functions: a root's position is its index.
        for position in 0..self.roots.len() {
            let name = &position.to_string();
            aliases.alias(Alias::CoreInstanceExport { instance: 0, kind: ExportKind::Func, name });
        }
        if self.lowered == 0 {
            self.component.section(&aliases);
            return Ok(());
        }
        aliases.alias(Alias::CoreInstanceExport { instance: 0, kind: ExportKind::Table, name: HOSTS });
        self.component.section(&aliases);
        let mut canonical = CanonicalFunctionSection::new();
        for host in &merged.hosts {
            let CanonicalFunction::Lower { func_index, options } = &self.symbols.part.lowered[*host] else { continue };
            canonical.lower(*func_index, self.options(options)?);
        }
        self.component.section(&canonical);
        self.component.section(&ModuleSection(&binding(merged)?));
        let first = self.roots.len() as u32;
        let mut exports: Vec<(String, ExportKind, u32)> =
            (0..self.lowered).map(|slot| (slot.to_string(), ExportKind::Func, first + slot)).collect();
        exports.push((HOSTS.to_owned(), ExportKind::Table, 0));
        let mut instances = InstanceSection::new();
        instances.export_items(exports);
        instances.instantiate(1, [("", ModuleArg::Instance(1))]);
        self.component.section(&instances);
        Ok(())
    }

    fn lifts(&mut self, functions: &[CanonicalFunction]) -> Result<(), NotMerged> {
        let mut section = CanonicalFunctionSection::new();
        for function in functions {
            if let CanonicalFunction::Lift { core_func_index, type_index, options } = function {
                section.lift(self.root(*core_func_index)?, *type_index, self.options(options)?);
            }
        }
        if !section.is_empty() {
            self.component.section(&section);
        }
        Ok(())
    }

    /// The index that a core function has now.
    fn root(&self, index: u32) -> Result<u32, NotMerged> {
        let function = self.symbols.function(index)?;
        let position = self.roots.iter().position(|root| *root == function);
        position.map(|position| position as u32).ok_or(NotMerged::unknown("a function that was left out"))
    }

    fn options(&self, options: &[Given]) -> Result<Vec<CanonicalOption>, NotMerged> {
        let option = |option: &Given| {
            Ok(match option {
                Given::UTF8 => CanonicalOption::UTF8,
                Given::UTF16 => CanonicalOption::UTF16,
                Given::CompactUTF16 => CanonicalOption::CompactUTF16,
                // There is one.
                Given::Memory(_) => CanonicalOption::Memory(0),
                Given::Realloc(index) => CanonicalOption::Realloc(self.root(*index)?),
                Given::PostReturn(index) => CanonicalOption::PostReturn(self.root(*index)?),
                _ => return Err(NotMerged::unknown("an option of the canonical ABI")),
            })
        };
        options.iter().map(option).collect()
    }
}
