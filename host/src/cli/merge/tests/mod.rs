//! What the linker makes of small components, against what the component does that it was made of.

use super::*;
use crate::sandbox::trial::trial;

mod generated;
mod hazards;
mod refused;

/// Two modules that call each other through a table, as shared libraries do, and a function of the host.
const LINKED: &str = r#"(component
    (import "line" (func $line (param "text" string)))
    (core module $main
        (table (export "table") 3 funcref)
        (memory (export "memory") 1)
        (global (export "base") i32 (i32.const 1))
        (global (export "got") (mut i32) (i32.const 40))
        (global (export "stack") (mut i32) (i32.const 1024))
        (func (export "double") (param i32) (result i32)
            local.get 0 i32.const 1 call_indirect (param i32) (result i32))
        (func (export "line") (param i32 i32) local.get 0 local.get 1 i32.const 2 call_indirect (param i32 i32))
        (data (i32.const 0) "a") (data (i32.const 100) "b"))
    (core module $library
        (import "env" "table" (table 3 funcref))
        (import "env" "memory" (memory 1))
        (import "env" "base" (global $base i32))
        (import "env" "got" (global $got (mut i32)))
        (import "env" "stack" (global $stack (mut i32)))
        (import "env" "double" (func $double (param i32) (result i32)))
        (import "env" "line" (func $line (param i32 i32)))
        (func $twice (param i32) (result i32) local.get 0 i32.const 2 i32.mul)
        (func $unused (result i32) i32.const 7)
        (func (export "run") (result i32)
            (global.set $stack (i32.sub (global.get $stack) (i32.const 16)))
            (call $line (i32.const 0) (i32.const 1))
            (call $double (global.get $got)))
        (elem (global.get $base) func $twice))
    (core module $fill
        (import "" "table" (table 3 funcref)) (import "" "line" (func $line (param i32 i32)))
        (elem (i32.const 2) func $line))
    (core instance $a (instantiate $main))
    (core instance $b (instantiate $library (with "env" (instance $a))))
    (alias core export $a "memory" (core memory $memory))
    (core func $lowered (canon lower (func $line) (memory $memory)))
    (core instance $filling (export "table" (table $a "table")) (export "line" (func $lowered)))
    (core instance (instantiate $fill (with "" (instance $filling))))
    (func (export "run") (result s32) (canon lift (core func $b "run"))))"#;

fn merged(text: &str) -> Result<String, NotMerged> {
    merge(&wat::parse_str(text).expect("a component")).map(|bytes| shown(&bytes))
}

/// One line for each core module, instance, import and export.
fn shown(component: &[u8]) -> String {
    use wasmparser::Payload;
    let mut lines = Vec::new();
    for payload in sections(component).expect("a component") {
        match payload {
            Payload::ModuleSection { unchecked_range, .. } => {
                let module = core_module::CoreModule::parse(&component[unchecked_range]).expect("a module");
                lines.push(format!(
                    "module: {} functions, {} tables, {} globals, {} pieces of data",
                    module.functions.len(),
                    module.tables.len(),
                    module.globals.len(),
                    module.data.len()
                ));
            }
            Payload::InstanceSection(section) => lines.push(format!("{} instances", section.count())),
            Payload::ComponentImportSection(section) => lines.push(format!("{} imports", section.count())),
            Payload::ComponentExportSection(section) => lines.push(format!("{} exports", section.count())),
            _ => {}
        }
    }
    lines.join("\n")
}

/// What calls of a component come to, merged or not; they have to come to `expected`, where something is.
fn same(text: &str, calls: &[(&str, i32)], expected: &[&str]) {
    let before = wat::parse_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let after = merge(&before).unwrap_or_else(|why| panic!("{why}\n{text}"));
    let came = trial(&before, calls).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
    assert_eq!(came, expected, "not merged\n{text}");
    let merged = trial(&after, calls).unwrap_or_else(|e| panic!("merged: {e:?}\n{text}"));
    assert_eq!(merged, came, "merged\n{text}");
}

#[test]
fn modules_become_one_that_has_only_what_is_reached() {
    let expected = "1 imports\n\
        module: 3 functions, 1 tables, 1 globals, 2 pieces of data\n1 instances\n\
        module: 0 functions, 0 tables, 0 globals, 0 pieces of data\n2 instances\n1 exports";
    // The function, the one that it calls through the table, and the host's; the stack's pointer.
    assert_eq!(merged(LINKED).expect("merges"), expected);
    same(LINKED, &[("run", 0), ("run", 0)], &["line(\"a\")", "run(0) = 80", "line(\"a\")", "run(0) = 80"]);
}

#[test]
fn what_is_merged_once_stays_as_it_is() {
    let once = merge(&wat::parse_str(LINKED).expect("a component")).expect("merges");
    assert_eq!(shown(&merge(&once).expect("merges again")), shown(&once));
}
