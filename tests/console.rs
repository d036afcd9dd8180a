//! The console as a browser uses it: pages, forms, sessions and streams of a running host.

mod archive;
mod browser;
mod changed;
mod commands;
mod escaping;
mod links;
mod live;
mod looks;
mod masked;
mod numbers;
mod pages;
mod reached;
mod said;
mod scale;
mod sessions;
mod taken_back;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Client, Deployment, Host, collections, run};

const BOUND: Duration = Duration::from_secs(20);
const FORM: &str = "application/x-www-form-urlencoded";

/// What a browser does: it keeps a cookie, and says where its forms come from.
struct Browser {
    admin: Client,
    cookie: Option<String>,
}

impl Browser {
    fn of(host: &Host) -> Self {
        Self { admin: host.admin.clone(), cookie: None }
    }

    fn headers<'h>(&'h self, more: &[(&'h str, &'h str)]) -> Vec<(&'h str, &'h str)> {
        let cookie = self.cookie.as_deref().map(|cookie| ("cookie", cookie));
        more.iter().copied().chain(cookie).collect()
    }

    fn get(&self, path: &str) -> Answer {
        self.admin.get_with(path, &self.headers(&[("accept", "text/html")]))
    }

    /// A page that has to be there.
    #[track_caller]
    fn page(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(answer.headers["content-type"].starts_with("text/html"), "{path}");
        answer.text
    }

    /// Sends a form from this host's own origin.
    fn send(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let origin = format!("http://{}", self.admin.address);
        self.send_from(path, fields, &[("origin", &origin)])
    }

    fn send_from(&self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let all = [headers, &[("content-type", FORM)]].concat();
        self.admin.post_text(path, &body, &self.headers(&all)).expect("an answer")
    }

    /// Opens a page with a form, and sends the form with these fields beside its hidden ones.
    fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.page(path);
        let hidden: Vec<(String, String)> = ["form_key", "generation", "file"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), hidden(&page, name)?)))
            .collect();
        let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all: Vec<(&str, &str)> = hidden.chain(fields.iter().copied()).collect();
        self.send(path, &all)
    }

    /// Signs in with a token.
    fn sign_in(&mut self, token: &str) -> Answer {
        let answer = self.send("/sign-in", &[("token", token), ("next", "/")]);
        let cookie = answer.headers.get("set-cookie").and_then(|set| set.split(';').next()).map(str::to_owned);
        self.cookie = cookie.or(self.cookie.take());
        answer
    }
}

/// The value of a hidden field; of several forms, the last one's.
fn hidden(page: &str, name: &str) -> Option<String> {
    let field = page.rsplit("<input ").find(|field| field.contains(&format!("name=\"{name}\"")))?;
    Some(field.split("value=\"").nth(1)?.split('"').next()?.to_owned())
}

/// A token in a deployment's `serin.toml`.
pub(crate) fn admit(deployment: &Deployment, name: &str, roles: &str, more: &[&str]) -> String {
    let made = run([&["token", "new", "--name", name, "--role", roles], more].concat());
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let entry = made.stderr.split_once("[[access.tokens]]").expect("an entry").1;
    deployment.write("serin.toml", format!("{}\n[[access.tokens]]{entry}", deployment.read("serin.toml")));
    made.stdout.trim().to_owned()
}

fn outreach(borrower: &str) -> Value {
    json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": borrower, "loan": format!("l{borrower}") },
        "context": { "days_past_due": 12, "channel": "batch" },
    })
}

/// What an experiment is watched by.
const WATCHED: &str = r#"
[[metrics]]
name = "cured"
outcome = "cured"
role = "goal"
direction = "increase"
window = "1s"

[[guardrails]]
metric = "failures"
max_increase = 0.01
min_units = 10
"#;

/// The demo's deployment with a ramp, a goal and a guardrail.
fn watched() -> Deployment {
    let deployment = collections();
    let path = "experiments/outreach-score.toml";
    deployment.edit(path, "coverage = 1.0 ", "ramp = [{ coverage = 0.2, hold = \"1d\" }, { coverage = 1.0 }] ");
    deployment.write(path, deployment.read(path) + WATCHED);
    deployment
}

fn state(host: &Host) -> Value {
    host.admin.get("/v1/experiments/outreach-score").json()["state"].clone()
}
