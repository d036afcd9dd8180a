//! The one module that is made of all.

use std::collections::{BTreeMap, HashMap};

use wasm_encoder::reencode::{Error, Reencode, RoundtripReencoder, utils};
use wasm_encoder::{
    CodeSection, ElementSection, Elements, EntityType, ExportKind, ExportSection, FunctionSection, GlobalSection,
    Instruction, MemorySection, Module, RefType, TableSection, TableType, TypeSection,
};
use wasmparser::{FuncType, Operator};

use super::lasting;
use super::memory::Memory;
use super::not_merged::NotMerged;
use super::reach::Reached;
use super::symbols::{Function, Place, Symbols};
use super::tables::Tables;
use super::values::{Number, Values};

/// The name of the memory's export.
pub(super) const MEMORY: &str = "memory";
/// The name of the export of the table that the host's functions are called through.
pub(super) const HOSTS: &str = "hosts";

/// Indices in the merged module.
struct Numbers {
    types: HashMap<FuncType, u32>,
    type_list: Vec<FuncType>,
    functions: BTreeMap<Function, u32>,
    tables: BTreeMap<Place, u32>,
    globals: BTreeMap<Place, u32>,
    constants: BTreeMap<Place, Number>,
}

impl Numbers {
    fn of(symbols: &Symbols<'_, '_>, tables: &Tables, values: &Values, reached: &Reached) -> Result<Self, NotMerged> {
        // A pool has two tables for a module, and the host's functions take one.
        if reached.tables.len() > 1 {
            return Err(NotMerged::unknown("calls through more than one table"));
        }
        let count = |places: Vec<Place>| places.into_iter().zip(0..).collect();
        let (written, constant) = reached.globals.iter().partition::<Vec<Place>, _>(|g| reached.written.contains(*g));
        let constants = constant.into_iter().map(|global| Ok((global, values.initial(global)?)));
        let mut numbers = Self {
            types: HashMap::new(),
            type_list: Vec::new(),
            functions: reached.functions.iter().copied().zip(0..).collect(),
            tables: count(reached.tables.iter().copied().collect()),
            globals: count(written),
            constants: constants.collect::<Result<_, NotMerged>>()?,
        };
        for function in &reached.functions {
            let ty = tables.type_of(symbols, *function).ok_or(NotMerged::unknown("a function without a type"))?;
            numbers.add_type(ty);
        }
        // Those that calls through a table, and blocks, name.
        symbols.modules().flat_map(|(_, module)| &module.types).for_each(|ty| numbers.add_type(ty));
        Ok(numbers)
    }

    fn add_type(&mut self, ty: &FuncType) {
        if !self.types.contains_key(ty) {
            self.types.insert(ty.clone(), self.type_list.len() as u32);
            self.type_list.push(ty.clone());
        }
    }

    /// The host's functions have a table of their own, which no call of the guest's gets to: a wild one has to trap.
    fn host_table(&self) -> u32 {
        self.tables.len() as u32
    }
}

/// The host's functions that are called, by their positions among those that are lowered.
pub(super) fn hosts(reached: &Reached) -> Vec<usize> {
    reached.functions.iter().filter_map(|f| if let Function::Host(host) = f { Some(*host) } else { None }).collect()
}

/// The merged module. Its exports are the memory, and each of `roots` by its position.
///
/// # Errors
/// What the linker does not know.
pub(super) fn module(
    symbols: &Symbols<'_, '_>,
    tables: &Tables,
    values: &Values,
    reached: &Reached,
    roots: &[Function],
) -> Result<Merged, NotMerged> {
    let numbers = Numbers::of(symbols, tables, values, reached)?;
    let hosts = hosts(reached);
    let mut module = Module::new();
    module.section(&types(&numbers.type_list)?);
    module.section(&functions(symbols, tables, &numbers)?);
    module.section(&table_section(tables, &numbers, hosts.len()));
    let (instance, index) = symbols.memory;
    let owner = symbols.module(instance)?;
    let memory = owner.memories[index as usize - owner.imported_memories.len()];
    module.section(MemorySection::new().memory(utils::memory_type(&mut RoundtripReencoder, memory)));
    module.section(&globals(symbols, values, &numbers)?);
    module.section(&exports(tables, &numbers, roots, hosts.len()));
    module.section(&elements(tables, &numbers));
    module.section(&code(symbols, tables, &numbers, &hosts)?);
    let mut bytes = Memory::read(symbols, values, memory.initial)?;
    lasting::settle(&mut bytes.0);
    module.section(&bytes.section());
    let host_types = hosts.iter().map(|host| tables.hosts[*host].clone()).collect();
    Ok(Merged { module, hosts, host_types })
}

/// The merged module, and the host's functions that it calls.
pub(super) struct Merged {
    pub module: Module,
    pub hosts: Vec<usize>,
    pub host_types: Vec<FuncType>,
}

/// A section of function types.
///
/// # Errors
/// A type that is not of functions on numbers.
pub(super) fn types(list: &[FuncType]) -> Result<TypeSection, NotMerged> {
    let mut section = TypeSection::new();
    for ty in list {
        section.ty().func_type(&RoundtripReencoder.func_type(ty.clone()).map_err(odd)?);
    }
    Ok(section)
}

fn functions(symbols: &Symbols<'_, '_>, tables: &Tables, numbers: &Numbers) -> Result<FunctionSection, NotMerged> {
    let mut section = FunctionSection::new();
    for function in numbers.functions.keys() {
        let ty = tables.type_of(symbols, *function).ok_or(NotMerged::unknown("a function without a type"))?;
        section.function(numbers.types[ty]);
    }
    Ok(section)
}

/// A table of functions that nothing can make longer.
pub(super) fn table_type(slots: usize) -> TableType {
    let length = slots as u64;
    TableType { element_type: RefType::FUNCREF, table64: false, minimum: length, maximum: Some(length), shared: false }
}

fn table_section(tables: &Tables, numbers: &Numbers, hosts: usize) -> TableSection {
    let mut section = TableSection::new();
    for table in numbers.tables.keys() {
        section.table(table_type(tables.slots[table].len()));
    }
    if hosts > 0 {
        section.table(table_type(hosts));
    }
    section
}

fn globals(symbols: &Symbols<'_, '_>, values: &Values, numbers: &Numbers) -> Result<GlobalSection, NotMerged> {
    let mut section = GlobalSection::new();
    for global in numbers.globals.keys() {
        let module = symbols.module(global.0)?;
        let (ty, _) = module.globals[global.1 as usize - module.imported_globals.len()];
        let ty = utils::global_type(&mut RoundtripReencoder, ty).map_err(odd)?;
        section.global(ty, &values.initial(*global)?.expression());
    }
    Ok(section)
}

fn exports(tables: &Tables, numbers: &Numbers, roots: &[Function], hosts: usize) -> ExportSection {
    let mut section = ExportSection::new();
    section.export(MEMORY, ExportKind::Memory, 0);
    if hosts > 0 {
        section.export(HOSTS, ExportKind::Table, numbers.host_table());
    }
    for (position, root) in roots.iter().enumerate() {
        section.export(&position.to_string(), ExportKind::Func, numbers.functions[&tables.target(*root)]);
    }
    section
}

fn elements(tables: &Tables, numbers: &Numbers) -> ElementSection {
    let mut section = ElementSection::new();
    for (table, number) in &numbers.tables {
        let slots = &tables.slots[table];
        let mut start = 0;
        // Each run of slots that are not empty.
        for run in slots.chunk_by(|a, b| a.is_some() == b.is_some()) {
            let functions: Vec<u32> =
                run.iter().flatten().map(|function| numbers.functions[&tables.target(*function)]).collect();
            if !functions.is_empty() {
                let offset = wasm_encoder::ConstExpr::i32_const(start);
                section.active(Some(*number), &offset, Elements::Functions(functions.into()));
            }
            start += run.len() as i32;
        }
    }
    section
}

fn code(
    symbols: &Symbols<'_, '_>,
    tables: &Tables,
    numbers: &Numbers,
    hosts: &[usize],
) -> Result<CodeSection, NotMerged> {
    let mut section = CodeSection::new();
    for function in numbers.functions.keys() {
        match *function {
            Function::Defined((instance, index)) => {
                let module = symbols.module(instance)?;
                let body = module.body(index).ok_or(NotMerged::unknown("a function without a body"))?;
                let mut rewriter = Rewriter { symbols, tables, numbers, instance };
                rewriter.parse_function_body(&mut section, body.clone()).map_err(odd)?;
            }
            Function::Host(host) => {
                let ty = &tables.hosts[host];
                let slot = hosts.iter().position(|known| *known == host).unwrap_or_default();
                let mut body = wasm_encoder::Function::new([]);
                (0..ty.params().len() as u32).for_each(|parameter| {
                    body.instruction(&Instruction::LocalGet(parameter));
                });
                body.instruction(&Instruction::I32Const(slot as i32));
                let (type_index, table_index) = (numbers.types[ty], numbers.host_table());
                body.instruction(&Instruction::CallIndirect { type_index, table_index });
                body.instruction(&Instruction::End);
                section.function(&body);
            }
        }
    }
    Ok(section)
}

/// Gives the indices in a function's body their numbers in the merged module.
struct Rewriter<'r, 'p, 'a> {
    symbols: &'r Symbols<'p, 'a>,
    tables: &'r Tables,
    numbers: &'r Numbers,
    instance: usize,
}

impl Reencode for Rewriter<'_, '_, '_> {
    type Error = NotMerged;

    fn function_index(&mut self, index: u32) -> Result<u32, Error<NotMerged>> {
        let function = self.symbols.scopes[self.instance].functions.get(index as usize);
        let number = function.and_then(|function| self.numbers.functions.get(&self.tables.target(*function)));
        number.copied().ok_or_else(lost)
    }

    fn table_index(&mut self, index: u32) -> Result<u32, Error<NotMerged>> {
        let table = self.symbols.scopes[self.instance].tables.get(index as usize);
        table.and_then(|table| self.numbers.tables.get(table)).copied().ok_or_else(lost)
    }

    fn global_index(&mut self, index: u32) -> Result<u32, Error<NotMerged>> {
        let global = self.symbols.scopes[self.instance].globals.get(index as usize);
        global.and_then(|global| self.numbers.globals.get(global)).copied().ok_or_else(lost)
    }

    fn type_index(&mut self, index: u32) -> Result<u32, Error<NotMerged>> {
        let module = self.symbols.module(self.instance).map_err(Error::UserError)?;
        module.types.get(index as usize).and_then(|ty| self.numbers.types.get(ty)).copied().ok_or_else(lost)
    }

    fn instruction<'i>(&mut self, operator: Operator<'i>) -> Result<Instruction<'i>, Error<NotMerged>> {
        if let Operator::GlobalGet { global_index } = operator {
            let global = self.symbols.scopes[self.instance].globals.get(global_index as usize);
            if let Some(constant) = global.and_then(|global| self.numbers.constants.get(global)) {
                return Ok(constant.instruction());
            }
        }
        utils::instruction(self, operator)
    }
}

fn lost() -> Error<NotMerged> {
    Error::UserError(NotMerged::unknown("an index of something that was left out"))
}

/// What could not be rewritten.
fn odd<E: std::fmt::Display>(error: E) -> NotMerged {
    NotMerged::unknown(error.to_string())
}

/// The module that puts the host's functions into the merged module's table.
///
/// # Errors
/// As [`types`].
pub(super) fn binding(merged: &Merged) -> Result<Module, NotMerged> {
    let mut imports = wasm_encoder::ImportSection::new();
    for (slot, _) in merged.host_types.iter().enumerate() {
        imports.import("", &slot.to_string(), EntityType::Function(slot as u32));
    }
    imports.import("", HOSTS, EntityType::Table(table_type(merged.hosts.len())));
    let mut elements = ElementSection::new();
    let functions: Vec<u32> = (0..merged.hosts.len() as u32).collect();
    elements.active(None, &wasm_encoder::ConstExpr::i32_const(0), Elements::Functions(functions.into()));
    let mut module = Module::new();
    module.section(&types(&merged.host_types)?).section(&imports).section(&elements);
    Ok(module)
}
