//! What an edit of each key does to the rule.

use super::*;

const SPEC: &str = r#"
id = "e"
decision_point = "d"
min_duration = "2d"
max_duration = "9d"

[[arms]]
name = "a"
strategy = "p@1.0.0"
weight = 0.5

[[arms]]
name = "b"
strategy = "q@1.1.0"
weight = 0.5

[[metrics]]
name = "cured"
role = "goal"
outcome = "cured"
aggregate = "sum"
window = "14d"
lag = "1d"
alpha = 0.05
planned_units = 5000

[[metrics]]
name = "sued"
role = "guardrail"
outcome = "lawsuit"
window = "9d"

[[guardrails]]
metric = "failures"
max_increase = 0.02
alarm = 0.001
alpha = 0.01
min_units = 300

[[guardrails]]
metric = "slow"
threshold = "20ms"
max_increase = 0.02

[[guardrails]]
metric = "sued"
max_count = 3
on_breach = "pause"

[[fairness]]
attribute = "context.age"
reference = "young"
adverse_actions = ["call", "letter"]
min_ratio = 0.8
min_group_units = 50
"#;

fn parse(text: &str) -> Experiment {
    Experiment::parse(text).unwrap_or_else(|why| panic!("{why}\n{text}"))
}

fn edited(from: &str, to: &str) -> Vec<RuleChange> {
    assert!(SPEC.contains(from), "{from}");
    between(&parse(SPEC), &parse(&SPEC.replacen(from, to, 1)), None)
}

/// An edit of one key, what it does, and the key's name.
fn is(from: &str, to: &str, effect: Effect, key: &str) {
    let changes = edited(from, to);
    let found: Vec<_> = changes.iter().map(|change| (&*change.key, change.effect)).collect();
    assert_eq!(found, [(key, effect)], "{from} -> {to}");
}

#[test]
fn each_key_of_a_metric_is_kept_or_may_be_tightened() {
    use Effect::{Loosens, Tightens};
    for (from, to, effect, key) in [
        ("outcome = \"cured\"", "outcome = \"healed\"", Loosens, "outcome"),
        ("aggregate = \"sum\"", "aggregate = \"count\"", Loosens, "aggregate"),
        ("window = \"14d\"", "window = \"13d\"", Loosens, "window"),
        ("lag = \"1d\"", "lag = \"2d\"", Loosens, "lag"),
        ("lag = \"1d\"", "lag = \"1d\"\nmissing = \"drop\"", Loosens, "missing"),
        ("lag = \"1d\"", "lag = \"1d\"\ncap = 9.5", Loosens, "cap"),
        ("lag = \"1d\"", "lag = \"1d\"\ndirection = \"decrease\"", Loosens, "direction"),
        ("lag = \"1d\"", "lag = \"1d\"\npopulation = \"exposed\"", Loosens, "population"),
        ("lag = \"1d\"", "lag = \"1d\"\ncuped = [\"context.x\"]", Loosens, "cuped"),
        ("lag = \"1d\"", "lag = \"1d\"\nmethod = \"fixed\"", Loosens, "method"),
        ("lag = \"1d\"", "lag = \"1d\"\nprior_sd = 0.1", Loosens, "prior_sd"),
        ("lag = \"1d\"", "lag = \"1d\"\nexpects_none = true", Loosens, "expects_none"),
        ("planned_units = 5000", "planned_units = 4000", Loosens, "planned_units"),
        ("alpha = 0.05", "alpha = 0.1", Loosens, "alpha"),
        ("alpha = 0.05", "alpha = 0.01", Tightens, "alpha"),
    ] {
        is(from, to, effect, &format!("metrics.cured.{key}"));
    }
    is("role = \"goal\"", "role = \"secondary\"", Loosens, "metrics.cured.role");
    is("role = \"guardrail\"", "role = \"goal\"", Effect::Adds, "metrics.sued.role");
    is("role = \"guardrail\"", "role = \"secondary\"", Effect::Neutral, "metrics.sued.role");
    assert_eq!(edited("id", "id"), [], "the same file");
}

#[test]
fn another_quantity_is_another_metric() {
    let counted = "source = \"decisions\"\noutcome = \"call\"\naggregate = \"count\"";
    let keys = |to: &str| {
        let changes = edited("outcome = \"cured\"\naggregate = \"sum\"", to);
        assert!(changes.iter().all(|change| change.effect == Effect::Loosens), "{changes:?}");
        changes.into_iter().map(|change| change.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(counted), ["metrics.cured.source", "metrics.cured.outcome", "metrics.cured.aggregate"]);
    let ratio = "aggregate = \"ratio\"\nnumerator = { outcome = \"paid\", aggregate = \"sum\" }\n\
                 denominator = { outcome = \"paid\", aggregate = \"count\" }";
    assert!(keys(ratio).contains(&"metrics.cured.numerator".to_owned()));
}

#[test]
fn each_key_of_a_guardrail_is_kept_or_may_be_tightened() {
    use Effect::{Loosens, Tightens};
    for (from, to, effect, key) in [
        ("max_increase = 0.02\nalarm", "max_increase = 0.03\nalarm", Loosens, "failures.max_increase"),
        ("max_increase = 0.02\nalarm", "max_increase = 0.01\nalarm", Tightens, "failures.max_increase"),
        (
            "max_increase = 0.02\nalarm",
            "margin_type = \"relative\"\nmax_increase = 0.02\nalarm",
            Loosens,
            "failures.margin",
        ),
        ("alarm = 0.001", "alarm = 0.002", Loosens, "failures.alarm"),
        ("alarm = 0.001", "alarm = 0.0", Tightens, "failures.alarm"),
        ("alpha = 0.01", "alpha = 0.02", Loosens, "failures.alpha"),
        // Its alarm would come later.
        ("alpha = 0.01", "alpha = 0.001", Loosens, "failures.alpha"),
        ("min_units = 300", "min_units = 200", Loosens, "failures.min_units"),
        ("min_units = 300", "min_units = 3000", Tightens, "failures.min_units"),
        ("min_units = 300", "on_breach = \"pause\"", Loosens, "failures.on_breach"),
        ("threshold = \"20ms\"", "threshold = \"30ms\"", Loosens, "slow.threshold"),
        ("max_count = 3", "max_count = 4", Loosens, "sued.max_count"),
        ("max_count = 3", "max_count = 2", Tightens, "sued.max_count"),
        ("max_count = 3", "max_increase = 0.1", Loosens, "sued.margin"),
        ("on_breach = \"pause\"", "on_breach = \"abort\"", Tightens, "sued.on_breach"),
    ] {
        is(from, to, effect, &format!("guardrails.{key}"));
    }
    // A metric that takes the name of what a guardrail watches takes its place.
    let metric = "[[metrics]]\nname = \"failures\"\nrole = \"secondary\"\noutcome = \"none\"\nwindow = \"1d\"\n\n";
    let changes = edited("[[fairness]]", &format!("{metric}[[fairness]]"));
    assert!(changes.iter().any(|change| change.key == "guardrails.failures.metric"), "{changes:?}");
}

#[test]
fn each_key_of_a_fairness_guardrail_is_kept_or_may_be_tightened() {
    use Effect::{Loosens, Tightens};
    for (from, to, effect, key) in [
        ("reference = \"young\"", "reference = \"old\"", Loosens, "reference"),
        ("[\"call\", \"letter\"]", "[\"call\"]", Loosens, "adverse_actions"),
        ("min_ratio = 0.8", "min_ratio = 0.7", Loosens, "min_ratio"),
        ("min_ratio = 0.8", "min_ratio = 0.9", Tightens, "min_ratio"),
        ("min_group_units = 50", "min_group_units = 500", Loosens, "min_group_units"),
        ("min_group_units = 50", "min_group_units = 50\non_breach = \"abort\"", Tightens, "on_breach"),
    ] {
        is(from, to, effect, &format!("fairness.context.age.{key}"));
    }
    assert_eq!(edited("[\"call\", \"letter\"]", "[\"letter\", \"call\"]"), []);
}

#[test]
fn durations_and_what_is_no_part_of_the_rule() {
    is("min_duration = \"2d\"", "min_duration = \"1d\"", Effect::Loosens, "min_duration");
    is("min_duration = \"2d\"", "min_duration = \"3d\"", Effect::Tightens, "min_duration");
    is("max_duration = \"9d\"", "max_duration = \"8d\"", Effect::Neutral, "max_duration");
    is("max_duration = \"9d\"", "max_duration = \"9d\"\non_success = \"ship\"", Effect::Neutral, "on_success");
    for more in ["owner = \"ann\"", "coverage = 0.5", "segments = [\"context.x\"]", "reuse_slot = true"] {
        assert_eq!(edited("decision_point = \"d\"", &format!("decision_point = \"d\"\n{more}")), [], "{more}");
    }
}

#[test]
fn an_entry_is_added_or_removed_as_one() {
    let goal = "[[metrics]]\nname = \"paid\"\nrole = \"goal\"\noutcome = \"paid\"\nwindow = \"1d\"\n\n";
    is("[[fairness]]", &format!("{goal}[[fairness]]"), Effect::Adds, "metrics.paid");
    let again = "[[guardrails]]\nmetric = \"failures\"\nmax_count = 0\n\n";
    is("[[fairness]]", &format!("{again}[[fairness]]"), Effect::Adds, "guardrails.failures#2");
    let slow = "[[guardrails]]\nmetric = \"slow\"\nthreshold = \"20ms\"\nmax_increase = 0.02\n";
    is(slow, "", Effect::Loosens, "guardrails.slow");
    let said = described(&edited(slow, ""));
    assert_eq!(said, "guardrails.slow removed (it was max_increase 0.02; loosens)");
    assert_eq!(
        described(&edited("alarm = 0.001", "alarm = 0.002")),
        "guardrails.failures.alarm 0.001 -> 0.002 (loosens)"
    );
}

#[test]
fn what_was_added_later_may_be_changed_unless_a_guardrail_watches_it() {
    let declared = Declared::of(&parse(SPEC));
    let more = |window: &str| {
        format!("{SPEC}\n[[metrics]]\nname = \"paid\"\nrole = \"goal\"\noutcome = \"paid\"\nwindow = \"{window}\"\n")
    };
    let effects = |old: &str, new: &str| {
        between(&parse(old), &parse(new), Some(&declared)).into_iter().map(|change| change.effect).collect::<Vec<_>>()
    };
    assert_eq!(effects(&more("1d"), &more("2d")), [Effect::Neutral]);
    assert_eq!(effects(&more("1d"), SPEC), [Effect::Neutral], "its removal, too");
    let watched = |window: &str| more(window) + "[[guardrails]]\nmetric = \"paid\"\nmax_decrease = 0.1\n";
    assert_eq!(effects(&watched("1d"), &watched("2d")), [Effect::Loosens]);
    assert_eq!(effects(&watched("1d"), &more("1d")), [Effect::Loosens], "the guardrail stays in force");
}

#[test]
fn what_was_removed_and_comes_back_is_not_what_was_declared() {
    let spec = parse(SPEC);
    let declared = Declared::of(&spec);
    assert_eq!((declared.goals_at_start, declared.guardrails_at_start, declared.fairness_at_start), (1, 3, 1));
    let without = parse(&SPEC.replace("name = \"cured\"", "name = \"healed\""));
    let left = declared.within(&without);
    assert_eq!((left.goals.len(), left.goals_at_start), (0, 1), "the share of alpha stays");
    let back = left.within(&spec);
    assert!(declared.has(&spec.metrics[0]) && !back.has(&spec.metrics[0]));
    // A goal that was another metric for a while is an exploratory goal from then on.
    let demoted = parse(&SPEC.replace("role = \"goal\"", "role = \"secondary\""));
    let back = declared.within(&demoted);
    assert!(back.has(&demoted.metrics[0]) && !back.within(&spec).has(&spec.metrics[0]));
    let unwatched = parse(&SPEC.replace("metric = \"slow\"\nthreshold = \"20ms\"", "metric = \"refusals\""));
    assert_eq!(declared.within(&unwatched).guardrails.len(), 2);
}
