//! Strategies in WebAssembly's text format: what no compiler would write, and small ones
//! whose behaviour is plain to see.

use serin_core::manifest::{CASES_SECTION, MANIFEST_SECTION};
use wasm_encoder::{ComponentSection as _, CustomSection};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use super::{Deployment, root};

/// Memory, an allocator that never frees, and the bytes at 1024 of an answer: the first
/// action, for sure, with one integer parameter that lies at 1112.
pub const PRELUDE: &str = r#"
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (data (i32.const 1024) "\00\00\00\00" "\10\04\00\00" "\01\00\00\00" "\00\00\00\00")
  (data (i32.const 1040) "\00\00\00\00" "\00\00\00\00" "\00\00\00\00\00\00\f0\3f"
    "\50\04\00\00" "\01\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00")
  (data (i32.const 1104) "\02\00\00\00\00\00\00\00" "\07\00\00\00\00\00\00\00")
"#;

/// `decide` around the instructions of its body, which leave the answer's address.
pub fn decide(body: &str) -> String {
    format!(
        "(func (export \"decide\") (param i32 i32 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
           (local $i i32) {body})"
    )
}

/// The manifest of a strategy whose first action has the parameter `n`.
pub fn manifest(name: &str, version: &str, point: &str, action: &str) -> String {
    format!(
        "name = \"{name}\"\nversion = \"{version}\"\ndecision_point = \"{point}\"\n\n\
         [actions]\n{action} = {{ parameters = {{ n = \"integer\" }} }}\n\n[reasons]\nASKED = \"Asked to\"\n"
    )
}

/// A module or component of its text.
pub fn parse(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|e| panic!("{e}"))
}

/// The artifact of a manifest and of a core module's fields.
pub fn guest(manifest: &str, fields: &str) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(root().join("wit")).expect("the WIT package");
    let world = resolve.select_world(&[package], Some("strategy")).expect("its world");
    let mut module = wat::parse_str(format!("(module {fields})")).unwrap_or_else(|e| panic!("{e}\n{fields}"));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("a module");
    let component = ComponentEncoder::default().module(&module).expect("of the world").encode().expect("a component");
    with_manifest(component, manifest)
}

/// A component with a manifest, as `serin plugin build` puts it there.
pub fn with_manifest(mut component: Vec<u8>, manifest: &str) -> Vec<u8> {
    CustomSection { name: MANIFEST_SECTION.into(), data: manifest.as_bytes().into() }
        .append_to_component(&mut component);
    component
}

/// An artifact with cases, each as its file has it.
pub fn with_cases(mut artifact: Vec<u8>, cases: &serde_json::Value) -> Vec<u8> {
    let cases = cases.to_string();
    CustomSection { name: CASES_SECTION.into(), data: cases.as_bytes().into() }.append_to_component(&mut artifact);
    artifact
}

/// A deployment with a decision point for each of the guests, named as they are.
pub fn points(guests: &[(&str, Vec<u8>)]) -> Deployment {
    let points: String = guests
        .iter()
        .map(|(name, _)| {
            format!(
                "[decision_points.{name}]\nstrategy = \"{name}@1.0.0\"\nentities = [\"borrower\"]\n\
                 actions = [\"go\", \"none\"]\ndeadline = \"5s\"\nfallback = {{ action = \"none\" }}\n\n"
            )
        })
        .collect();
    let deployment = Deployment::new(&format!("[limits]\nwall_ms = 2000\n\n{points}"));
    for (name, artifact) in guests {
        deployment.write(&format!("plugins/{name}-1.0.0.wasm"), artifact);
    }
    deployment
}

/// A strategy for the decision point of its own name, which answers `go` as [`PRELUDE`] has it.
pub fn go(name: &str, fields: &str, body: &str) -> Vec<u8> {
    guest(&manifest(name, "1.0.0", name, "go"), &format!("{PRELUDE} {fields} {}", decide(body)))
}
