//! What the linker takes, and what it makes: valid components of the proposals that it knows.

use wasmparser::{Validator, WasmFeatures};

use super::not_merged::NotMerged;

/// Proposals whose code is right once its functions, tables, globals and types have their new indices. Types that
/// refer to types, several or wider memories, shared ones and exceptions have indices and rules of their own.
const KNOWN: WasmFeatures = WasmFeatures::WASM2
    .difference(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::BULK_MEMORY_OPT)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
    .union(WasmFeatures::COMPONENT_MODEL);

/// Refuses what is malformed, or of a proposal that the linker does not know. In what is valid, every index and
/// every type fits, and nothing refers to itself.
///
/// # Errors
/// What is wrong, and where.
pub(super) fn check(component: &[u8]) -> Result<(), NotMerged> {
    Validator::new_with_features(KNOWN).validate_all(component)?;
    Ok(())
}
