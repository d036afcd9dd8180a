//! Cells of files as values of the declared types. Files come from many tools, so what each of
//! them writes for the same thing is read alike; what would lose something is an error.

use serin_core::value::{Value, ValueType};

use super::clip;

/// What tools write where they have no value. It is read as text all the same, unless
/// `--null` names it: `NA` is Namibia, too.
const NULL_LIKE: [&str; 8] = ["\\N", "NULL", "null", "NA", "N/A", "NaN", "None", "<NA>"];

/// Says whether a text looks like the way in which some tool writes that there is no value.
pub(super) fn is_null_like(text: &str) -> bool {
    NULL_LIKE.contains(&text)
}

/// Reads a text as `declared`.
pub(super) fn of_text(declared: ValueType, text: &str) -> Result<Value, String> {
    let parsed = match declared {
        ValueType::Text => Some(Value::Text(text.to_owned())),
        ValueType::Integer => integer(text).map(Value::Integer),
        ValueType::Number => text.parse().ok().filter(|x: &f64| x.is_finite()).map(Value::Number),
        ValueType::Boolean => boolean(text).map(Value::Boolean),
    };
    parsed.ok_or_else(|| {
        let valid = match declared {
            ValueType::Text => "a text",
            ValueType::Integer => "a whole number of 64 bits, like 3 or 3.0",
            ValueType::Number => "a finite number, like 3 or 0.5",
            ValueType::Boolean => "true, t, yes, y, on, 1 or false, f, no, n, off, 0, in any case",
        };
        let null = if is_null_like(text) {
            format!(", or nothing; load with --null '{text}' to read it so")
        } else {
            String::new()
        };
        format!("'{}' is not {declared}; valid: {valid}{null}", clip(text))
    })
}

/// A whole number; tools that keep columns with gaps as floating point write `3.0`.
fn integer(text: &str) -> Option<i64> {
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    whole.parse().ok()
}

/// As pandas (`True`), SQL (`t`), spreadsheets (`TRUE`) and people (`yes`) write it.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" | "1.0" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" | "0.0" => Some(false),
        _ => None,
    }
}

/// A floating point number as `declared`: where it is whole it is an integer, too.
pub(super) fn of_number(declared: ValueType, x: f64) -> Value {
    const EXACT: f64 = (1_u64 << 53) as f64;
    match declared {
        ValueType::Integer if x.fract() == 0.0 && x.abs() <= EXACT => Value::Integer(x as i64),
        _ => Value::Number(x),
    }
}

/// A decimal, `unscaled` / 10^`scale`, as `declared`; only where nothing is lost.
pub(super) fn of_decimal(declared: ValueType, unscaled: i128, scale: u32) -> Result<Value, String> {
    let text = decimal_text(unscaled, scale);
    match declared {
        ValueType::Text => Ok(Value::Text(text)),
        ValueType::Integer => integer(&text)
            .map(Value::Integer)
            .ok_or_else(|| format!("is {text}, not a whole number of 64 bits; convert it to a number, or round it")),
        ValueType::Number => {
            // The nearest number has to give the same digits back.
            let nearest = text.parse::<f64>().ok().filter(|x| format!("{x:.*}", scale as usize) == text);
            nearest.map(Value::Number).ok_or_else(|| {
                format!("is {text}, with more digits than a number holds; declare the column as text, or round it to 15 digits")
            })
        }
        ValueType::Boolean => Err(format!("is {text}, not boolean; convert it to BOOLEAN")),
    }
}

fn decimal_text(unscaled: i128, scale: u32) -> String {
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    let sign = if unscaled < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_usual_tools_write_is_read() {
        for (text, expected) in [("True", true), ("TRUE", true), ("t", true), ("1", true), ("yes", true), ("Y", true)] {
            assert_eq!(of_text(ValueType::Boolean, text), Ok(Value::Boolean(expected)), "{text}");
        }
        for text in ["False", "FALSE", "f", "0", "no", "off", "0.0"] {
            assert_eq!(of_text(ValueType::Boolean, text), Ok(Value::Boolean(false)), "{text}");
        }
        for (text, whole) in [("3", 3), ("3.0", 3), ("-3.000", -3), ("9223372036854775807.0", i64::MAX)] {
            assert_eq!(of_text(ValueType::Integer, text), Ok(Value::Integer(whole)), "{text}");
        }
        for text in ["3.5", "3e0", "3.0x", "", ".", "three", "9223372036854775808"] {
            assert!(of_text(ValueType::Integer, text).is_err(), "{text}");
        }
        let error = of_text(ValueType::Number, "NaN").expect_err("not finite");
        assert!(error.contains("--null 'NaN'"), "{error}");
        assert_eq!(of_number(ValueType::Integer, 3.0), Value::Integer(3));
        assert_eq!(of_number(ValueType::Integer, 3.5), Value::Number(3.5));
        assert_eq!(of_number(ValueType::Integer, 1e18), Value::Number(1e18), "its last digits are not known");
    }

    #[test]
    fn a_decimal_is_taken_where_nothing_of_it_is_lost() {
        let number = |unscaled, scale| of_decimal(ValueType::Number, unscaled, scale);
        assert_eq!(number(123_456_789_012_345, 2), Ok(Value::Number(1_234_567_890_123.45)));
        assert_eq!(number(-5, 2), Ok(Value::Number(-0.05)));
        assert_eq!(number(0, 2), Ok(Value::Number(0.0)));
        assert!(number(1_234_567_890_123_456_789, 2).expect_err("too long").contains("12345678901234567.89"));
        assert_eq!(of_decimal(ValueType::Integer, 300, 2), Ok(Value::Integer(3)));
        assert!(of_decimal(ValueType::Integer, 301, 2).is_err());
        assert_eq!(of_decimal(ValueType::Text, 17, 0), Ok(Value::Text("17".into())));
        assert_eq!(of_decimal(ValueType::Text, -1, 3), Ok(Value::Text("-0.001".into())));
    }
}
