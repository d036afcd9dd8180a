//! What the linker leaves as it is, because it does not know it or because it is broken. It never panics.

use super::*;
use crate::sandbox::trial::trial;

/// `LINKED` with pieces of its text replaced.
fn changed(pieces: &[(&str, &str)]) -> String {
    pieces.iter().fold(LINKED.to_owned(), |text, (find, put)| {
        assert!(text.contains(find), "{find}");
        text.replacen(find, put, 1)
    })
}

const UNUSED: &str = "(func $unused (result i32) i32.const 7)";
const TWICE: &str = "i32.const 2 i32.mul)";
const MAIN: &str = "(core module $main";

#[test]
fn a_shape_that_is_not_known_is_named() {
    for (find, put, named) in [
        (UNUSED, "(start $begin) (func $begin)", "runs code when it starts"),
        (TWICE, "i32.const 2 i32.mul (table.set 0 (i32.const 1) (ref.null func)))", "TableSet"),
        (TWICE, "i32.const 2 i32.mul (drop (table.grow 0 (ref.null func) (i32.const 1))))", "TableGrow"),
        (TWICE, "i32.const 2 i32.mul (drop (ref.func $twice)))", "RefFunc"),
        (UNUSED, "(elem declare func $twice)", "elements that are not written at the start"),
        (UNUSED, "(elem func $twice)", "elements that are not written at the start"),
        (UNUSED, "(elem (i32.const 0) funcref (ref.null func))", "elements that are not written at the start"),
        ("(data (i32.const 100) \"b\"", "(data \"b\"", "data that is not written at the start"),
        ("(elem (global.get $base)", "(elem (i32.const 3)", "elements beyond their table"),
        ("(elem (global.get $base)", "(elem (i32.const -1)", "elements beyond their table"),
        ("(data (i32.const 100) \"b\"", "(data (i32.const 65536) \"b\"", "data beyond the memory"),
        ("(data (i32.const 100) \"b\"", "(data (i32.const -1) \"b\"", "data beyond the memory"),
        ("i32 (i32.const 1))", "i32 (i32.mul (i32.const 1) (i32.const 1)))", "I32Mul"),
        (MAIN, "(core module (memory 1)) (core instance (instantiate 0)) (core module $main", "not exactly one memory"),
        // As every instance would be given all of it.
        ("(memory (export \"memory\") 1)", "(memory (export \"memory\") 8193)", "a larger memory"),
    ] {
        let error = merged(&changed(&[(find, put)])).expect_err(named);
        assert!(error.to_string().contains(named), "{named}: {error}");
    }
}

/// A pool has two tables for a module: its own, and the one with the host's functions.
#[test]
fn calls_through_two_tables_are_named() {
    let text = changed(&[
        ("(table (export \"table\") 3 funcref)", "(table (export \"table\") 3 funcref) (table $two 1 funcref)"),
        (
            "i32.const 1 call_indirect",
            "(drop (call_indirect $two (result i32) (i32.const 0))) i32.const 1 nop call_indirect",
        ),
    ]);
    let error = merged(&text).expect_err("two tables");
    assert!(error.to_string().contains("more than one table"), "{error}");
}

#[test]
fn proposals_that_the_linker_does_not_know_are_named() {
    for (put, named) in
        [("(memory (export \"memory\") i64 1)", "memory64"), ("(memory (export \"memory\") 1 1 shared)", "threads")]
    {
        let error = merged(&changed(&[("(memory (export \"memory\") 1)", put)])).expect_err(put);
        assert!(error.to_string().contains(named), "{put}: {error}");
    }
    for (put, named) in [
        ("(tag $t) (func (throw $t))", "exceptions"),
        ("(func (block $l (try_table (catch_all $l))))", "exceptions"),
        ("(func (drop (i32.atomic.load (i32.const 0))))", "threads"),
        ("(memory 1)", "multiple memories"),
        ("(func (param externref))", "gc"),
        ("(type $s (struct (field i32)))", "gc"),
        ("(rec (type (func)) (type (func)))", "gc"),
        ("(type $f (func)) (func (param (ref null $f)))", "reference"),
        ("(func $f) (table 1 funcref (ref.func $f))", ""),
        ("(func (call_ref 0 (ref.null 0)))", ""),
    ] {
        let text = changed(&[(UNUSED, put)]);
        let error = merged(&text).expect_err(put);
        assert!(error.to_string().contains(named), "{put}: {error}");
    }
}

/// A module from elsewhere shifts the indices of the component's own: the wrong one would be instantiated.
#[test]
fn modules_that_come_from_elsewhere_or_go_there_are_refused() {
    let own = r#"(core module $own (memory 1) (func (export "f") (param i32) (result i32) (i32.const 1)))
        (core module $next (func (export "f") (param i32) (result i32) (i32.const 2)))"#;
    let lift = |instance: &str| {
        format!("(func $f (export \"f\") (param \"n\" s32) (result s32) (canon lift (core func {instance} \"f\")))")
    };
    let next = format!("(core instance $o (instantiate $own)) (core instance $n (instantiate $next)) {}", lift("$n"));
    for (before, after, named) in [
        ("(import \"m\" (core module $m))", "", "a module"),
        (
            "",
            "(component $c (alias outer 1 $own (core module $m)) (core instance (instantiate $m))) (instance (instantiate $c))",
            "a component inside that has modules",
        ),
        (
            "",
            "(component $c (import \"m\" (core module))) (instance (instantiate $c (with \"m\" (core module $own))))",
            "a component inside that has modules",
        ),
        (
            "",
            "(component $c (core module $m (func $g unreachable) (start $g)) (core instance (instantiate $m)))",
            "a component inside that has modules",
        ),
        (
            "(import \"i\" (instance $i (export \"m\" (core module)))) (alias export $i \"m\" (core module $m))",
            "",
            "comes from elsewhere",
        ),
        ("", "(export \"m\" (core module $own))", "comes from elsewhere"),
        ("", "(instance (export \"m\" (core module $own)))", "goes there"),
        ("(core type (module))", "", "a module's type"),
    ] {
        let text = format!("(component {before} {own} {next} {after})");
        let error = merged(&text).expect_err(&text);
        assert!(error.to_string().contains(named), "{named}: {error}\n{text}");
    }
    let text = format!("(component {own} {next})");
    let (before, after) = (wat::parse_str(&text).expect("a component"), merge(&wat::parse_str(&text).expect("it")));
    let calls = [("f", 0)];
    let came = trial(&before, &calls).expect("runs");
    assert_eq!(came, ["f(0) = 2"]);
    assert_eq!(trial(&after.expect("merges"), &calls).expect("runs"), came);
}

/// Without a look at what is valid, the first overflows the stack and the second takes for ever.
#[test]
fn values_that_need_themselves_or_each_other_twice_over_end() {
    let own = "(component (core module $m (memory 1) (global $g i32 (global.get $g))
        (func (export \"f\") (result i32) (global.get $g)))
        (core instance $i (instantiate $m)) (func (export \"f\") (result s32) (canon lift (core func $i \"f\"))))";
    merged(own).expect_err("refers to itself");

    let mut text = String::from(
        "(component (core module $first (memory 1) (global (export \"g\") i32 (i32.const 1)))
        (core module $twice (import \"\" \"g\" (global $g i32))
            (global $sum (export \"g\") i32 (i32.add (global.get $g) (global.get $g)))
            (func (export \"f\") (param i32) (result i32) (global.get $sum)))
        (core instance $i0 (instantiate $first))",
    );
    for at in 1..=60 {
        let before = at - 1;
        text.push_str(&format!("(core instance $i{at} (instantiate $twice (with \"\" (instance $i{before}))))\n"));
    }
    let f = |at: u32| {
        format!("(func (export \"f{at}\") (param \"n\" s32) (result s32) (canon lift (core func $i{at} \"f\")))")
    };
    text.push_str(&format!("{}{})", f(20), f(60)));
    same(&text, &[("f20", 0), ("f60", 0)], &["f20(0) = 1048576", "f60(0) = 0"]);
}

#[test]
fn broken_components_are_errors() {
    let whole = wat::parse_str(LINKED).expect("a component");
    for end in 0..whole.len() {
        // The last section's end may be missing: what is left is whole again.
        if let Ok(merged) = merge(&whole[..end]) {
            valid::check(&merged).expect("valid");
        }
    }
    merge(b"not a component").expect_err("no component");
    merge(&wat::parse_str("(module (memory 1))").expect("a module")).expect_err("a module");
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..2_000 {
        let mut broken = whole.clone();
        for _ in 0..1 + seed % 3 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = (seed >> 8) as usize % broken.len();
            broken[at] = seed as u8;
        }
        if let Ok(merged) = merge(&broken) {
            valid::check(&merged).expect("valid");
        }
    }
}
