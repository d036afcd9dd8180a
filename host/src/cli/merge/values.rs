//! Values that are known before anything runs.

use std::collections::BTreeMap;

use wasm_encoder::ConstExpr;
use wasmparser::Operator;

use super::not_merged::NotMerged;
use super::symbols::{Place, Symbols};

/// A number that an expression of a module gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
}

impl Number {
    /// The instruction that gives it.
    pub fn instruction(self) -> wasm_encoder::Instruction<'static> {
        match self {
            Self::I32(x) => wasm_encoder::Instruction::I32Const(x),
            Self::I64(x) => wasm_encoder::Instruction::I64Const(x),
            Self::F32(bits) => wasm_encoder::Instruction::F32Const(wasm_encoder::Ieee32::new(bits)),
            Self::F64(bits) => wasm_encoder::Instruction::F64Const(wasm_encoder::Ieee64::new(bits)),
        }
    }

    /// The expression that gives it.
    pub fn expression(self) -> ConstExpr {
        ConstExpr::extended([self.instruction()])
    }
}

/// The values that globals have at the start; for those without one, why.
pub(super) struct Values(BTreeMap<Place, Result<Number, NotMerged>>);

impl Values {
    /// Computes each once, in the order of the definitions: an expression names earlier globals alone.
    pub fn of(symbols: &Symbols<'_, '_>) -> Self {
        let mut values = Self(BTreeMap::new());
        for (at, module) in symbols.modules() {
            for (own, (_, expression)) in module.globals.iter().enumerate() {
                let value = values.of_expression(symbols, at, expression);
                values.0.insert((at, (module.imported_globals.len() + own) as u32), value);
            }
        }
        values
    }

    /// The value that a global has at the start.
    ///
    /// # Errors
    /// That it is no number, or what in its expression the linker does not know.
    pub fn initial(&self, global: Place) -> Result<Number, NotMerged> {
        self.0.get(&global).cloned().unwrap_or_else(|| Err(NotMerged::unknown("a global that is not there")))
    }

    /// What a constant expression in the module of `instance` gives.
    ///
    /// # Errors
    /// An instruction that the linker does not know.
    pub fn of_expression(
        &self,
        symbols: &Symbols<'_, '_>,
        instance: usize,
        expression: &wasmparser::ConstExpr<'_>,
    ) -> Result<Number, NotMerged> {
        let mut stack = Vec::new();
        for operator in expression.get_operators_reader() {
            let operator = operator?;
            let number = match operator {
                Operator::I32Const { value } => Number::I32(value),
                Operator::I64Const { value } => Number::I64(value),
                Operator::F32Const { value } => Number::F32(value.bits()),
                Operator::F64Const { value } => Number::F64(value.bits()),
                Operator::GlobalGet { global_index } => {
                    let global = symbols.scopes[instance].globals.get(global_index as usize);
                    self.initial(*global.ok_or(NotMerged::unknown("a global that is not there"))?)?
                }
                Operator::I32Add => match (stack.pop(), stack.pop()) {
                    (Some(Number::I32(b)), Some(Number::I32(a))) => Number::I32(a.wrapping_add(b)),
                    _ => return Err(NotMerged::unknown("a sum of other values")),
                },
                Operator::End => break,
                other => return Err(NotMerged::unknown(format!("{other:?} in an initial value"))),
            };
            stack.push(number);
        }
        stack.pop().ok_or(NotMerged::unknown("an expression without a value"))
    }
}
