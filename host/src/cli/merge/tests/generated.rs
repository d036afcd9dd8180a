//! Components from a seed: modules that import each other's functions, globals, table and memory in all ways that the
//! linker knows, and functions that do something with them. Merged or not, they do the same.

use std::fmt::Write as _;

use super::*;

const COMPONENTS: u64 = 60;
/// Calls of one instance.
const CALLS: usize = 8;
/// Slots of the shared table.
const SLOTS: u64 = 12;

/// Types of functions by the parameters that they have; each gives an `i32`.
const TYPES: [&str; 3] = ["(param i32) (result i32)", "(param i32 i32) (result i32)", "(param i64) (result i32)"];

/// Random numbers from a seed, by SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[self.below(list.len() as u64) as usize]
    }
}

/// What a module may use by its name in it.
#[derive(Default)]
struct Scope {
    /// With their types' positions.
    functions: Vec<(String, usize)>,
    /// `i32`; mutable ones.
    globals: Vec<(String, bool)>,
    has_text: bool,
}

impl Scope {
    /// An expression that gives an `i32`.
    fn expression(&self, random: &mut Random, parameter: &str, depth: u64) -> String {
        if depth == 0 {
            return match random.below(3) {
                0 => format!("(i32.const {})", random.below(70) as i64 - 5),
                1 => parameter.to_owned(),
                _ => format!("(global.get {})", random.of(&self.globals).0),
            };
        }
        let part = |random: &mut Random| self.expression(random, parameter, depth - 1);
        match random.below(16) {
            0..3 => {
                let operator = random.of(&["add", "sub", "mul", "xor", "rotl", "lt_s", "shr_u"]);
                format!("(i32.{operator} {} {})", part(random), part(random))
            }
            3 if random.one_in(4) => format!("(i32.rem_s {} {})", part(random), part(random)),
            3..5 => {
                let load = random.of(&["load", "load8_u", "load16_s"]);
                format!("(i32.{load} offset={} (i32.and {} (i32.const 255)))", random.below(64), part(random))
            }
            5 => format!("(select {} {} {})", part(random), part(random), part(random)),
            6 => format!("(if (result i32) {} (then {}) (else {}))", part(random), part(random), part(random)),
            7 => format!(
                "(block (result i32) {} {} (block (param i32 i32) (result i32 i32) nop) (i32.sub))",
                part(random),
                part(random)
            ),
            8..12 => {
                let (name, ty) = random.of(&self.functions).clone();
                format!("(call {name} {})", arguments(ty, &mut || part(random)))
            }
            12..15 => {
                let ty = random.below(2) as usize;
                // Most slots hold something, some of another type; the last are beyond the table.
                let slot = match random.below(12) {
                    0 => format!("(i32.and {} (i32.const 15))", part(random)),
                    1 => format!("(i32.const {})", random.below(SLOTS + 1)),
                    _ => format!("(i32.const {})", ty as u64 + 2 * random.below(2)),
                };
                format!("(call_indirect (type $t{ty}) {} {slot})", arguments(ty, &mut || part(random)))
            }
            _ if random.one_in(6) => "(memory.grow (i32.const 1))".to_owned(),
            _ => {
                format!("(i32x4.extract_lane 1 (i32x4.add (i32x4.splat {}) (v128.load (i32.const 64))))", part(random))
            }
        }
    }

    fn statement(&self, random: &mut Random, parameter: &str) -> String {
        let written: Vec<_> = self.globals.iter().filter(|(_, is_mutable)| *is_mutable).collect();
        match random.below(4) {
            0 if !written.is_empty() => {
                let name = &random.of(&written).0;
                format!("(global.set {name} {})", self.expression(random, parameter, 2))
            }
            1 => format!("(i32.store (i32.and {parameter} (i32.const 127)) {})", self.expression(random, parameter, 2)),
            2 if self.has_text => {
                format!("(call $line (i32.const {}) (i32.const {}))", random.below(8), random.below(9))
            }
            _ => format!("(drop {})", self.expression(random, parameter, 2)),
        }
    }

    /// A function's fields. It does nothing once too many were called.
    fn function(&self, random: &mut Random, name: &str, ty: usize) -> String {
        let parameter = if ty == 2 { "(i32.wrap_i64 (local.get 0))" } else { "(local.get 0)" };
        let statements: String = (0..random.below(3)).map(|_| self.statement(random, parameter)).collect();
        let value = self.expression(random, parameter, 3);
        format!(
            "(func ${name} (export \"{name}\") (type $t{ty}) (local i32)
              (if (i32.le_s (global.get $left) (i32.const 0)) (then (return (i32.const 3))))
              (global.set $left (i32.sub (global.get $left) (i32.const 1))) {statements} {value})\n"
        )
    }
}

fn arguments(ty: usize, part: &mut dyn FnMut() -> String) -> String {
    match ty {
        0 => part(),
        1 => format!("{} {}", part(), part()),
        _ => format!("(i64.extend_i32_s {})", part()),
    }
}

/// The types in some order, with some that nothing uses.
fn types(random: &mut Random) -> String {
    let mut all: Vec<String> = TYPES.iter().enumerate().map(|(at, ty)| format!("(type $t{at} (func {ty}))")).collect();
    all.extend((0..random.below(3)).map(|n| format!("(type (func (param {})))", "f64 ".repeat(n as usize + 1))));
    let by = random.below(all.len() as u64) as usize;
    all.rotate_left(by);
    all.concat()
}

/// A component in the making.
#[derive(Default)]
struct Made {
    text: String,
    /// What instances export: the instance, the name, and the type's position.
    functions: Vec<(String, String, usize)>,
    /// The instance, the name, and whether it is mutable.
    globals: Vec<(String, String, bool)>,
    lifted: Vec<String>,
}

const FRAME: &str = r#"(import "line" (func $line (param "text" string)))
(import "add" (func $add (param "a" s32) (param "b" s32) (result s32)))
(core module $shim (table (export "table") 2 funcref) (type $a (func (param i32 i32) (result i32)))
  (func (export "line") (param i32 i32) local.get 0 local.get 1 i32.const 0 call_indirect (param i32 i32))
  (func (export "add") (type $a) local.get 0 local.get 1 i32.const 1 call_indirect (type $a)))
(core instance $shim (instantiate $shim))
"#;

const FILL: &str = r#"(alias core export $main "memory" (core memory $memory))
(core func $line (canon lower (func $line) (memory $memory)))
(core func $add (canon lower (func $add)))
(core module $fill (import "" "hosts" (table 2 funcref)) (import "" "shared" (table $shared 12 funcref))
  (import "" "line" (func $line (param i32 i32))) (import "" "add" (func $add (param i32 i32) (result i32)))
  (elem (i32.const 0) func $line $add) (elem (table $shared) (i32.const 11) func $add))
(core instance $filling (export "hosts" (table $shim "table")) (export "shared" (table $main "table"))
  (export "line" (func $line)) (export "add" (func $add)))
(core instance (instantiate $fill (with "" (instance $filling))))
"#;

impl Made {
    /// The module with memory, table and the number of calls that are left.
    fn main(&mut self, random: &mut Random) {
        let mut scope = Scope { functions: vec![("$add".to_owned(), 1)], has_text: true, ..Scope::default() };
        let mut fields = format!(
            "{} (import \"host\" \"line\" (func $line (param i32 i32))) (import \"host\" \"add\" (func $add (type $t1)))
            (memory (export \"memory\") 1 2) (table (export \"table\") {SLOTS} funcref)
            (global $left (export \"left\") (mut i32) (i32.const 60)) (data (i32.const 0) \"words to say\")\n",
            types(random)
        );
        for at in 0..2 + random.below(4) {
            let is_mutable = random.one_in(2);
            let ty = if is_mutable { "(mut i32)" } else { "i32" };
            // Offsets of elements and data, too.
            let value = random.below(4);
            let _ = writeln!(fields, "(global $g{at} (export \"g{at}\") {ty} (i32.const {value}))");
            scope.globals.push((format!("$g{at}"), is_mutable));
            self.globals.push(("$main".to_owned(), format!("g{at}"), is_mutable));
        }
        fields.push_str(
            "(func (export \"fresh\") (param i32) (result i32) (global.set $left (i32.const 60)) (local.get 0))\n",
        );
        self.functions(random, "$main", &mut scope, &mut fields);
        let _ = writeln!(fields, "(elem (i32.const 0) func $f0 $f1 $f0 $add)");
        let _ = writeln!(self.text, "(core module $main {fields})");
        self.text.push_str("(core instance $main (instantiate $main (with \"host\" (instance $shim))))\n");
        self.lifted.push("$main \"fresh\"".to_owned());
    }

    /// Writes functions that call what is in `scope`, each in it for the next.
    fn functions(&mut self, random: &mut Random, instance: &str, scope: &mut Scope, fields: &mut String) {
        for at in 0..2 + random.below(4) {
            // Two of a kind that the table takes.
            let ty = if at < 2 { at as usize } else { random.below(TYPES.len() as u64) as usize };
            let name = format!("f{at}");
            fields.push_str(&scope.function(random, &name, ty));
            scope.functions.push((format!("${name}"), ty));
            self.functions.push((instance.to_owned(), name, ty));
        }
        // So that indices take more than one byte.
        if random.one_in(4) {
            fields.push_str(&"(func nop) ".repeat(200));
        }
    }

    /// A module that imports some of what is there, and one or two instances of it.
    fn library(&mut self, random: &mut Random, at: u64) {
        let mut scope = Scope { has_text: true, ..Scope::default() };
        let mut fields = types(random);
        let (mut wanted, mut globals) = (Vec::new(), Vec::new());
        for number in 0..1 + random.below(4) {
            let ty = random.of(&self.functions).2;
            let _ = writeln!(fields, "(import \"env\" \"x{number}\" (func $x{number} (type $t{ty})))");
            scope.functions.push((format!("$x{number}"), ty));
            wanted.push(ty);
        }
        fields.push_str(
            "(import \"main\" \"memory\" (memory 1)) (import \"main\" \"table\" (table 1 funcref))
            (import \"main\" \"left\" (global $left (mut i32))) (import \"shim\" \"line\" (func $line (param i32 i32)))\n",
        );
        for number in 0..1 + random.below(3) {
            let is_mutable = random.of(&self.globals).2;
            let ty = if is_mutable { "(mut i32)" } else { "i32" };
            let _ = writeln!(fields, "(import \"env\" \"v{number}\" (global $v{number} {ty}))");
            scope.globals.push((format!("$v{number}"), is_mutable));
            globals.push(is_mutable);
        }
        let base = scope.globals.iter().find(|(_, is_mutable)| !is_mutable).map(|(name, _)| name.clone());
        let offset = |n: u64| match &base {
            Some(base) => format!("(offset (i32.add (global.get {base}) (i32.const {n})))"),
            None => format!("(offset (i32.const {n}))"),
        };
        let _ = writeln!(fields, "(global $own (export \"own\") (mut i32) (i32.const {}))", random.below(9));
        scope.globals.push(("$own".to_owned(), true));
        let instances: Vec<String> = (0..1 + random.below(2)).map(|n| format!("$lib{at}-{n}")).collect();
        self.functions(random, &instances[0], &mut scope, &mut fields);
        let _ = writeln!(fields, "(elem {} func $f1 $x0 $f0)", offset(random.below(7)));
        let _ = writeln!(fields, "(data {} \"\\00lib{at}\\00\")", offset(random.below(120)));
        let _ = writeln!(self.text, "(core module $lib{at} {fields})");
        let exported: Vec<(String, usize)> = self.exports(&instances[0]);
        for (n, instance) in instances.iter().enumerate() {
            self.instance(random, at, instance, &wanted, &globals);
            if n > 0 {
                self.functions.extend(exported.iter().map(|(name, ty)| (instance.clone(), name.clone(), *ty)));
            }
            self.globals.push((instance.clone(), "own".to_owned(), true));
        }
    }

    fn exports(&self, instance: &str) -> Vec<(String, usize)> {
        let own = self.functions.iter().filter(|(of, ..)| of == instance);
        own.map(|(_, name, ty)| (name.clone(), *ty)).collect()
    }

    /// An instance of a library, with functions and globals of others in the place of its imports.
    fn instance(&mut self, random: &mut Random, at: u64, instance: &str, wanted: &[usize], globals: &[bool]) {
        let mut bag = String::new();
        for (number, ty) in wanted.iter().enumerate() {
            let others =
                self.functions.iter().filter(|(of, _, known)| known == ty && !of.starts_with(&format!("$lib{at}-")));
            let (of, name, _) = *random.of(&others.collect::<Vec<_>>());
            let _ = write!(bag, "(export \"x{number}\" (func {of} \"{name}\"))");
        }
        for (number, is_mutable) in globals.iter().enumerate() {
            let others = self
                .globals
                .iter()
                .filter(|(of, _, known)| known == is_mutable && !of.starts_with(&format!("$lib{at}-")));
            let (of, name, _) = *random.of(&others.collect::<Vec<_>>());
            let _ = write!(bag, "(export \"v{number}\" (global {of} \"{name}\"))");
        }
        let _ = writeln!(
            self.text,
            "(core instance {instance}-env {bag})
            (core instance {instance} (instantiate $lib{at} (with \"env\" (instance {instance}-env))
              (with \"main\" (instance $main)) (with \"shim\" (instance $shim))))"
        );
    }
}

/// A component's text, and its functions.
fn component(random: &mut Random) -> (String, Vec<String>) {
    let mut made = Made { text: FRAME.to_owned(), ..Made::default() };
    made.main(random);
    for at in 0..1 + random.below(4) {
        made.library(random, at);
    }
    made.text.push_str(FILL);
    let taken = made.functions.iter().filter(|(.., ty)| *ty == 0);
    made.lifted.extend(taken.map(|(instance, name, _)| format!("{instance} \"{name}\"")));
    let mut names = Vec::new();
    for (number, function) in made.lifted.iter().enumerate() {
        let _ = writeln!(
            made.text,
            "(func (export \"run{number}\") (param \"n\" s32) (result s32) (canon lift (core func {function})))"
        );
        names.push(format!("run{number}"));
    }
    (format!("(component {})", made.text), names)
}

#[test]
fn generated_components_do_the_same_when_they_are_merged() {
    let (mut answers, mut traps, mut hosts) = (0, 0, 0);
    for seed in 0..COMPONENTS {
        let mut random = Random(seed);
        let (text, names) = component(&mut random);
        let before = wat::parse_str(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        let after = merge(&before).unwrap_or_else(|why| panic!("seed {seed}: {why}\n{text}"));
        // The first gives the others their calls.
        let calls: Vec<(&str, i32)> = (0..CALLS)
            .flat_map(|_| [("run0", 0), (random.of(&names).as_str(), random.below(300) as i32 - 20)])
            .collect();
        let came = trial(&before, &calls).unwrap_or_else(|e| panic!("seed {seed}: {e:?}\n{text}"));
        let merged = trial(&after, &calls).unwrap_or_else(|e| panic!("seed {seed}, merged: {e:?}\n{text}"));
        assert_eq!(merged, came, "seed {seed}\n{text}");
        answers += came.iter().filter(|line| line.starts_with("run") && !line.contains("trap")).count();
        traps += came.iter().filter(|line| line.contains("trap")).count();
        hosts += came.iter().filter(|line| !line.starts_with("run")).count();
    }
    // What is compared is worth it.
    assert!(answers > 400 && traps > 10 && hosts > 50, "{answers} answers, {traps} traps, {hosts} calls of the host");
}
