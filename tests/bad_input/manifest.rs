//! `plugin.toml`, one mistake at a time.

use serin_core::manifest::Manifest;

const GOOD: &str = r#"
name = "small"
version = "1.0.0"
decision_point = "outreach"

[actions]
no_contact = {}
email = { parameters = { template = "text" } }

[reasons]
LATE = "The payment is late"

[[features]]
view = "context"
name = "days"
type = "integer"
on_missing = "error"

[[features]]
view = "profile"
name = "dti"
type = "number"
max_age = "24h"
on_missing = { default = 0.5 }

[[models]]
name = "risk"
version = "1.0.0"
inputs = { dti = "profile.dti" }
fallback = 0.05

[parameters.cap]
type = "integer"
default = 3
min = 0
max = 7

[limits]
fuel = 1000
"#;

/// From, to, and what the message has to say.
const MISTAKES: &[(&str, &str, &[&str])] = &[
    ("version = \"1.0.0\"\ndec", "ver = \"1.0.0\"\ndec", &["unknown field `ver`", "`version`"]),
    ("decision_point = \"outreach\"", "", &["missing field `decision_point`"]),
    ("name = \"small\"", "name = \"1 small\"", &["name: '1 small' is not a name", "valid: a letter"]),
    ("version = \"1.0.0\"\ndec", "version = \"1.0\"\ndec", &["version = \"1.0\"", "MAJOR.MINOR.PATCH"]),
    ("no_contact = {}\nemail = { parameters = { template = \"text\" } }", "", &["no actions"]),
    ("no_contact = {}", "no_contact = {}\nno_contact = {}", &["duplicate key", "no_contact"]),
    ("template = \"text\"", "template = \"string\"", &["actions.email", "template", "boolean, integer, number, text"]),
    ("LATE =", "\"TOO LATE\" =", &["reasons", "'TOO LATE' is not a name"]),
    ("name = \"dti\"", "name = \"days\"", &["profile.days", "declared already"]),
    ("type = \"number\"\nmax_age", "type = \"float\"\nmax_age", &["unknown variant `float`", "`number`"]),
    ("max_age = \"24h\"", "max_age = \"a day\"", &["profile.dti", "max_age", "valid: 50ms, 10s, 24h, 14d"]),
    ("on_missing = \"error\"", "max_age = \"1h\"", &["context.days", "max_age", "remove it"]),
    (
        "on_missing = \"error\"",
        "on_missing = \"fail\"",
        &["context.days", "on_missing = \"fail\"", "\"error\", \"pass\""],
    ),
    ("default = 0.5", "default = \"half\"", &["profile.dti", "the default is text", "declared as number"]),
    ("default = 0.5", "default = nan", &["on_missing"]),
    ("default = 0.5", "defalt = 0.5", &["on_missing"]),
    ("\"profile.dti\"", "\"profile.income\"", &["risk@1.0.0", "'profile.income'", "VIEW.FEATURE"]),
    ("fallback = 0.05", "fallback = nan", &["risk@1.0.0", "fallback must be finite"]),
    ("inputs = { dti = \"profile.dti\" }\n", "", &["risk@1.0.0", "needs inputs"]),
    ("max = 7", "max = -1", &["'cap'", "the range [0, -1] holds no value"]),
    ("max = 7", "max = nan", &["'cap'", "max = NaN", "a finite number"]),
    ("min = 0\nmax = 7", "min = nan", &["'cap'", "min = NaN", "a finite number"]),
    ("min = 0\nmax = 7", "max = inf", &["'cap'", "max = inf", "a finite number"]),
    ("default = 3", "default = 9", &["'cap' = 9 is out of its range [0, 7]"]),
    ("default = 3", "default = 3.5", &["'cap' is number", "declared as integer"]),
    (
        "type = \"integer\"\ndefault = 3\nmin",
        "type = \"text\"\ndefault = \"3\"\nmin",
        &["'cap'", "min and max are for numbers"],
    ),
    ("fuel = 1000", "fuel = 0", &["limits.fuel = 0", "from 1"]),
    ("fuel = 1000", "fule = 1000", &["unknown field `fule`", "`fuel`"]),
    // A list has its values by position, and names none of them.
    ("no_contact = {}", "no_contact = []", &["line 7", "expected a table", "like discount = { parameters"]),
    (
        "[parameters.cap]",
        "[parameters]\nlow = [\"integer\", 3]\n[parameters.cap]",
        &["line 33", "[parameters.cap] with"],
    ),
];

#[test]
fn each_mistake_is_named_with_what_is_valid() {
    Manifest::parse(GOOD).expect("the base of all mistakes is valid");
    for (from, to, needles) in MISTAKES {
        assert!(GOOD.contains(from), "{from}");
        let error = Manifest::parse(&GOOD.replacen(from, to, 1)).expect_err(to).to_string();
        for needle in *needles {
            assert!(error.contains(needle), "{to:?} should say {needle:?}: {error}");
        }
    }
}

#[test]
fn features_models_and_limits_are_tables() {
    let head = "name = \"small\"\nversion = \"1.0.0\"\ndecision_point = \"outreach\"\nactions.none = {}\n";
    for (list, like) in [
        ("features = [[\"context\", \"days\", \"integer\"]]", "like [[features]] with view, name and type below it"),
        ("limits = [1000]", "like [limits] with wall_ms = 25 below it"),
        ("models = [[\"risk\", \"1.0.0\"]]", "like [[models]] with name, version and inputs below it"),
    ] {
        let error = Manifest::parse(&format!("{head}{list}\n")).expect_err(list).to_string();
        assert!(error.contains("line 5") && error.contains(like), "{error}");
    }
}

#[test]
fn every_text_and_every_list_has_a_bound() {
    let many = |line: &dyn Fn(usize) -> String| (0..1_100).map(line).collect::<String>();
    let long = "x".repeat(5_000);
    for (from, to, needle) in [
        ("\"The payment is late\"", format!("\"{long}\""), "reasons.LATE: 5000 bytes of text; valid: at most 1024"),
        (
            "version = \"1.0.0\"",
            format!("version = \"1.0.0+{long}\""),
            "version: 5006 bytes of text; valid: at most 64",
        ),
        ("name = \"small\"", format!("name = \"small\"\ndescription = \"{long}\""), "description: 5000 bytes"),
        ("name = \"small\"", format!("name = \"small\"\nowner = \"{long}\""), "owner: 5000 bytes"),
        ("name = \"small\"", format!("name = \"{long}\""), "xxx…' is not a name"),
        ("name = \"small\"", format!("# {}\nname = \"small\"", long.repeat(60)), "valid: at most 262144"),
        ("no_contact = {}", many(&|i| format!("a{i} = {{}}\n")), "1101 actions; valid: at most 256"),
        (
            "[[models]]",
            many(&|i| format!("[[features]]\nview = \"v\"\nname = \"f{i}\"\ntype = \"text\"\n")) + "[[models]]",
            "1102 features",
        ),
        (
            "[parameters.cap]",
            format!("[parameters.t]\ntype = \"text\"\ndefault = \"{long}\"\n[parameters.cap]"),
            "parameter 't': 5000 bytes",
        ),
        ("on_missing = \"error\"", "on_missing = \"error\"\nx = [".to_owned() + &"[".repeat(100_000), "recursion"),
        ("version = \"1.0.0\"\ndec", "version = \"1.0.0+\"\ndec".to_owned(), "version = \"1.0.0+\""),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let error = Manifest::parse(&GOOD.replacen(from, &to, 1)).expect_err(needle).to_string();
        assert!(error.contains(needle) && error.chars().count() <= 1_001, "{needle}: {} bytes: {error}", error.len());
    }
}
