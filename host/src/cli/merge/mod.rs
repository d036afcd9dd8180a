//! Merges the core modules of a component into one, when an artifact is built.
//!
//! A component of `componentize-py` has some forty modules: the interpreter, its C library and what
//! connects them, linked again at every start of an instance. Their imports, table slots and addresses
//! are the same every time. Here they are resolved once: the modules become one, imported globals
//! become constants, calls between modules become direct calls, and what nothing reaches is left out.
//! The component's own types, imports and exports stay as they are.
//!
//! Whatever the linker does not know leaves the component unchanged, and is named in [`NotMerged`].

mod component;
mod core_module;
mod encode;
mod lasting;
mod memory;
mod not_merged;
mod output;
mod reach;
mod symbols;
mod tables;
mod valid;
mod values;

pub(super) use component::sections;
pub(super) use not_merged::NotMerged;

use component::CorePart;
use reach::Reached;
use symbols::Symbols;
use tables::Tables;
use values::Values;

/// The same component with one core module instead of many, and one more where it imports functions.
///
/// # Errors
/// What the linker does not know.
pub(super) fn merge(component: &[u8]) -> Result<Vec<u8>, NotMerged> {
    valid::check(component)?;
    let part = CorePart::parse(component)?;
    let symbols = Symbols::resolve(&part)?;
    let values = Values::of(&symbols);
    let tables = Tables::read(&symbols, &values)?;
    let roots = output::roots(&symbols)?;
    let reached = Reached::from(&roots, &symbols, &tables)?;
    let merged = encode::module(&symbols, &tables, &values, &reached, &roots)?;
    let component = output::component(component, &symbols, &merged)?;
    valid::check(&component)?;
    Ok(component)
}

/// The data of a module whose memory is to start with `bytes`.
pub(super) fn data(mut bytes: Vec<u8>) -> wasm_encoder::DataSection {
    lasting::settle(&mut bytes);
    memory::Memory(bytes).section()
}

#[cfg(test)]
mod tests;
