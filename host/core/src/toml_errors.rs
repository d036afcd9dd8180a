//! Messages about TOML files in the words of their author: no type of this program, and an example of
//! what would be valid.

use crate::{clipped, most_similar, without_tokens};

/// An example of each key, as it is written after `=`. Where files share a key, one fits all of them.
const EXAMPLES: &[(&str, &str)] = &[
    // serin.toml
    ("listen", "\"127.0.0.1:8080\""),
    ("admin", "\"127.0.0.1:8081\""),
    ("threads", "8"),
    ("queue", "1024"),
    ("max_concurrent", "2048"),
    ("max_body_bytes", "4194304"),
    ("max_bytes_in_flight", "268435456"),
    ("max_connections", "4096"),
    ("max_connections_per_peer", "2048"),
    ("future_tolerance", "\"5m\""),
    ("clock_tolerance", "\"5m\""),
    ("header_timeout", "\"10s\""),
    ("body_timeout", "\"30s\""),
    ("stall_timeout", "\"10s\""),
    ("idle_timeout", "\"60s\""),
    ("shutdown_delay", "\"10s\""),
    ("drain_timeout", "\"30s\""),
    ("admin_timeout", "\"10s\""),
    ("admin_hosts", "[\"serin.internal\"]"),
    ("trusted_proxies", "[\"10.0.0.0/8\"]"),
    ("tls", "{ cert = \"tls/host.pem\", key = \"tls/host.key\" }"),
    ("cert", "\"tls/host.pem\""),
    ("key", "\"tls/host.key\""),
    ("client_ca", "\"tls/clients.pem\""),
    ("min_version", "\"1.3\""),
    ("dir", "\"plugins\""),
    ("compiled_dir", "\"data/compiled\""),
    ("audit_retain", "\"2555d\""),
    ("access", "{ tokens = [{ name = \"app\", roles = [\"decide\"], sha256 = \"…\" }] }"),
    ("roles", "[\"decide\"]"),
    ("points", "[\"welcome\"]"),
    ("sha256", "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\""),
    ("dns", "\"app.internal\""),
    ("expires", "\"2027-01-01T00:00:00Z\""),
    ("url", "\"sqlite:data/serin.db\""),
    ("durability", "\"process\""),
    ("retain", "\"400d\""),
    ("path", "\"models/churn.onnx\""),
    ("entity", "\"customer\""),
    ("ttl", "\"24h\""),
    ("analysis_only", "true"),
    ("columns", "{ orders_90d = \"integer\" }"),
    ("unit", "\"customer\""),
    ("salt", "\"offers-1\""),
    ("holdout", "0.02"),
    ("share", "0.01"),
    ("approvals", "2"),
    ("approvers", "[\"ann\", \"bob\"]"),
    ("strategy", "\"offers-rules@1.0.0\""),
    ("parameters", "{ cap = 3 }"),
    ("layer", "\"offers\""),
    ("entities", "[\"customer\"]"),
    ("context", "{ channel = \"text?\" }"),
    ("actions", "[\"none\", \"discount\"]"),
    ("exclude", "\"context.channel == 'test'\""),
    ("deadline", "\"50ms\""),
    ("fallback", "{ action = \"none\" }"),
    ("action", "\"none\""),
    ("logging", "\"must_log\""),
    ("flag", "\"boolean\""),
    ("flag_parameter", "\"percent\""),
    ("fuel", "20000000"),
    ("memory_bytes", "16777216"),
    ("table_elements", "10000"),
    ("wall_ms", "25"),
    ("output_bytes", "65536"),
    ("candidates", "64"),
    ("host_calls", "16"),
    ("host_call_rows", "512"),
    ("log_bytes", "4096"),
    ("trusted_keys", "[\"keys/science.pub\"]"),
    ("require_signature", "true"),
    // An experiment's file
    ("id", "\"offers-score\""),
    ("decision_point", "\"offers\""),
    ("owner", "\"growth\""),
    ("description", "\"what is tried, and why\""),
    ("slot", "[0.0, 0.5]"),
    ("start", "\"manual\""),
    ("eligible", "\"context.channel == 'app'\""),
    ("coverage", "0.2"),
    ("ramp", "[{ coverage = 0.05, hold = \"1d\" }, { coverage = 1.0 }]"),
    ("hold", "\"1d\""),
    ("min_units", "500"),
    ("gate", "\"fast\""),
    ("control", "\"control\""),
    ("min_duration", "\"14d\""),
    ("max_duration", "\"90d\""),
    ("on_success", "\"hold\""),
    ("holdback", "0.1"),
    ("reuse_slot", "true"),
    ("segments", "[\"context.channel\"]"),
    ("name", "\"score\""),
    ("weight", "0.5"),
    ("mode", "\"shadow\""),
    ("sample", "0.1"),
    ("role", "\"goal\""),
    ("source", "\"outcomes\""),
    ("outcome", "\"order\""),
    ("aggregate", "\"any\""),
    ("numerator", "{ outcome = \"order\", aggregate = \"sum\" }"),
    ("denominator", "{ outcome = \"visit\", aggregate = \"count\" }"),
    ("window", "\"14d\""),
    ("lag", "\"2d\""),
    ("missing", "\"zero\""),
    ("cap", "5000"),
    ("min", "0"),
    ("max", "10"),
    ("tolerate", "0.01"),
    ("direction", "\"increase\""),
    ("population", "\"assigned\""),
    ("cuped", "[\"features.profile.orders_90d\"]"),
    ("method", "\"asymptotic_cs\""),
    ("alpha", "0.05"),
    ("planned_units", "5000"),
    ("prior_sd", "0.1"),
    ("expects_none", "true"),
    ("metric", "\"failures\""),
    ("max_increase", "0.01"),
    ("max_decrease", "0.01"),
    ("max_count", "3"),
    ("margin_type", "\"absolute\""),
    ("alarm", "0.0"),
    ("threshold", "\"20ms\""),
    ("on_breach", "\"abort\""),
    ("attribute", "\"features.monitored.age_band\""),
    ("reference", "\"under_62\""),
    ("adverse_actions", "[\"none\"]"),
    ("min_ratio", "0.8"),
    ("min_group_units", "300"),
    ("allocation", "{ policy = \"thompson\", metric = \"order_14d\", update_every = \"1d\" }"),
    ("policy", "\"thompson\""),
    ("update_every", "\"1d\""),
    ("floor", "0.05"),
    ("control_share", "0.2"),
    ("events", "[\"breach\", \"verdict\"]"),
    ("secret_env", "\"HOOK_SECRET\""),
    // plugin.toml
    ("version", "\"1.0.0\""),
    ("view", "\"context\""),
    ("type", "\"integer\""),
    ("max_age", "\"24h\""),
    ("on_missing", "\"error\""),
    ("inputs", "{ orders = \"profile.orders_90d\" }"),
    ("callable", "true"),
    ("default", "3"),
];

/// What stands in place of a table that was written as something else, by the name that serde gives it.
const TABLES: &[(&str, &str)] = &[
    ("RawModel", "[models.churn.\"1.0.0\"] with path = \"models/churn.onnx\" below it"),
    ("RawFallback", "fallback = { action = \"none\" }"),
    ("RawView", "[features.profile] with entity and columns below it"),
    ("RawLayer", "[layers.offers] with unit below it"),
    ("RawPoint", "[decision_points.offers] with its keys below it"),
    ("RawStep", "ramp = [{ coverage = 0.05, hold = \"1d\" }, { coverage = 1.0 }]"),
    ("RawArm", "[[arms]] with name, strategy and weight below it"),
    ("RawMetric", "[[metrics]] with name, role and outcome below it"),
    ("RawGuardrail", "[[guardrails]] with metric and max_increase below it"),
    ("RawFairness", "[[fairness]] with attribute, reference and adverse_actions below it"),
    ("RawNotify", "[[notify]] with url and events below it"),
    ("RawAction", "discount = { parameters = { percent = \"integer\" } }"),
    ("RawFeature", "[[features]] with view, name and type below it"),
    ("RawScore", "[[models]] with name, version and inputs below it"),
    ("RawParameter", "[parameters.cap] with type and default below it"),
];

/// What stands in place of a whole table that was written as a value, by its key.
const WHOLE: &[(&str, &str)] = &[
    ("server", "[server] with listen = \"127.0.0.1:8080\" below it"),
    ("plugins", "[plugins] with dir = \"plugins\" below it"),
    ("experiments", "[experiments] with dir = \"experiments\" below it"),
    ("ledger", "[ledger] with url = \"sqlite:data/serin.db\" below it"),
    ("limits", "[limits] with wall_ms = 25 below it"),
    ("models", "[models.churn.\"1.0.0\"] with path = \"models/churn.onnx\" below it"),
    ("features", "[features.profile] with entity and columns below it"),
    ("layers", "[layers.offers] with unit below it"),
    ("decision_points", "[decision_points.offers] with its keys below it"),
    ("global_holdout", "[global_holdout] with unit and share below it"),
    ("governance", "[governance] with approvals = 2 below it"),
    ("arms", "[[arms]] with name, strategy and weight below it"),
    ("metrics", "[[metrics]] with name, role and outcome below it"),
    ("guardrails", "[[guardrails]] with metric and max_increase below it"),
    ("fairness", "[[fairness]] with attribute, reference and adverse_actions below it"),
    ("notify", "[[notify]] with url and events below it"),
];

fn whole(key: &str) -> Option<&'static str> {
    WHOLE.iter().find(|(known, _)| *known == key).map(|(_, like)| *like)
}

/// The longest message about a file, in bytes.
const MAX_SHOWN: usize = 1500;

/// An example of a key's value, as it is written after `=`.
pub fn toml_example(key: &str) -> Option<&'static str> {
    EXAMPLES.iter().find(|(known, _)| *known == key).map(|(_, example)| *example)
}

/// The message about an error in a TOML file: where, what, and an example that is valid. It quotes no line and no text of
/// the file: a line may hold a secret, and the file may be another one than its name says.
pub fn toml_message(error: &toml::de::Error, text: &str) -> String {
    let said = in_plain_words(error, text);
    let said = without_tokens(&said);
    let before = error.span().and_then(|span| text.get(..span.start));
    let at = before.map_or_else(String::new, |before| {
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!(" at line {line}, column {column}")
    });
    // Only a key of ours: what stands before a '=' in another file may be anything.
    let is_ours = |key: &&str| toml_example(key).is_some() || whole(key).is_some();
    // One that is there twice is a key, whoever's it is.
    let is_key = |key: &&str| is_ours(key) || (said.starts_with("duplicate key") && is_bare(key));
    let itself = error.span().and_then(|span| text.get(span)).map(|key| key.trim_matches('"')).filter(is_key);
    let of_line = || before?.rsplit('\n').next()?.split(['=', '.']).next().map(str::trim).filter(is_ours);
    let key = itself.or_else(|| key_of(error, text).filter(is_ours)).or_else(of_line);
    let key = key.map_or_else(String::new, |key| format!(" ({})", without_tokens(key)));
    format!("TOML parse error{at}{key}: {}", clipped(said.trim_end(), MAX_SHOWN))
}

fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn in_plain_words(error: &toml::de::Error, text: &str) -> String {
    let message = error.message();
    if let Some(key) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return toml_example(key).map_or_else(|| message.to_owned(), |like| format!("{message}; like {key} = {like}"));
    }
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let mut quoted = rest.split('`');
        let key = quoted.next().unwrap_or_default();
        let known = quoted.skip(1).step_by(2);
        return most_similar(key, known)
            .map_or_else(|| message.to_owned(), |similar| format!("{message}; did you mean `{similar}`?"));
    }
    let is_wrong = message.starts_with("invalid type") || message.starts_with("invalid value");
    let Some((found, expected)) = message.split_once(", expected ").filter(|_| is_wrong) else {
        return message.to_owned();
    };
    let found = found.replace("floating point", "number").replace("invalid type: map", "invalid type: table");
    let found = found.replace("invalid type: sequence", "invalid type: list");
    let found = found.trim_start_matches("invalid type: ");
    // The text itself may be a secret under the wrong key.
    let found = if found.starts_with("string \"") { "a text" } else { found };
    let found = if found.starts_with("invalid value: string \"") { "invalid value: a text" } else { found };
    let table = expected.strip_prefix("struct ").and_then(|rest| rest.split(' ').next());
    let by_table = table.and_then(|table| TABLES.iter().find(|(known, _)| *known == table));
    let like = match (by_table, key_of(error, text)) {
        (Some((_, like)), _) => Some((*like).to_owned()),
        // The fallback of a model's score, not that of a decision point.
        (None, Some("fallback")) if expected == "f64" => Some("fallback = 0.5".to_owned()),
        (None, Some(key)) => {
            whole(key).map(str::to_owned).or_else(|| toml_example(key).map(|like| format!("{key} = {like}")))
        }
        (None, None) => None,
    };
    let expected = plain(expected);
    like.map_or_else(
        || format!("{found}, expected {expected}"),
        |like| format!("{found}, expected {expected}; like {like}"),
    )
}

/// A type as an author of a file knows it.
fn plain(expected: &str) -> &str {
    match expected {
        "a map" => "a table",
        "usize" | "u8" | "u16" | "u32" | "u64" => "a whole number from 0",
        "isize" | "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" => "a text in quotes",
        "a sequence" => "a list in brackets",
        "a boolean" => "true or false",
        "an array of length 2" => "a list of two",
        table if table.starts_with("struct ") => "a table",
        other => other,
    }
}

/// The key whose value an error is about.
fn key_of<'t>(error: &toml::de::Error, text: &'t str) -> Option<&'t str> {
    let before = text.get(..error.span()?.start)?;
    let (key, _) = before.rsplit('\n').next()?.rsplit_once('=')?;
    let key = key.trim_end().trim_end_matches('"');
    key.rsplit(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))).next().filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its errors are looked at")]
    struct File {
        deadline: Option<String>,
        threads: Option<usize>,
        weight: Option<f64>,
        slot: Option<[f64; 2]>,
        reuse_slot: Option<bool>,
        actions: Option<Vec<String>>,
        columns: Option<BTreeMap<String, String>>,
        fallback: Option<RawFallback>,
    }

    #[derive(Deserialize, Debug)]
    #[allow(dead_code, reason = "as above")]
    struct RawFallback {
        action: String,
    }

    fn said(text: &str) -> String {
        toml_message(&toml::from_str::<File>(text).expect_err("a mistake"), text)
    }

    #[test]
    fn a_message_names_what_is_valid_and_no_type_of_this_program() {
        for (text, words) in [
            ("deadline = 1000", "expected a text in quotes; like deadline = \"50ms\""),
            ("threads = -1", "expected a whole number from 0; like threads = 8"),
            ("threads = \"four\"", "expected a whole number from 0; like threads = 8"),
            ("weight = \"half\"", "expected a number; like weight = 0.5"),
            ("slot = 0.5", "expected a list of two; like slot = [0.0, 0.5]"),
            ("reuse_slot = 1", "expected true or false; like reuse_slot = true"),
            ("actions = \"none\"", "expected a list in brackets; like actions = ["),
            ("actions = [\"none\", 1]", "expected a text in quotes; like actions = ["),
            ("columns = []", "expected a table; like columns = { "),
            ("fallback = \"none\"", "expected a table; like fallback = { action = \"none\" }"),
            ("fallback = {}", "missing field `action`; like action = \"none\""),
            ("fallbak = {}", "did you mean `fallback`?"),
        ] {
            let said = said(text);
            assert!(said.contains(words) && said.starts_with("TOML parse error at line 1"), "{text}: {said}");
            for ours in ["struct", "Raw", "usize", "f64", "a map", "sequence"] {
                assert!(!said.contains(ours), "{text}: {said}");
            }
        }
    }

    #[test]
    fn no_line_and_no_text_of_a_file_is_quoted() {
        let token = format!("serin_{}", "3aab".repeat(16));
        for text in [
            format!("token = \"{token}\""),
            format!("threads = \"{token}\""),
            format!("threads = {token}"),
            format!("threads = \"{token}"),
            format!("weight = 1 # {token}\nweight = 2"),
            format!("{token} = 1"),
            format!("[{token}]"),
            format!("slot = [\"{token}\", 1.0]"),
        ] {
            let said = said(&text);
            assert!(!said.contains("3aab") && said.contains("at line ") && said.contains("column "), "{text}: {said}");
        }
        let other = "root:*:19000:0:99999:7:::\nalice:$6$rounds=5000$c2FsdA$aGFzaA:19000::::::\n";
        let of_other = said(other);
        assert!(!of_other.contains("root") && !of_other.contains("19000") && !of_other.contains('\n'), "{of_other}");
        assert!(said("threads = \"four\"").contains("column 11 (threads): a text, expected"));
    }

    #[test]
    fn a_message_names_the_line_and_is_bounded() {
        let message = |text: &str| toml_message(&toml::from_str::<toml::Table>(text).expect_err("not TOML"), text);
        assert!(
            message("a = 1\nb =").starts_with("TOML parse error at line 2, column 4: "),
            "{}",
            message("a = 1\nb =")
        );
        let long = message(&format!("a = 1\nx = {}", "[".repeat(100_000)));
        assert!(long.starts_with("TOML parse error at line 2, column ") && long.len() < 200, "{long}");
        assert!(message(&format!("x.{}y = 1", "a.".repeat(1000))).starts_with("TOML parse error: recursion limit"));
    }
}
