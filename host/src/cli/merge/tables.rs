//! The tables' contents, which nothing changes after the start, and the functions that only pass a
//! call on through one of their slots.

use std::collections::{BTreeMap, HashMap};

use wasmparser::{FuncType, Operator};

use super::not_merged::NotMerged;
use super::symbols::{Function, Place, Symbols};
use super::values::{Number, Values};

/// Chains of functions that pass a call on are shorter.
const LONGEST_CHAIN: usize = 16;

/// What is known of the tables.
pub(super) struct Tables {
    /// The contents of each table.
    pub slots: BTreeMap<Place, Vec<Option<Function>>>,
    /// The types of the host's functions.
    pub hosts: Vec<FuncType>,
    /// What a function that only passes its call on ends in.
    passed_on: HashMap<Place, Function>,
}

impl Tables {
    /// Fills the tables, as the start of the instances would.
    ///
    /// # Errors
    /// What is not within a table, or not known.
    pub fn read(symbols: &Symbols<'_, '_>, values: &Values) -> Result<Self, NotMerged> {
        let mut slots = BTreeMap::new();
        for (at, module) in symbols.modules() {
            for (own, table) in module.tables.iter().enumerate() {
                let length = usize::try_from(table.initial).unwrap_or(usize::MAX);
                if table.table64 || !table.element_type.is_func_ref() || length > 1 << 20 {
                    return Err(NotMerged::unknown("a table of another type"));
                }
                slots.insert((at, (module.imported_tables.len() + own) as u32), vec![None; length]);
            }
        }
        for (at, module) in symbols.modules() {
            let scope = &symbols.scopes[at];
            for elements in &module.elements {
                let beyond = || NotMerged::unknown("elements beyond their table");
                let Number::I32(offset) = values.of_expression(symbols, at, &elements.offset)? else {
                    return Err(beyond());
                };
                let table = scope.tables.get(elements.table as usize).and_then(|table| slots.get_mut(table));
                let start = offset as u32 as usize;
                let slots = table.and_then(|slots| slots.get_mut(start..start + elements.functions.len()));
                for (slot, function) in slots.ok_or_else(beyond)?.iter_mut().zip(&elements.functions) {
                    *slot = Some(*scope.functions.get(*function as usize).ok_or_else(beyond)?);
                }
            }
        }
        let hosts = host_types(symbols)?;
        let mut tables = Self { slots, hosts, passed_on: HashMap::new() };
        for (at, module) in symbols.modules() {
            for own in 0..module.functions.len() {
                let place = (at, (module.imported_functions.len() + own) as u32);
                if let Some(target) = tables.passes_on(symbols, place)? {
                    tables.passed_on.insert(place, target);
                }
            }
        }
        Ok(tables)
    }

    /// The function that this one passes its call on to, where that is all it does.
    fn passes_on(&self, symbols: &Symbols<'_, '_>, place: Place) -> Result<Option<Function>, NotMerged> {
        let module = symbols.module(place.0)?;
        let (Some(ty), Some(body)) = (module.type_of(place.1), module.body(place.1)) else { return Ok(None) };
        let mut operators = body.get_operators_reader()?;
        for parameter in 0..ty.params().len() {
            match operators.read()? {
                Operator::LocalGet { local_index } if local_index as usize == parameter => {}
                _ => return Ok(None),
            }
        }
        let (slot, type_index, table_index) = match operators.read()? {
            Operator::I32Const { value } => match operators.read()? {
                Operator::CallIndirect { type_index, table_index } => (value as u32, type_index, table_index),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let is_end = matches!(operators.read()?, Operator::End) && operators.eof();
        let table = symbols.scopes[place.0].tables.get(table_index as usize).and_then(|table| self.slots.get(table));
        let target = table.and_then(|slots| slots.get(slot as usize)).copied().flatten();
        let has_type = |target: &Function| self.type_of(symbols, *target) == Some(ty);
        let is_same = module.types.get(type_index as usize) == Some(ty);
        Ok(target.filter(|target| is_end && is_same && has_type(target)))
    }

    /// The function that a call of this one ends in.
    pub fn target(&self, mut function: Function) -> Function {
        for _ in 0..LONGEST_CHAIN {
            match function {
                Function::Defined(place) if self.passed_on.contains_key(&place) => function = self.passed_on[&place],
                _ => break,
            }
        }
        function
    }

    /// A function's type.
    pub fn type_of<'t>(&'t self, symbols: &'t Symbols<'_, '_>, function: Function) -> Option<&'t FuncType> {
        match function {
            Function::Defined((instance, index)) => symbols.module(instance).ok()?.type_of(index),
            Function::Host(host) => self.hosts.get(host),
        }
    }
}

/// The types of the host's functions, as the modules that import them say.
fn host_types(symbols: &Symbols<'_, '_>) -> Result<Vec<FuncType>, NotMerged> {
    let mut types = vec![None; symbols.part.lowered.len()];
    for (at, module) in symbols.modules() {
        for (import, function) in module.imported_functions.iter().zip(&symbols.scopes[at].functions) {
            if let Function::Host(host) = function {
                types[*host] = module.types.get(import.of_type as usize).cloned();
            }
        }
    }
    types.into_iter().collect::<Option<_>>().ok_or(NotMerged::unknown("a function of the host that nothing imports"))
}
