//! One small component for each way in which a linker goes wrong in silence.

use super::*;

/// A component of a core module that owns memory and table, of others, and of lifted functions of one number.
fn component(main: &str, rest: &str, lifts: &[(&str, &str)]) -> String {
    let lifts: String = lifts
        .iter()
        .map(|(name, from)| {
            format!("(func (export \"{name}\") (param \"n\" s32) (result s32) (canon lift (core func {from})))\n")
        })
        .collect();
    format!(
        "(component (core module $main (memory (export \"memory\") 1) {main})
        (core instance $m (instantiate $main)) {rest} {lifts})"
    )
}

#[test]
fn two_instances_of_one_module_share_what_they_import_and_nothing_else() {
    let text = component(
        r#"(global (export "ten") i32 (i32.const 10)) (global (export "two") i32 (i32.const 2))"#,
        r#"(core module $counter
            (import "env" "memory" (memory 1)) (import "env" "step" (global $step i32))
            (global $count (mut i32) (i32.const 0))
            (data (i32.const 8) "\05")
            (func (export "next") (param i32) (result i32)
                (global.set $count (i32.add (global.get $count) (global.get $step)))
                (i32.store (i32.const 4) (i32.add (i32.load (i32.const 4)) (i32.load (i32.const 8))))
                (i32.add (global.get $count) (i32.mul (i32.load (i32.const 4)) (i32.const 1000)))))
        (core instance $tens (export "memory" (memory $m "memory")) (export "step" (global $m "ten")))
        (core instance $twos (export "memory" (memory $m "memory")) (export "step" (global $m "two")))
        (core instance $a (instantiate $counter (with "env" (instance $tens))))
        (core instance $b (instantiate $counter (with "env" (instance $twos))))"#,
        &[("a", "$a \"next\""), ("b", "$b \"next\"")],
    );
    let calls = [("a", 0), ("a", 0), ("b", 0), ("a", 0)];
    same(&text, &calls, &["a(0) = 5010", "a(0) = 10020", "b(0) = 15002", "a(0) = 20030"]);
}

#[test]
fn one_name_of_two_instances_is_two_things() {
    let text = component(
        r#"(func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
        (func (export "g") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))"#,
        r#"(core module $user (import "env" "f" (func $f (param i32) (result i32)))
            (import "else" "f" (func $g (param i32) (result i32)))
            (func (export "run") (param i32) (result i32) (call $g (call $f (local.get 0)))))
        (core instance $other (export "f" (func $m "g")))
        (core instance $straight (instantiate $user (with "env" (instance $m)) (with "else" (instance $other))))
        (core instance $crossed (instantiate $user (with "env" (instance $other)) (with "else" (instance $m))))"#,
        &[("straight", "$straight \"run\""), ("crossed", "$crossed \"run\"")],
    );
    same(&text, &[("straight", 5), ("crossed", 5)], &["straight(5) = 18", "crossed(5) = 16"]);
}

#[test]
fn a_mutable_global_is_one_under_all_its_names() {
    let text = component(
        r#"(global $sp (export "__stack_pointer") (mut i32) (i32.const 64))
        (func (export "read") (param i32) (result i32) (global.get $sp))"#,
        r#"(core module $pass (import "env" "__stack_pointer" (global $g (mut i32))) (export "sp" (global $g))
            (global (export "own") (mut i32) (i32.const 7)))
        (core instance $p (instantiate $pass (with "env" (instance $m))))
        (core module $user (import "env" "own" (global $own (mut i32))) (import "env" "sp" (global $sp (mut i32)))
            (func (export "push") (param i32) (result i32)
                (global.set $sp (i32.sub (global.get $sp) (local.get 0)))
                (global.set $own (i32.add (global.get $own) (i32.const 1)))
                (global.get $own)))
        (core instance $u (instantiate $user (with "env" (instance $p))))"#,
        &[("push", "$u \"push\""), ("read", "$m \"read\"")],
    );
    same(&text, &[("push", 16), ("push", 16), ("read", 0)], &["push(16) = 8", "push(16) = 9", "read(0) = 32"]);
}

#[test]
fn globals_that_nothing_writes_keep_their_bits() {
    let text = component(
        r#"(global (export "nan") f64 (f64.const nan:0x4000000000123)) (global (export "minus") f32 (f32.const -0))
        (global (export "wide") (mut i64) (i64.const -9007199254740993)) (global (export "base") i32 (i32.const 40))"#,
        r#"(core module $user (import "env" "nan" (global $nan f64)) (import "env" "minus" (global $minus f32))
            (import "env" "wide" (global $wide (mut i64))) (import "env" "base" (global $base i32))
            (global $sum i32 (i32.add (global.get $base) (i32.const 2)))
            (func (export "run") (param i32) (result i32)
                (i32.add (global.get $sum)
                    (i32.xor (i32.wrap_i64 (i64.reinterpret_f64 (global.get $nan)))
                        (i32.xor (i32.reinterpret_f32 (global.get $minus)) (i32.wrap_i64 (global.get $wide)))))))
        (core instance $u (instantiate $user (with "env" (instance $m))))"#,
        &[("run", "$u \"run\"")],
    );
    let bits = 0x123 ^ i32::MIN ^ -1;
    same(&text, &[("run", 0)], &[&format!("run(0) = {}", bits.wrapping_add(42))]);
}

#[test]
fn later_instances_overwrite_slots_and_bytes_zeros_too() {
    let text = component(
        r#"(table (export "table") 4 funcref) (elem (i32.const 0) func $a $a $a)
        (func $a (result i32) (i32.const 1))
        (func (export "at") (param i32) (result i32)
            (i32.add (call_indirect (result i32) (local.get 0)) (i32.mul (i32.load8_u (local.get 0)) (i32.const 10))))
        (data (i32.const 0) "\09\09\09")"#,
        r#"(core module $over (import "env" "table" (table 4 funcref)) (import "env" "memory" (memory 1))
            (func $b (result i32) (i32.const 2)) (elem (i32.const 1) func $b $b)
            (data (i32.const 1) "\00") (data (i32.const 1) "\00\07"))
        (core instance (instantiate $over (with "env" (instance $m))))"#,
        &[("at", "$m \"at\"")],
    );
    let calls = [("at", 0), ("at", 1), ("at", 2), ("at", 3)];
    same(&text, &calls, &["at(0) = 91", "at(1) = 2", "at(2) = 72", "at(3) = trap IndirectCallToNull"]);
}

/// Main has a table of three, with a function of another type in it; the host's function has type `(i32 i32)`.
fn wild() -> String {
    r#"(component
        (import "line" (func $line (param "text" string)))
        (core module $shim (table (export "table") 1 funcref) (type $line (func (param i32 i32)))
            (func (export "line") (param i32 i32) local.get 0 local.get 1 i32.const 0 call_indirect (type $line)))
        (core instance $s (instantiate $shim))
        (core module $main (import "host" "line" (func $line (param i32 i32)))
            (memory (export "memory") 1) (table 3 funcref) (elem (i32.const 0) func $line $none)
            (func $none) (data (i32.const 0) "text")
            (func (export "through") (param i32) (result i32)
                (call_indirect (param i32 i32) (i32.const 0) (i32.const 4) (local.get 0))
                (i32.const 1)))
        (core instance $m (instantiate $main (with "host" (instance $s))))
        (alias core export $m "memory" (core memory $memory))
        (core func $lowered (canon lower (func $line) (memory $memory)))
        (core module $fill (import "" "table" (table 1 funcref)) (import "" "line" (func $line (param i32 i32)))
            (elem (i32.const 0) func $line))
        (core instance $filling (export "table" (table $s "table")) (export "line" (func $lowered)))
        (core instance (instantiate $fill (with "" (instance $filling))))
        (func (export "through") (param "n" s32) (result s32) (canon lift (core func $m "through"))))"#
        .to_owned()
}

#[test]
fn a_wild_call_traps_and_does_not_get_to_the_host() {
    let text = wild();
    same(
        &text,
        &[("through", 0), ("through", 1)],
        &["line(\"text\")", "through(0) = 1", "through(1) = trap BadSignature"],
    );
    same(&text, &[("through", 2)], &["through(2) = trap IndirectCallToNull"]);
    for beyond in [3, 4, -1] {
        same(&text, &[("through", beyond)], &[&format!("through({beyond}) = trap TableOutOfBounds")]);
    }
}

#[test]
fn types_are_the_same_whatever_their_index() {
    let text = component(
        r#"(type $a (func (param i32) (result i32))) (type $b (func (param i64) (result i32)))
        (type $two (func (param i32) (result i32 i32)))
        (table (export "table") 4 funcref) (elem (i32.const 0) func $f $g $h)
        (func $f (type $a) (i32.add (local.get 0) (i32.const 1))) (func $g (type $b) (i32.wrap_i64 (local.get 0)))
        (func $h (type $two) (local.get 0) (i32.const 9))"#,
        r#"(core module $user (import "env" "table" (table 4 funcref))
            (type $unused (func (param f32))) (type $two (func (param i32) (result i32 i32)))
            (type $b (func (param i64) (result i32))) (type $a (func (param i32) (result i32)))
            (func (export "run") (type $a)
                (local.get 0)
                (block (type $two) (call_indirect (type $two) (i32.const 2)))
                (i32.add) (call_indirect (type $a) (i32.const 0))
                (call_indirect (type $b) (i64.const 5) (i32.const 1)) (i32.add))
            (func (export "wrong") (type $a) (call_indirect (type $a) (local.get 0) (i32.const 1))))
        (core instance $u (instantiate $user (with "env" (instance $m))))"#,
        &[("run", "$u \"run\""), ("wrong", "$u \"wrong\"")],
    );
    same(&text, &[("run", 1), ("wrong", 1)], &["run(1) = 16", "wrong(1) = trap BadSignature"]);
}

#[test]
fn only_what_merely_passes_a_call_on_is_left_out() {
    let text = component(
        r#"(type $t (func (param i32 i32) (result i32))) (table (export "table") 8 funcref)
        (elem (i32.const 0) func $minus $chain $swapped $third $more $other $null)
        (func $minus (type $t) (i32.sub (local.get 0) (local.get 1)))
        (func $chain (type $t) local.get 0 local.get 1 i32.const 0 call_indirect (type $t))
        (func $swapped (type $t) local.get 1 local.get 0 i32.const 0 call_indirect (type $t))
        (func $third (type $t) local.get 0 local.get 1 i32.const 1 call_indirect (type $t))
        (func $more (type $t) local.get 0 local.get 1 i32.const 0 call_indirect (type $t) i32.const 1 i32.add)
        (func $other (type $t) local.get 0 local.get 1 i32.const 7 call_indirect (type $t))
        (func $null (type $t) local.get 0 local.get 1 i32.const 9 call_indirect (type $t))
        (func (export "at") (param i32) (result i32) (call_indirect (type $t) (i32.const 9) (i32.const 4) (local.get 0)))
        (func (export "direct") (param i32) (result i32)
            (i32.add (i32.mul (call $third (local.get 0) (i32.const 1)) (i32.const 100))
                (call $swapped (local.get 0) (i32.const 1))))"#,
        "",
        &[("at", "$m \"at\""), ("direct", "$m \"direct\"")],
    );
    let calls = [("direct", 5), ("at", 0), ("at", 1), ("at", 2), ("at", 3), ("at", 4), ("at", 5)];
    let expected = ["direct(5) = 396", "at(0) = 5", "at(1) = 5", "at(2) = -5", "at(3) = 5", "at(4) = 6"];
    same(&text, &calls, &[&expected[..], &["at(5) = trap IndirectCallToNull"]].concat());
    same(&text, &[("at", 6)], &["at(6) = trap TableOutOfBounds"]);
}

#[test]
fn functions_that_pass_a_call_on_in_a_circle_run_out_of_stack() {
    for length in [1, 2, 3, 17] {
        let functions: String = (0..length)
            .map(|at| {
                let next = (at + 1) % length;
                format!("(func $f{at} (param i32) (result i32) local.get 0 i32.const {next} call_indirect (type $t))")
            })
            .collect();
        let names: String = (0..length).map(|at| format!("$f{at} ")).collect();
        let text = component(
            &format!(
                r#"(type $t (func (param i32) (result i32))) (table {length} funcref) (elem (i32.const 0) func {names})
                {functions} (export "run" (func $f0))"#
            ),
            "",
            &[("run", "$m \"run\"")],
        );
        same(&text, &[("run", 1)], &["run(1) = trap StackOverflow"]);
    }
}

#[test]
fn memory_grows_to_its_limit_from_where_it_began() {
    let text = r#"(component
        (core module $main (memory (export "memory") 2 3) (data (i32.const 131071) "\07"))
        (core instance $m (instantiate $main))
        (core module $user (import "m" "memory" (memory 1 4))
            (func (export "grow") (param i32) (result i32)
                (i32.add (i32.mul (memory.size) (i32.const 100)) (memory.grow (local.get 0))))
            (func (export "read") (param i32) (result i32) (i32.load8_u (local.get 0))))
        (core instance $u (instantiate $user (with "m" (instance $m))))
        (func (export "grow") (param "n" s32) (result s32) (canon lift (core func $u "grow")))
        (func (export "read") (param "n" s32) (result s32) (canon lift (core func $u "read"))))"#;
    let calls = [("read", 131_071), ("grow", 2), ("grow", 1), ("grow", 1), ("read", 131_072), ("read", 196_608)];
    let expected = ["read(131071) = 7", "grow(2) = 199", "grow(1) = 202", "grow(1) = 299", "read(131072) = 0"];
    same(text, &calls, &[&expected[..], &["read(196608) = trap MemoryOutOfBounds"]].concat());
}

/// The allocator is of another module than the memory, and strings go both ways, once in UTF-16.
const TEXTS: &str = r#"(component
    (import "name" (func $name (param "n" s32) (result string)))
    (import "line" (func $line (param "text" string)))
    (core module $shim (table (export "table") 3 funcref)
        (func (export "name") (param i32 i32) local.get 0 local.get 1 i32.const 0 call_indirect (param i32 i32))
        (func (export "line") (param i32 i32) local.get 0 local.get 1 i32.const 1 call_indirect (param i32 i32))
        (func (export "wide") (param i32 i32) local.get 0 local.get 1 i32.const 2 call_indirect (param i32 i32)))
    (core instance $s (instantiate $shim))
    (core module $main (memory (export "memory") 1) (global (export "top") (mut i32) (i32.const 1024)))
    (core instance $m (instantiate $main))
    (core module $allocator (import "m" "top" (global $top (mut i32)))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (global.set $top (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
            (global.get $top) (global.set $top (i32.add (global.get $top) (local.get 3)))))
    (core instance $a (instantiate $allocator (with "m" (instance $m))))
    (core module $user (import "m" "memory" (memory 1)) (import "m" "top" (global $top (mut i32)))
        (import "s" "name" (func $name (param i32 i32))) (import "s" "line" (func $line (param i32 i32)))
        (import "s" "wide" (func $wide (param i32 i32)))
        (global $freed (mut i32) (i32.const 0)) (data (i32.const 100) "h\00i\00")
        (func (export "echo") (param i32 i32) (result i32)
            (call $name (i32.add (local.get 1) (global.get $freed)) (i32.const 16))
            (call $line (i32.load (i32.const 16)) (i32.load (i32.const 20)))
            (call $line (local.get 0) (local.get 1))
            (call $wide (i32.const 100) (i32.const 2))
            (i32.const 16))
        (func (export "free") (param i32) (global.set $freed (i32.add (global.get $freed) (i32.const 100))))
        (func (export "top") (param i32) (result i32) (i32.add (global.get $top) (global.get $freed))))
    (core instance $u (instantiate $user (with "m" (instance $m)) (with "s" (instance $s))))
    (alias core export $m "memory" (core memory $memory))
    (alias core export $a "realloc" (core func $realloc))
    (core func $name (canon lower (func $name) (memory $memory) (realloc $realloc)))
    (core func $line (canon lower (func $line) (memory $memory)))
    (core func $wide (canon lower (func $line) (memory $memory) string-encoding=utf16))
    (core module $fill (import "" "t" (table 3 funcref)) (import "" "0" (func (param i32 i32)))
        (import "" "1" (func (param i32 i32))) (import "" "2" (func (param i32 i32))) (elem (i32.const 0) func 0 1 2))
    (core instance $filling (export "t" (table $s "table")) (export "0" (func $name)) (export "1" (func $line))
        (export "2" (func $wide)))
    (core instance (instantiate $fill (with "" (instance $filling))))
    (func (export "echo") (param "text" string) (result string)
        (canon lift (core func $u "echo") (memory $memory) (realloc $realloc) (post-return (func $u "free"))))
    (func (export "top") (param "n" s32) (result s32) (canon lift (core func $u "top"))))"#;

#[test]
fn texts_go_in_and_out_by_their_own_memory_allocator_and_end() {
    let expected = [
        ["name(6)", "line(\"text 1\")", "line(\"text 3\")", "line(\"hi\")", "echo(3) = \"text 1\""],
        ["name(107)", "line(\"text 3\")", "line(\"text 12\")", "line(\"hi\")", "echo(12) = \"text 3\""],
    ];
    let came: Vec<&str> = expected.iter().flatten().copied().chain(["top(0) = 1254"]).collect();
    same(TEXTS, &[("echo", 3), ("echo", 12), ("top", 0)], &came);
}

#[test]
fn vectors_and_tail_calls_are_carried_over_whole() {
    let text = component(
        r#"(table (export "table") 2 funcref) (elem (i32.const 0) func $count)
        (func $count (export "count") (param i32 i32) (result i32)
            (if (result i32) (i32.eqz (local.get 0)) (then (local.get 1))
                (else (return_call_indirect (param i32 i32) (result i32)
                    (i32.sub (local.get 0) (i32.const 1)) (i32.add (local.get 1) (i32.const 3)) (i32.const 0)))))
        (data (i32.const 16) "\01\00\00\00\02\00\00\00\03\00\00\00\04\00\00\00")"#,
        r#"(core module $user (import "m" "memory" (memory 1))
            (import "m" "count" (func $count (param i32 i32) (result i32)))
            (func (export "tail") (param i32) (result i32) (return_call $count (local.get 0) (i32.const 0)))
            (func (export "lanes") (param i32) (result i32)
                (v128.store offset=32 (i32.const 0) (i32x4.mul (v128.load offset=16 (i32.const 0)) (i32x4.splat (local.get 0))))
                (i32.add (i32x4.extract_lane 3 (v128.load32_lane offset=8 1 (i32.const 32) (v128.load (i32.const 32))))
                    (i32x4.extract_lane 0 (i32x4.relaxed_trunc_f32x4_s (f32x4.splat (f32.const 7.5)))))))
        (core instance $u (instantiate $user (with "m" (instance $m))))"#,
        &[("tail", "$u \"tail\""), ("lanes", "$u \"lanes\"")],
    );
    same(&text, &[("tail", 1_000_000), ("lanes", 5)], &["tail(1000000) = 3000000", "lanes(5) = 27"]);
}

#[test]
fn the_world_around_stays_with_its_custom_sections_and_nested_names() {
    let text = r#"(component
        (@custom "serin:x" "kept")
        (type $number (func (param "n" s32) (result s32)))
        (core module $main (memory 1) (func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))
        (core instance $m (instantiate $main))
        (func $f (type $number) (canon lift (core func $m "f")))
        (component $shim (type $n (func (param "n" s32) (result s32))) (import "f" (func $f (type $n)))
            (export "f" (func $f)))
        (instance $i (instantiate $shim (with "f" (func $f))))
        (export "test:a/b" (instance $i))
        (alias export $i "f" (func $again)) (export "f" (func $again)))"#;
    same(text, &[("f", 1)], &["f(1) = 2"]);
    let before = wat::parse_str(text).expect("a component");
    let after = merge(&before).expect("merges");
    let own = |component: &[u8]| {
        let mut kept = Vec::new();
        for payload in sections(component).expect("sections") {
            match payload {
                wasmparser::Payload::CustomSection(section) if section.name() != "component-name" => {
                    kept.push(format!("{} {:?}", section.name(), section.data()));
                }
                wasmparser::Payload::ComponentExportSection(exports) => {
                    kept.extend(exports.into_iter().map(|export| format!("{:?}", export.expect("an export").name)));
                }
                _ => {}
            }
        }
        kept
    };
    assert_eq!(own(&after), own(&before));
    assert_eq!(own(&before).len(), 3);
}
