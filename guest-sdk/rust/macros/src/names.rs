//! Manifest names as Rust names.

use std::collections::HashMap;

use proc_macro2::{Ident, Span};

/// The words of a name: parts between `_`, `-` and changes of case.
fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (i, &c) in chars.iter().enumerate() {
        if !c.is_ascii_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let before = i.checked_sub(1).map(|i| chars[i]);
        let after = chars.get(i + 1);
        let starts = c.is_ascii_uppercase()
            && before.is_some_and(|b| {
                b.is_ascii_lowercase()
                    || b.is_ascii_digit()
                    || (b.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if starts {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// `days_past_due`, for fields and functions.
pub fn snake(name: &str) -> String {
    words(name).join("_")
}

/// `EarlyStage`, for variants.
pub fn camel(name: &str) -> String {
    words(name)
        .into_iter()
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        })
        .collect()
}

/// Turns all `names` of one kind into identifiers.
///
/// # Errors
/// Two names that become one, and a name that Rust reserves.
pub fn idents<'a>(
    kind: &str,
    convert: fn(&str) -> String,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<Ident>, String> {
    let mut taken = HashMap::new();
    names
        .map(|name| {
            let rust = convert(name);
            if let Some(other) = taken.insert(rust.clone(), name) {
                return Err(format!(
                    "{kind} '{other}' and '{name}' would both be `{rust}` in Rust; rename one of them"
                ));
            }
            if syn::parse_str::<Ident>(&rust).is_ok() {
                Ok(Ident::new(&rust, Span::call_site()))
            } else if ["self", "super", "crate", "Self"].contains(&rust.as_str()) {
                Err(format!("{kind} '{name}' would be `{rust}` in Rust, which is reserved; rename it"))
            } else {
                Ok(Ident::new_raw(&rust, Span::call_site()))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_the_case_that_rust_expects() {
        for (name, as_snake, as_camel) in [
            ("days_past_due", "days_past_due", "DaysPastDue"),
            ("default-risk", "default_risk", "DefaultRisk"),
            ("EARLY_STAGE", "early_stage", "EarlyStage"),
            ("annualIncome", "annual_income", "AnnualIncome"),
            ("FICOScore", "fico_score", "FicoScore"),
            ("contacts_7d", "contacts_7d", "Contacts7d"),
            ("x--y_", "x_y", "XY"),
        ] {
            assert_eq!((snake(name).as_str(), camel(name).as_str()), (as_snake, as_camel));
        }
    }

    #[test]
    fn what_rust_cannot_tell_apart_is_an_error() {
        let error = idents("features", snake, ["dti", "DTI"].into_iter()).expect_err("collide");
        assert_eq!(error, "features 'dti' and 'DTI' would both be `dti` in Rust; rename one of them");
        let idents_of = |names: &[&'static str]| idents("features", snake, names.iter().copied());
        assert_eq!(idents_of(&["type"]).expect("a raw identifier")[0].to_string(), "r#type");
        assert!(idents_of(&["self"]).expect_err("reserved").contains("reserved"));
    }
}
