//! Small components that are wrong in one way, and surgery on artifacts that were right.

use serin_core::manifest::MANIFEST_SECTION;
use wasm_encoder::{ComponentSection as _, CustomSection};

/// A manifest that is right, for components that are not.
pub const MANIFEST: &str = r#"
name = "small"
version = "1.0.0"
decision_point = "collections-outreach"

[actions]
no_contact = {}
"#;

/// A component from text, with [`MANIFEST`] in it.
pub fn component(text: &str) -> Vec<u8> {
    with_section(wat::parse_str(text).expect("valid text"), MANIFEST_SECTION, MANIFEST.as_bytes())
}

/// Adds a custom section to a component.
pub fn with_section(mut component: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    CustomSection { name: name.into(), data: data.into() }.append_to_component(&mut component);
    component
}

/// The artifact with another text in the custom section `name`, or without that section.
pub fn rewritten(artifact: &[u8], name: &str, edit: impl FnOnce(&str) -> Option<String>) -> Vec<u8> {
    let mut edit = Some(edit);
    let mut bytes = artifact[..8].to_vec();
    let mut at = 8;
    while at < artifact.len() {
        let start = at;
        let id = artifact[at];
        at += 1;
        let size = leb(artifact, &mut at);
        let section = at..at + size;
        at += size;
        let mut name_at = section.start;
        let name_len = if id == 0 { leb(artifact, &mut name_at) } else { 0 };
        if id != 0 || &artifact[name_at..name_at + name_len] != name.as_bytes() {
            bytes.extend_from_slice(&artifact[start..at]);
            continue;
        }
        let text = std::str::from_utf8(&artifact[name_at + name_len..section.end]).expect("the section is text");
        if let Some(text) = edit.take().expect("one such section")(text) {
            bytes = with_section(bytes, name, text.as_bytes());
        }
    }
    assert!(edit.is_none(), "the artifact has no section {name}");
    bytes
}

/// An unsigned LEB128 number, as sections' sizes are written.
fn leb(bytes: &[u8], at: &mut usize) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}
