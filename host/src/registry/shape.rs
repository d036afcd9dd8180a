//! What a component may be made of. A compiler's work grows faster than its input: one large
//! function, or many components in each other, keep it busy for minutes. Nothing that a toolchain
//! builds comes near these bounds.

use serin_core::{bounds, message_to};
use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload};

/// What is wrong with the shape of a component.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// It cannot be read.
    #[error("not a WebAssembly component: {0}")]
    Unreadable(String),
    /// It has more of something than a compiler can be asked to bear.
    #[error("has {found} {what}; valid: at most {most}")]
    TooComplex {
        /// How many.
        found: u64,
        /// How many would be valid.
        most: u64,
        /// Of what.
        what: &'static str,
    },
}

/// Bytes of a function's body. The largest of an embedded Python has 427 kB.
const FUNCTION_BYTES: usize = 640 << 10;
/// Locals of a function times its blocks: memory of the compiler, some 120 bytes each. The largest of
/// an embedded JavaScript engine has 194,000.
const VALUES_BY_BLOCK: u64 = 1_000_000;
/// Functions of all modules together.
const FUNCTIONS: u64 = 300_000;
/// Modules and components inside, all together. An embedded Python has 40.
const PARTS: u64 = 500;
/// How deep they may lie in each other.
const DEPTH: u64 = 16;

/// Checks an artifact before anything looks closer at it. Nothing here recurses.
///
/// # Errors
/// Which bound is passed, or why it is no module or component.
pub(super) fn check(bytes: &[u8]) -> Result<(), ShapeError> {
    let (mut parts, mut depth, mut functions) = (0_u64, 0_u64, 0);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|e| unreadable(&e))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                parts += 1;
                depth += 1;
                at_most(parts, PARTS, "modules and components")?;
                at_most(depth, DEPTH, "components in each other")?;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionStart { count, .. } => {
                functions += u64::from(count);
                at_most(functions, FUNCTIONS, "functions")?;
            }
            Payload::CodeSectionEntry(body) => {
                at_most(body.range().len() as u64, FUNCTION_BYTES as u64, "bytes in one function")?;
                let live = values_by_block(&body).map_err(|e| unreadable(&e))?;
                at_most(live, VALUES_BY_BLOCK, "locals times blocks in one function")?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn unreadable(error: &BinaryReaderError) -> ShapeError {
    ShapeError::Unreadable(message_to(&error.to_string(), bounds::MESSAGE))
}

/// The locals of a function times its blocks: a compiler notes for each block which locals are live
/// there. Zero where that is few at the most, since operators are then not looked at.
fn values_by_block(body: &FunctionBody<'_>) -> Result<u64, BinaryReaderError> {
    let mut locals = 0;
    for group in body.get_locals_reader()? {
        locals += u64::from(group?.0);
    }
    // A block has an opcode, a type and an end.
    if locals.saturating_mul(body.range().len() as u64 / 3) <= VALUES_BY_BLOCK {
        return Ok(0);
    }
    let mut blocks = 0_u64;
    for operator in body.get_operators_reader()? {
        blocks += u64::from(matches!(operator?, Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. }));
    }
    Ok(locals.saturating_mul(blocks))
}

fn at_most(found: u64, most: u64, what: &'static str) -> Result<(), ShapeError> {
    if found <= most { Ok(()) } else { Err(ShapeError::TooComplex { found, most, what }) }
}
