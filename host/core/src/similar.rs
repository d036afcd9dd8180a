//! The known name that an unknown one was probably meant to be.

/// The known name that resembles `name` most: at most two letters differ, and at most a third of
/// them. None where none does.
pub fn most_similar<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let length = name.chars().count();
    let distances = known.into_iter().filter(|other| *other != name).map(|other| (distance(name, other), other));
    let near = distances.filter(|(distance, other)| {
        let most = (length.max(other.chars().count()) / 3).min(2);
        *distance <= most
    });
    near.min_by_key(|(distance, other)| (*distance, *other)).map(|(_, other)| other)
}

/// Letters to insert, remove or replace (Levenshtein). Case does not count, nor does `-` for `_`.
fn distance(one: &str, other: &str) -> usize {
    let letters = |text: &str| -> Vec<char> {
        text.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
    };
    let (one, other) = (letters(one), letters(other));
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slip_resembles_the_right_one_and_another_name_none() {
        let known = ["complaint", "cured", "call", "Paid-Off"];
        for (name, similar) in [
            ("complaints", Some("complaint")),
            ("compliant", Some("complaint")),
            ("cure", Some("cured")),
            ("paid_off", Some("Paid-Off")),
            ("COMPLAINT", Some("complaint")),
            ("calls", Some("call")),
            ("complaint", None),
            ("opt_out", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(most_similar(name, known), similar, "{name}");
        }
    }
}
