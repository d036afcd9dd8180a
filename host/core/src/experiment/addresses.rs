//! An experiment's file as it is shown: many services take whoever knows a webhook's address for its sender.

use std::borrow::Cow;

/// A file, or a line of one, without the paths, queries and passwords of its webhooks' addresses.
pub fn without_addresses(text: &str) -> String {
    text.split_inclusive('\n').map(masked).collect()
}

fn masked(line: &str) -> Cow<'_, str> {
    let Some((before, rest)) = line.split_once("://").filter(|(before, _)| before.contains("url")) else {
        return Cow::Borrowed(line);
    };
    let end = rest.find(['"', '\'', '\n', '\r']).unwrap_or(rest.len());
    let (address, after) = rest.split_at(end);
    let host = address.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    Cow::Owned(format!("{before}://{host}/\u{2026}{}", masked(after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_its_host_is_left_and_everything_else_is_as_written() {
        let text = "# https://wiki.example/canary\r\n[[notify]]\nurl = \"https://ann:pass@hooks.example/T0/B1?x=secret\" # ops\n";
        let shown = without_addresses(text);
        let line = "url = \"https://hooks.example/\u{2026}\" # ops\n";
        assert_eq!(shown, format!("# https://wiki.example/canary\r\n[[notify]]\n{line}"));
        let two = "notify = [{ url = 'https://a.example/T1' }, { url = 'https://b.example/T2' }]";
        let shown = without_addresses(two);
        assert!(shown.contains("b.example/\u{2026}'") && !shown.contains("T1") && !shown.contains("T2"), "{shown}");
    }
}
