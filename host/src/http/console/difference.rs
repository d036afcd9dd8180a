//! The difference of two files, line by line.

use maud::{Markup, html};
use similar::{ChangeTag, TextDiff};

/// Lines around a change.
const AROUND: usize = 3;
/// How long a comparison may take before it becomes coarse.
const TIME: std::time::Duration = std::time::Duration::from_millis(200);

/// What differs between two texts, with the lines around; in words where nothing does.
pub fn drawn(old: &str, new: &str) -> Markup {
    let diff = TextDiff::configure().timeout(TIME).diff_lines(old, new);
    let groups = diff.grouped_ops(AROUND);
    html! {
        @if groups.is_empty() { p { "The two are the same." } }
        @for group in &groups {
            table.diff {
                caption.hidden { "A part of the file that changes: lines that go are marked with a minus, new ones with a plus." }
                tbody {
                    @for op in group {
                        @for change in diff.iter_changes(op) {
                            @let (class, sign) = match change.tag() {
                                ChangeTag::Delete => ("gone", "\u{2212}"),
                                ChangeTag::Insert => ("new", "+"),
                                ChangeTag::Equal => ("same", " "),
                            };
                            tr class=(class) {
                                td.n { (number(change.old_index())) } td.n { (number(change.new_index())) }
                                td.sign { (sign) } td { code { (change.value().trim_end_matches(['\n', '\r'])) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn number(index: Option<usize>) -> String {
    index.map_or_else(String::new, |index| (index + 1).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_go_and_come_are_marked_and_escaped() {
        let page = drawn("a\nb\nc\n", "a\n<b>\nc\n").into_string();
        assert!(
            page.contains("class=\"gone\"") && page.contains("class=\"new\"") && page.contains("&lt;b&gt;"),
            "{page}"
        );
        assert!(drawn("a\n", "a\n").into_string().contains("the same"));
    }
}
