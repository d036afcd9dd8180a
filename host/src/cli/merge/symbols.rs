//! Which definition each name stands for: what an instantiation does at run time, done once.

use std::collections::HashMap;

use wasmparser::ExternalKind;

use super::component::{CoreFunction, CoreInstance, CorePart};
use super::core_module::{CoreModule, Import};
use super::not_merged::NotMerged;

/// A definition: the instance, and the index in its module's index space.
pub(super) type Place = (usize, u32);

/// What a call arrives at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Function {
    /// A function with a body.
    Defined(Place),
    /// One of the host's.
    Host(usize),
}

#[derive(Debug, Clone, Copy)]
enum Item {
    Function(Function),
    Table(Place),
    /// The only one.
    Memory,
    Global(Place),
}

/// What the indices of one instance's module stand for.
#[derive(Default)]
pub(super) struct Scope {
    pub functions: Vec<Function>,
    pub tables: Vec<Place>,
    pub globals: Vec<Place>,
}

/// All definitions, and what each index stands for.
pub(super) struct Symbols<'p, 'a> {
    pub part: &'p CorePart<'a>,
    /// By instance; empty for one that is of no module.
    pub scopes: Vec<Scope>,
    /// The component's only memory.
    pub memory: Place,
}

impl<'p, 'a> Symbols<'p, 'a> {
    /// Resolves every import.
    ///
    /// # Errors
    /// What can't be resolved.
    pub fn resolve(part: &'p CorePart<'a>) -> Result<Self, NotMerged> {
        let mut memories = Vec::new();
        let mut symbols = Self { part, scopes: Vec::new(), memory: (0, 0) };
        for (at, instance) in part.instances.iter().enumerate() {
            let CoreInstance::OfModule { module, arguments } = instance else {
                symbols.scopes.push(Scope::default());
                continue;
            };
            memories.extend((0..module.memories.len()).map(|own| (at, (module.imported_memories.len() + own) as u32)));
            let scope = symbols.scope(at, module, arguments)?;
            symbols.scopes.push(scope);
        }
        match memories[..] {
            [memory] => symbols.memory = memory,
            _ => return Err(NotMerged::unknown("not exactly one memory")),
        }
        Ok(symbols)
    }

    fn scope(&self, at: usize, module: &CoreModule<'a>, arguments: &HashMap<&str, u32>) -> Result<Scope, NotMerged> {
        let find = |import: &Import<'_>| {
            let instance = arguments.get(import.module).ok_or_else(|| missing(import.module, import.name))?;
            self.export(*instance, import.name)
        };
        let own = |imported: usize, count: usize| (imported..imported + count).map(move |index| (at, index as u32));
        let mut scope = Scope::default();
        for import in &module.imported_functions {
            match find(import)? {
                Item::Function(function) => scope.functions.push(function),
                _ => return Err(missing(import.module, import.name)),
            }
        }
        for import in &module.imported_tables {
            match find(import)? {
                Item::Table(table) => scope.tables.push(table),
                _ => return Err(missing(import.module, import.name)),
            }
        }
        for import in &module.imported_globals {
            match find(import)? {
                Item::Global(global) => scope.globals.push(global),
                _ => return Err(missing(import.module, import.name)),
            }
        }
        for import in &module.imported_memories {
            match find(import)? {
                Item::Memory => {}
                _ => return Err(missing(import.module, import.name)),
            }
        }
        scope.functions.extend(own(module.imported_functions.len(), module.functions.len()).map(Function::Defined));
        scope.tables.extend(own(module.imported_tables.len(), module.tables.len()));
        scope.globals.extend(own(module.imported_globals.len(), module.globals.len()));
        Ok(scope)
    }

    fn export(&self, instance: u32, name: &str) -> Result<Item, NotMerged> {
        let at = instance as usize;
        let gone = || missing(&format!("instance {instance}"), name);
        match self.part.instances.get(at).ok_or_else(gone)? {
            CoreInstance::OfModule { module, .. } => {
                let (kind, index) = *module.exports.get(name).ok_or_else(gone)?;
                // Instances are resolved in their order, and use earlier ones alone.
                let scope = self.scopes.get(at).ok_or_else(gone)?;
                let index = index as usize;
                let item = match kind {
                    ExternalKind::Func => scope.functions.get(index).copied().map(Item::Function),
                    ExternalKind::Table => scope.tables.get(index).copied().map(Item::Table),
                    ExternalKind::Memory => Some(Item::Memory),
                    ExternalKind::Global => scope.globals.get(index).copied().map(Item::Global),
                    _ => None,
                };
                item.ok_or_else(gone)
            }
            CoreInstance::Bag(items) => {
                let (kind, index) = *items.get(name).ok_or_else(gone)?;
                let part = self.part;
                let aliased = match kind {
                    ExternalKind::Func => return self.function(index).map(Item::Function),
                    ExternalKind::Table => part.tables.get(index as usize),
                    ExternalKind::Memory => part.memories.get(index as usize),
                    ExternalKind::Global => part.globals.get(index as usize),
                    _ => None,
                };
                let (instance, name) = aliased.ok_or_else(gone)?;
                self.export(*instance, name)
            }
        }
    }

    /// What a core function of the component's index space stands for.
    ///
    /// # Errors
    /// That it can't be resolved.
    pub fn function(&self, index: u32) -> Result<Function, NotMerged> {
        let function = self.part.functions.get(index as usize);
        match *function.ok_or_else(|| missing("the component", &format!("function {index}")))? {
            CoreFunction::Lowered(host) => Ok(Function::Host(host)),
            CoreFunction::Export { instance, name } => match self.export(instance, name)? {
                Item::Function(function) => Ok(function),
                _ => Err(missing(&format!("instance {instance}"), name)),
            },
        }
    }

    /// The module that an instance is of.
    ///
    /// # Errors
    /// That it is of none.
    pub fn module(&self, instance: usize) -> Result<&'p CoreModule<'a>, NotMerged> {
        match self.part.instances.get(instance) {
            Some(CoreInstance::OfModule { module, .. }) => Ok(module),
            _ => Err(missing("the component", &format!("module of instance {instance}"))),
        }
    }

    /// All instances that are of a module, in their order.
    pub fn modules(&self) -> impl Iterator<Item = (usize, &'p CoreModule<'a>)> + use<'p, 'a> {
        self.part.instances.iter().enumerate().filter_map(|(at, instance)| match instance {
            CoreInstance::OfModule { module, .. } => Some((at, &**module)),
            CoreInstance::Bag(_) => None,
        })
    }
}

fn missing(module: &str, name: &str) -> NotMerged {
    NotMerged::unknown(format!("'{name}' of '{module}' is not there"))
}
