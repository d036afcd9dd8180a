//! Small valid files of both kinds, into each of which a key of the reference fits.

use std::path::Path;

use serin::config::Config;
use serin_core::experiment::Experiment;

use super::document::Document;
use super::pages::Row;

/// A kind of file, each with a reference page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Configuration,
    Experiment,
}

/// It needs the table of TLS.
const CERTIFICATE: &str = r#"[[access.certificates]]
name = "gateway"
roles = ["decide"]
dns = "gateway.internal"
"#;

const CONFIGURATION: &str = r#"
[server]
[server.tls]
cert = "tls/host.pem"
key = "tls/host.key"
client_ca = "tls/clients.pem"
[plugins]
[experiments]
[ledger]
[limits]
[models.churn."1.0.0"]
path = "models/churn.onnx"
[features.profile]
entity = "customer"
columns = { opted_out = "boolean" }
[global_holdout]
unit = "customer"
share = 0.1
[governance]
approvals = 1
[[access.tokens]]
name = "app"
roles = ["decide"]
sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
[[access.certificates]]
name = "gateway"
roles = ["decide"]
dns = "gateway.internal"
[layers.offers]
unit = "customer"
[decision_points.welcome]
strategy = "offers-rules@1.0.0"
layer = "offers"
entities = ["customer"]
actions = ["none", "discount"]
context = { channel = "text?" }
[decision_points.welcome.fallback]
action = "none"
"#;

const EXPERIMENT: &str = r#"
id = "e"
decision_point = "p"
[[arms]]
name = "control"
strategy = "p@1.0.0"
weight = 0.5
[[arms]]
name = "next"
strategy = "q@1.0.0"
weight = 0.5
[[metrics]]
name = "complaints"
role = "guardrail"
outcome = "complaint"
window = "7d"
[[metrics]]
name = "cured_14d"
role = "goal"
outcome = "cured"
window = "14d"
"#;

/// The arms of an experiment with an allocation.
const ALLOCATION: &str = r#"
id = "e"
decision_point = "p"
[[arms]]
name = "control"
strategy = "p@1.0.0"
[[arms]]
name = "b"
strategy = "q@1.0.0"
[[arms]]
name = "c"
strategy = "r@1.0.0"
[[metrics]]
name = "cured_14d"
role = "goal"
outcome = "cured"
window = "14d"
[allocation]
policy = "thompson"
metric = "cured_14d"
update_every = "1d"
"#;

/// The tables that the smallest experiment does not have.
const MORE: [(&str, &str); 5] = [
    ("arms", "[[arms]]\nname = \"beside\"\nstrategy = \"r@1.0.0\"\nmode = \"shadow\"\n"),
    ("ramp", "[[ramp]]\ncoverage = 0.4\n"),
    ("guardrails", "[[guardrails]]\nmetric = \"complaints\"\nmax_increase = 0.02\n"),
    ("fairness", "[[fairness]]\nattribute = \"context.stage\"\nreference = \"early\"\nadverse_actions = [\"stop\"]\n"),
    ("notify", "[[notify]]\nurl = \"http://127.0.0.1:1\"\nevents = [\"phase\"]\n"),
];

impl Kind {
    /// The name of such a file.
    pub fn file(self) -> &'static str {
        match self {
            Self::Configuration => "serin.toml",
            Self::Experiment => "e.toml",
        }
    }

    /// The table of a file that a heading of the page is about.
    pub fn table(self, heading: &str) -> String {
        match (self, heading) {
            (Self::Experiment, "Experiment") => "",
            (Self::Experiment, "Ramp step") => "ramp",
            (Self::Experiment, "Arm") => "arms",
            (Self::Experiment, "Metric") => "metrics",
            (Self::Experiment, "Guardrail") => "guardrails",
            (Self::Experiment, "Fairness guardrail") => "fairness",
            (Self::Experiment, "Allocation") => "allocation",
            (Self::Experiment, "Webhook") => "notify",
            (Self::Configuration, "models.NAME.\"VERSION\"") => "models.churn.\"1.0.0\"",
            (Self::Configuration, "features.VIEW") => "features.profile",
            (Self::Configuration, "layers.LAYER") => "layers.offers",
            (Self::Configuration, "decision_points.POINT") => "decision_points.welcome",
            (Self::Configuration, "decision_points.POINT.fallback") => "decision_points.welcome.fallback",
            (_, other) => other,
        }
        .to_owned()
    }

    /// A valid file with the table, into which the key fits.
    pub fn base(self, table: &str, key: &str) -> Document {
        if self == Self::Configuration {
            let file = Document::of(CONFIGURATION);
            let (before, rest) = CONFIGURATION.split_once("[server.tls]").expect("a table");
            let (_, after) = rest.split_once("[plugins]").expect("a table");
            let without_tls = format!("{before}[plugins]{after}").replace(CERTIFICATE, "");
            return match (table, key) {
                ("server", "tls") => Document::of(&without_tls),
                ("decision_points.welcome", "fallback") => {
                    let inline = |file: Document| file.with(table, "fallback", "{ action = \"none\" }");
                    inline(Document::of(
                        CONFIGURATION.split("[decision_points.welcome.fallback]").next().expect("a text"),
                    ))
                }
                ("decision_points.welcome", "flag_parameter") => file.with(table, "flag", "\"number\""),
                _ => file,
            };
        }
        let more =
            MORE.iter().find(|(name, _)| *name == table && (table != "arms" || ["mode", "sample"].contains(&key)));
        let file = Document::of(&format!("{EXPERIMENT}{}", more.map_or("", |(_, text)| text)));
        let ratio = |file: Document| {
            let side = |aggregate: &str| format!("{{ outcome = \"cured\", aggregate = \"{aggregate}\" }}");
            let file = file.without(table, "outcome").with(table, "aggregate", "\"ratio\"");
            file.with(table, "numerator", &side("any")).with(table, "denominator", &side("any"))
        };
        match (table, key) {
            ("allocation", _) => Document::of(ALLOCATION),
            ("metrics", "numerator" | "denominator") => ratio(file),
            ("metrics", "cap" | "min" | "max") => file.with(table, "aggregate", "\"sum\""),
            ("guardrails", "max_decrease" | "max_count") => file.without(table, "max_increase"),
            ("guardrails", "threshold") => file.with(table, "metric", "\"slow\""),
            _ => file,
        }
    }

    /// The file of [`Kind::base`] with the row's example.
    pub fn example(self, row: &Row) -> Option<Document> {
        let table = self.table(&row.heading);
        Some(self.base(&table, &row.key).with(&table, &row.key, row.example.as_deref()?))
    }

    /// What a file says to the program, less what depends on its bytes.
    ///
    /// # Errors
    /// The message that a user sees.
    pub fn read(self, text: &str) -> Result<String, String> {
        match self {
            Self::Configuration => {
                let config = Config::parse(text.to_owned(), Path::new(self.file())).map_err(|e| e.to_string())?;
                Ok(format!("{:?}", Config { text: String::new(), digest: String::new(), ..config }))
            }
            // The host puts the file's name before the message.
            Self::Experiment => {
                let spec = Experiment::parse(text).map_err(|e| format!("{}: {e}", self.file()))?;
                Ok(format!("{:?}", Experiment { text: "".into(), digest: "".into(), ..spec }))
            }
        }
    }

    /// The keys that the parser lists as valid in a table.
    pub fn valid_keys(self, table: &str) -> Vec<String> {
        let file = match (self, table) {
            (Self::Configuration, "") => Document::of(&format!("{CONFIGURATION}[zzzzzz]\n")),
            _ => self.base(table, "").with(table, "zzzzzz", "1"),
        };
        let message = self.read(&file.text()).expect_err("an unknown key");
        let listed = message.split("unknown field `zzzzzz`, expected ").nth(1).unwrap_or_else(|| panic!("{message}"));
        listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }
}
