//! A core module as the linker reads it.

use std::collections::HashMap;

use wasmparser::{
    CompositeInnerType, ConstExpr, Data, DataKind, ElementItems, ElementKind, ExternalKind, FuncType, FunctionBody,
    GlobalType, MemoryType, Parser, Payload, TableInit, TableType, TypeRef,
};

use super::not_merged::NotMerged;

/// An import of a core module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Import<'a> {
    pub module: &'a str,
    pub name: &'a str,
    /// Of a function: its type's index.
    pub of_type: u32,
}

/// Functions that are written to a table when the module starts.
pub(super) struct Elements<'a> {
    pub table: u32,
    pub offset: ConstExpr<'a>,
    pub functions: Vec<u32>,
}

/// Bytes that are written to the memory when the module starts.
pub(super) struct Bytes<'a> {
    pub offset: ConstExpr<'a>,
    pub bytes: &'a [u8],
}

/// A core module. In each index space imports come before definitions.
#[derive(Default)]
pub(super) struct CoreModule<'a> {
    pub types: Vec<FuncType>,
    pub imported_functions: Vec<Import<'a>>,
    pub imported_tables: Vec<Import<'a>>,
    pub imported_memories: Vec<Import<'a>>,
    pub imported_globals: Vec<Import<'a>>,
    /// The types of the functions that are defined here.
    pub functions: Vec<u32>,
    pub bodies: Vec<FunctionBody<'a>>,
    pub tables: Vec<TableType>,
    pub memories: Vec<MemoryType>,
    pub globals: Vec<(GlobalType, ConstExpr<'a>)>,
    pub exports: HashMap<&'a str, (ExternalKind, u32)>,
    pub elements: Vec<Elements<'a>>,
    pub data: Vec<Bytes<'a>>,
}

impl<'a> CoreModule<'a> {
    /// Reads a module.
    ///
    /// # Errors
    /// What the linker does not know.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NotMerged> {
        let mut module = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            module.take(payload?)?;
        }
        Ok(module)
    }

    fn take(&mut self, payload: Payload<'a>) -> Result<(), NotMerged> {
        match payload {
            Payload::TypeSection(types) => {
                for group in types {
                    let mut types = group?.into_types();
                    match (types.next().map(|ty| ty.composite_type.inner), types.next()) {
                        (Some(CompositeInnerType::Func(ty)), None) => self.types.push(ty),
                        _ => return Err(NotMerged::unknown("a type that is not a function's")),
                    }
                }
            }
            Payload::ImportSection(imports) => imports.into_imports().try_for_each(|import| self.import(import?))?,
            Payload::FunctionSection(functions) => self.functions = functions.into_iter().collect::<Result<_, _>>()?,
            Payload::TableSection(tables) => {
                for table in tables {
                    let table = table?;
                    match table.init {
                        TableInit::RefNull => self.tables.push(table.ty),
                        TableInit::Expr(_) => return Err(NotMerged::unknown("a table that starts with a function")),
                    }
                }
            }
            Payload::MemorySection(memories) => self.memories = memories.into_iter().collect::<Result<_, _>>()?,
            Payload::GlobalSection(globals) => {
                for global in globals {
                    let global = global?;
                    self.globals.push((global.ty, global.init_expr));
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    self.exports.insert(export.name, (export.kind, export.index));
                }
            }
            Payload::ElementSection(elements) => elements.into_iter().try_for_each(|e| self.elements(e?))?,
            Payload::DataSection(data) => data.into_iter().try_for_each(|data| self.data(data?))?,
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            Payload::StartSection { .. } => return Err(NotMerged::unknown("a module that runs code when it starts")),
            Payload::TagSection(_) => return Err(NotMerged::unknown("exceptions")),
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: wasmparser::Import<'a>) -> Result<(), NotMerged> {
        let (list, of_type) = match import.ty {
            TypeRef::Func(of_type) => (&mut self.imported_functions, of_type),
            TypeRef::Table(_) => (&mut self.imported_tables, 0),
            TypeRef::Memory(_) => (&mut self.imported_memories, 0),
            TypeRef::Global(_) => (&mut self.imported_globals, 0),
            _ => return Err(NotMerged::unknown("an import of another kind")),
        };
        list.push(Import { module: import.module, name: import.name, of_type });
        Ok(())
    }

    fn elements(&mut self, element: wasmparser::Element<'a>) -> Result<(), NotMerged> {
        match (element.kind, element.items) {
            (ElementKind::Active { table_index, offset_expr }, ElementItems::Functions(functions)) => {
                let functions = functions.into_iter().collect::<Result<_, _>>()?;
                self.elements.push(Elements { table: table_index.unwrap_or(0), offset: offset_expr, functions });
                Ok(())
            }
            _ => Err(NotMerged::unknown("elements that are not written at the start")),
        }
    }

    fn data(&mut self, data: Data<'a>) -> Result<(), NotMerged> {
        match data.kind {
            DataKind::Active { memory_index: 0, offset_expr } => {
                self.data.push(Bytes { offset: offset_expr, bytes: data.data });
                Ok(())
            }
            _ => Err(NotMerged::unknown("data that is not written at the start")),
        }
    }

    /// The type of a function that is defined here.
    pub fn type_of(&self, function: u32) -> Option<&FuncType> {
        let own = (function as usize).checked_sub(self.imported_functions.len())?;
        self.types.get(*self.functions.get(own)? as usize)
    }

    /// The body of a function that is defined here.
    pub fn body(&self, function: u32) -> Option<&FunctionBody<'a>> {
        self.bodies.get((function as usize).checked_sub(self.imported_functions.len())?)
    }
}
