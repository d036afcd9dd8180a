//! A component's core part as the linker reads it: modules, their instances, and what is lifted and lowered.

use std::collections::HashMap;

use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, ExternalKind, Instance, Parser, Payload,
};

use super::core_module::CoreModule;
use super::not_merged::NotMerged;

/// A core instance.
pub(super) enum CoreInstance<'a> {
    /// Of a module, with the instances that its imports come from.
    OfModule { module: Box<CoreModule<'a>>, arguments: HashMap<&'a str, u32> },
    /// A name for each of some items of the component's index spaces.
    Bag(HashMap<&'a str, (ExternalKind, u32)>),
}

/// Where a core function of the component comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum CoreFunction<'a> {
    /// An instance's export.
    Export { instance: u32, name: &'a str },
    /// A function of the host, by its position among those that are lowered.
    Lowered(usize),
}

/// The core part of a component.
#[derive(Default)]
pub(super) struct CorePart<'a> {
    pub instances: Vec<CoreInstance<'a>>,
    pub functions: Vec<CoreFunction<'a>>,
    pub tables: Vec<(u32, &'a str)>,
    pub memories: Vec<(u32, &'a str)>,
    pub globals: Vec<(u32, &'a str)>,
    pub lowered: Vec<CanonicalFunction>,
    pub lifted: Vec<CanonicalFunction>,
    modules: Vec<&'a [u8]>,
}

impl<'a> CorePart<'a> {
    /// Reads a component.
    ///
    /// # Errors
    /// What the linker does not know.
    pub fn parse(component: &'a [u8]) -> Result<Self, NotMerged> {
        let mut part = Self::default();
        for payload in sections(component)? {
            part.take(payload, component)?;
        }
        Ok(part)
    }

    fn take(&mut self, payload: Payload<'a>, component: &'a [u8]) -> Result<(), NotMerged> {
        match payload {
            Payload::ModuleSection { unchecked_range, .. } => {
                let module = component.get(unchecked_range).ok_or(NotMerged::unknown("a module that is cut off"))?;
                self.modules.push(module);
            }
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    let instance = self.instance(instance?)?;
                    self.instances.push(instance);
                }
            }
            Payload::ComponentAliasSection(aliases) => aliases.into_iter().try_for_each(|alias| self.alias(&alias?))?,
            Payload::ComponentCanonicalSection(functions) => {
                for function in functions {
                    match function? {
                        lowered @ CanonicalFunction::Lower { .. } => {
                            self.functions.push(CoreFunction::Lowered(self.lowered.len()));
                            self.lowered.push(lowered);
                        }
                        lifted @ CanonicalFunction::Lift { .. } => self.lifted.push(lifted),
                        _ => return Err(NotMerged::unknown("a built-in function of the component model")),
                    }
                }
            }
            Payload::CoreTypeSection(_) => return Err(NotMerged::unknown("a module's type")),
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    no_module(matches!(import?.ty, ComponentTypeRef::Module(_)))?;
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    no_module(export?.kind == ComponentExternalKind::Module)?;
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    no_module(takes_module(&instance?))?;
                }
            }
            Payload::ComponentStartSection { .. } => return Err(NotMerged::unknown("a component's start")),
            _ => {}
        }
        Ok(())
    }

    fn instance(&self, instance: Instance<'a>) -> Result<CoreInstance<'a>, NotMerged> {
        Ok(match instance {
            Instance::Instantiate { module_index, args } => {
                if !self.lifted.is_empty() {
                    return Err(NotMerged::unknown("a module that starts after a function was lifted"));
                }
                let bytes = self.modules.get(module_index as usize);
                let bytes = bytes.ok_or(NotMerged::unknown("a module that comes from elsewhere"))?;
                let arguments = args.iter().map(|argument| (argument.name, argument.index)).collect();
                CoreInstance::OfModule { module: Box::new(CoreModule::parse(bytes)?), arguments }
            }
            Instance::FromExports(exports) => {
                CoreInstance::Bag(exports.iter().map(|export| (export.name, (export.kind, export.index))).collect())
            }
        })
    }

    fn alias(&mut self, alias: &ComponentAlias<'a>) -> Result<(), NotMerged> {
        no_module(is_of_module(alias))?;
        let ComponentAlias::CoreInstanceExport { kind, instance_index: instance, name } = *alias else { return Ok(()) };
        match kind {
            ExternalKind::Func => self.functions.push(CoreFunction::Export { instance, name }),
            ExternalKind::Table => self.tables.push((instance, name)),
            ExternalKind::Memory => self.memories.push((instance, name)),
            ExternalKind::Global => self.globals.push((instance, name)),
            _ => return Err(NotMerged::unknown("an export of another kind")),
        }
        Ok(())
    }
}

/// The linker counts the modules that the component itself defines. One that comes from elsewhere would shift their
/// indices, and one that is passed on would be another after the merge.
fn no_module(is_there: bool) -> Result<(), NotMerged> {
    if is_there { Err(NotMerged::unknown("a module that comes from elsewhere, or goes there")) } else { Ok(()) }
}

fn is_of_module(alias: &ComponentAlias<'_>) -> bool {
    match alias {
        ComponentAlias::InstanceExport { kind, .. } => *kind == ComponentExternalKind::Module,
        ComponentAlias::Outer { kind, .. } => {
            matches!(kind, ComponentOuterAliasKind::CoreModule | ComponentOuterAliasKind::CoreType)
        }
        ComponentAlias::CoreInstanceExport { .. } => false,
    }
}

fn takes_module(instance: &ComponentInstance<'_>) -> bool {
    match instance {
        ComponentInstance::Instantiate { args, .. } => {
            args.iter().any(|argument| argument.kind == ComponentExternalKind::Module)
        }
        ComponentInstance::FromExports(exports) => {
            exports.iter().any(|export| export.kind == ComponentExternalKind::Module)
        }
    }
}

/// Refuses a section of a nested component that runs code, which would be at another time, or that names the
/// modules around it. What toolchains nest only names types and functions anew.
fn check_nested(payload: &Payload<'_>) -> Result<(), NotMerged> {
    let has_code = match payload {
        Payload::ModuleSection { .. } | Payload::InstanceSection(_) | Payload::CoreTypeSection(_) => true,
        Payload::ComponentCanonicalSection(_) | Payload::ComponentStartSection { .. } => true,
        Payload::ComponentAliasSection(aliases) => {
            let mut aliases = aliases.clone().into_iter();
            aliases.any(|alias| alias.is_ok_and(|alias| is_of_module(&alias)))
        }
        _ => false,
    };
    if has_code { Err(NotMerged::unknown("a component inside that has modules")) } else { Ok(()) }
}

/// The sections of the component itself, without those of what is nested in it.
pub(in crate::cli) fn sections(component: &[u8]) -> Result<Vec<Payload<'_>>, NotMerged> {
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        let is_own = depth == 0;
        if !is_own {
            check_nested(&payload)?;
        }
        match &payload {
            Payload::ModuleSection { .. } => depth += 1,
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if is_own {
            found.push(payload);
        }
    }
    Ok(found)
}
