//! The fallback action of a decision point and the parameter that its flag has as a value, held to what its strategy
//! declares: whoever carries out the action gets the same parameters whoever chose it.

use serin_core::manifest::{Action, Manifest};
use serin_core::value::{Value, ValueType};

use crate::deployment::{FallbackAction, FlagValue, PointSpec};

/// The fallback with its parameters in the declared types. A strategy that does not know the action
/// says nothing of its parameters.
///
/// # Errors
/// The parameters that are missing, unknown or of another type, and a fallback that is valid.
pub(super) fn fallback(point: &PointSpec, manifest: &Manifest) -> Result<FallbackAction, String> {
    let written = &point.fallback;
    let Some(action) = manifest.actions.iter().find(|action| action.name == written.action) else {
        return Ok(written.clone());
    };
    let name = &action.name;
    let wrong = |why: String| Err(format!("fallback: action '{name}' {why}; like {}", example(point, action)));
    let is_given = |parameter: &serin_core::Name| written.parameters.get(parameter).is_some_and(|v| !v.is_missing());
    let missing: Vec<String> = action
        .parameters
        .iter()
        .filter(|(parameter, _)| !is_given(parameter))
        .map(|(parameter, value_type)| format!("{parameter} ({value_type})"))
        .collect();
    if !missing.is_empty() {
        return wrong(format!("needs {}", missing.join(", ")));
    }
    let mut admitted = FallbackAction { action: name.clone(), parameters: Default::default() };
    for (parameter, value) in &written.parameters {
        let Some((_, value_type)) = action.parameters.iter().find(|(known, _)| known == parameter) else {
            return wrong(format!("has no parameter '{parameter}' in {}", manifest.id()));
        };
        match value_type.admit(value.clone()) {
            Ok(value) => drop(admitted.parameters.insert(parameter.clone(), value)),
            Err(is) => return wrong(format!("has {parameter} as {value_type}, and it is {is} here")),
        }
    }
    Ok(admitted)
}

/// Checks that a flag's number is a parameter that the strategy has.
///
/// # Errors
/// That no action has it as a number, and the parameters that are numbers.
pub(super) fn flag(flag: &FlagValue, manifest: &Manifest) -> Result<(), String> {
    let FlagValue::Number(wanted) = flag else { return Ok(()) };
    let is_number = |value_type: ValueType| [ValueType::Integer, ValueType::Number].contains(&value_type);
    let parameters = manifest.actions.iter().flat_map(|action| &action.parameters);
    let mut numbers: Vec<&str> = parameters.filter(|(_, of)| is_number(*of)).map(|(name, _)| &**name).collect();
    if numbers.contains(&&**wanted) {
        return Ok(());
    }
    numbers.sort_unstable();
    numbers.dedup();
    let known = if numbers.is_empty() { "it has none".to_owned() } else { numbers.join(", ") };
    Err(format!(
        "flag_parameter: no action of {} has a parameter '{wanted}' that is a number; those that are: {known}",
        manifest.id()
    ))
}

/// What would be valid, with the values that are right already.
fn example(point: &PointSpec, action: &Action) -> String {
    let value = |(name, value_type): &(serin_core::Name, ValueType)| {
        let written = point.fallback.parameters.get(name).filter(|value| !value.is_missing());
        let written = written.and_then(|value| value_type.admit(value.clone()).ok());
        let neutral = match value_type {
            ValueType::Boolean => Value::Boolean(false),
            ValueType::Integer => Value::Integer(0),
            ValueType::Number => Value::Number(0.5),
            ValueType::Text => Value::Text("none".to_owned()),
        };
        format!("{name} = {}", written.unwrap_or(neutral))
    };
    let values: Vec<String> = action.parameters.iter().map(value).collect();
    match values.is_empty() {
        true => format!("{{ action = \"{}\" }}", action.name),
        false => format!("{{ action = \"{}\", parameters = {{ {} }} }}", action.name, values.join(", ")),
    }
}
