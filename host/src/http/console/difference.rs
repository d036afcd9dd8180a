//! The difference of two files, line by line.

use maud::{Markup, html};
use serin_core::experiment::without_addresses;
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
                                td.sign { (sign) } td { code { (without_addresses(change.value().trim_end_matches(['\n', '\r']))) } }
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

    #[test]
    fn the_address_of_a_webhook_is_shown_without_its_path() {
        let old = "# https://wiki.example/canary\n[[notify]]\nurl = \"https://ann:pass@hooks.example/services/T0/B1?x=secret\"\n";
        let page = drawn(old, &old.replace("B1", "B2")).into_string();
        assert!(
            page.contains("https://hooks.example/\u{2026}") && page.contains("https://wiki.example/canary"),
            "{page}"
        );
        assert!(["T0", "pass", "secret"].iter().all(|word| !page.contains(word)), "{page}");
        let two = "notify = [{ url = 'https://a.example/T1' }, { url = 'https://b.example/T2' }]\n";
        let page = drawn("", two).into_string();
        assert!(page.contains("b.example") && !page.contains("T1") && !page.contains("T2"), "{page}");
    }
}
