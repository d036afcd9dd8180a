//! The memory that every instance starts with.

use serin_core::limits::Limits;
use wasm_encoder::{ConstExpr, DataSection};

use super::not_merged::NotMerged;
use super::symbols::Symbols;
use super::values::{Number, Values};

/// A page of WebAssembly's.
const PAGE: usize = 64 << 10;
/// Fewer zeros than this between two pieces of data are written with them.
const GAP: usize = 64;

/// The memory's bytes, up to the last that is not zero.
pub(super) struct Memory(pub Vec<u8>);

impl Memory {
    /// What the modules' data leaves in the memory.
    ///
    /// # Errors
    /// Data that does not fit, or a memory that no host grants.
    pub fn read(symbols: &Symbols<'_, '_>, values: &Values, pages: u64) -> Result<Self, NotMerged> {
        let size = usize::try_from(pages).unwrap_or(usize::MAX).saturating_mul(PAGE);
        if size as u64 > Limits::MOST.memory_bytes {
            return Err(NotMerged::unknown("a larger memory than any host grants"));
        }
        let mut memory = Vec::new();
        for (at, module) in symbols.modules() {
            for data in &module.data {
                let beyond = || NotMerged::unknown("data beyond the memory");
                let Number::I32(offset) = values.of_expression(symbols, at, &data.offset)? else {
                    return Err(beyond());
                };
                let start = offset as u32 as usize;
                let end = start.checked_add(data.bytes.len()).filter(|end| *end <= size).ok_or_else(beyond)?;
                if memory.len() < end {
                    memory.resize(end, 0);
                }
                memory[start..end].copy_from_slice(data.bytes);
            }
        }
        Ok(Self(memory))
    }

    /// The section that gives a memory these bytes.
    pub fn section(&self) -> DataSection {
        let mut section = DataSection::new();
        let mut rest = 0;
        while let Some(start) = self.0[rest..].iter().position(|byte| *byte != 0).map(|zeros| rest + zeros) {
            let mut end = start;
            let mut zeros = 0;
            for byte in &self.0[start..] {
                zeros = if *byte == 0 { zeros + 1 } else { 0 };
                end += 1;
                if zeros == GAP {
                    break;
                }
            }
            let piece = &self.0[start..end - zeros];
            section.active(0, &ConstExpr::i32_const(start as u32 as i32), piece.iter().copied());
            rest = end;
        }
        section
    }
}
