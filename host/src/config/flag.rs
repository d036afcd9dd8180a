//! `flag` and `flag_parameter` of a decision point.

use serin_core::value::ValueType;
use serin_core::{NAME_RULE, is_name};

use super::raw::RawPoint;
use crate::deployment::FlagValue;

const VALID: &str = "action, boolean, number, object";

pub(super) fn flag(key: &str, raw: &RawPoint) -> Result<FlagValue, String> {
    let written = raw.flag.as_deref().unwrap_or("action");
    let flag = match (written, &raw.flag_parameter) {
        ("number", Some(parameter)) => return number(key, parameter, raw),
        ("number", None) => {
            return Err(format!(
                "{key}.flag = \"number\" needs flag_parameter, the parameter of the action that is the number; like \
                 flag_parameter = \"percent\""
            ));
        }
        ("action", _) => FlagValue::Action,
        ("boolean", _) => FlagValue::Boolean,
        ("object", _) => FlagValue::Object,
        (other, _) => return Err(format!("{key}.flag = \"{other}\"; valid: {VALID}")),
    };
    if let Some(parameter) = &raw.flag_parameter {
        return Err(format!("{key}.flag_parameter = \"{parameter}\" is for flag = \"number\"; leave it out"));
    }
    if flag == FlagValue::Boolean && raw.actions.len() < 2 {
        return Err(format!(
            "{key}.flag = \"boolean\" is true where the action is another one than the fallback's, and there is no \
             other one; valid: action, object, or a second action"
        ));
    }
    Ok(flag)
}

/// The number that a parameter is. Whether strategies declare it is known once they are loaded.
fn number(key: &str, parameter: &str, raw: &RawPoint) -> Result<FlagValue, String> {
    if !is_name(parameter) {
        return Err(format!("{key}.flag_parameter = \"{parameter}\"; valid: {NAME_RULE}"));
    }
    let types = [None, Some(ValueType::Integer), Some(ValueType::Number)];
    match raw.fallback.parameters.get(parameter) {
        Some(value) if !types.contains(&value.type_of()) => Err(format!(
            "{key}.flag_parameter = \"{parameter}\" is {} in the fallback's parameters; valid: a parameter that is a \
             number",
            value.kind()
        )),
        _ => Ok(FlagValue::Number(parameter.into())),
    }
}
