//! What the component's exports can reach; the rest is left out.

use std::collections::BTreeSet;

use wasmparser::Operator;

use super::not_merged::NotMerged;
use super::symbols::{Function, Place, Symbols};
use super::tables::Tables;

/// What can be reached, in the order of the definitions.
#[derive(Default)]
pub(super) struct Reached {
    pub functions: BTreeSet<Function>,
    pub tables: BTreeSet<Place>,
    pub globals: BTreeSet<Place>,
    /// Globals that something writes; all others are constants.
    pub written: BTreeSet<Place>,
}

impl Reached {
    /// Follows calls from `roots`, and every slot of a table that something calls through.
    ///
    /// # Errors
    /// What the linker does not know.
    pub fn from(roots: &[Function], symbols: &Symbols<'_, '_>, tables: &Tables) -> Result<Self, NotMerged> {
        let mut reached = Self::default();
        let mut pending: Vec<Function> = roots.to_vec();
        while let Some(function) = pending.pop() {
            let function = tables.target(function);
            if !reached.functions.insert(function) {
                continue;
            }
            if let Function::Defined(place) = function {
                reached.follow(place, symbols, tables, &mut pending)?;
            }
        }
        Ok(reached)
    }

    fn follow(
        &mut self,
        place: Place,
        symbols: &Symbols<'_, '_>,
        tables: &Tables,
        pending: &mut Vec<Function>,
    ) -> Result<(), NotMerged> {
        let gone = || NotMerged::unknown("an index of something that is not there");
        let scope = &symbols.scopes[place.0];
        let body = symbols.module(place.0)?.body(place.1).ok_or_else(gone)?;
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            match operators.read()? {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    pending.push(*scope.functions.get(function_index as usize).ok_or_else(gone)?);
                }
                Operator::CallIndirect { table_index, .. } | Operator::ReturnCallIndirect { table_index, .. } => {
                    let table = *scope.tables.get(table_index as usize).ok_or_else(gone)?;
                    if self.tables.insert(table) {
                        pending.extend(tables.slots.get(&table).ok_or_else(gone)?.iter().flatten());
                    }
                }
                Operator::GlobalGet { global_index } => {
                    self.globals.insert(*scope.globals.get(global_index as usize).ok_or_else(gone)?);
                }
                Operator::GlobalSet { global_index } => {
                    let global = *scope.globals.get(global_index as usize).ok_or_else(gone)?;
                    self.globals.insert(global);
                    self.written.insert(global);
                }
                // All of these could change a table, or need something that is not kept.
                operator @ (Operator::RefFunc { .. }
                | Operator::TableGet { .. }
                | Operator::TableSet { .. }
                | Operator::TableGrow { .. }
                | Operator::TableSize { .. }
                | Operator::TableFill { .. }
                | Operator::TableCopy { .. }
                | Operator::TableInit { .. }
                | Operator::ElemDrop { .. }
                | Operator::MemoryInit { .. }
                | Operator::DataDrop { .. }) => return Err(NotMerged::unknown(format!("{operator:?}"))),
                _ => {}
            }
        }
        Ok(())
    }
}
