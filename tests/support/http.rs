//! A small HTTP client that never turns a status into an error.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use ureq::tls::TlsConfig;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, in lower case.
    pub headers: HashMap<String, String>,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON; null where it is not.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

/// A client of one listener. Keeps its connections.
#[derive(Clone)]
pub struct Client {
    /// The address, `127.0.0.1:PORT`.
    pub address: String,
    scheme: &'static str,
    agent: ureq::Agent,
    authorization: Option<String>,
}

impl Client {
    /// A client of the listener at `address`.
    pub fn new(address: &str) -> Self {
        Self::with(address, "http", TlsConfig::default())
    }

    /// As [`Client::new`], over TLS.
    pub fn over_tls(address: &str, tls: TlsConfig) -> Self {
        Self::with(address, "https", tls)
    }

    fn with(address: &str, scheme: &'static str, tls: TlsConfig) -> Self {
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(Duration::from_secs(30)))
            .http_status_as_error(false)
            // A redirect is an answer.
            .max_redirects(0)
            .allow_non_standard_methods(true)
            .max_idle_connections(256)
            .max_idle_connections_per_host(256)
            .build();
        Self { address: address.to_owned(), scheme, agent: config.into(), authorization: None }
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The same, with a token.
    pub fn bearing(&self, token: &str) -> Self {
        Self { authorization: Some(format!("Bearer {token}")), ..self.clone() }
    }

    fn asking<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Answer {
        answer(self.asking(self.agent.get(self.url(path))).call()).expect("the host answers")
    }

    /// `POST` of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string(), &[]).expect("the host answers")
    }

    /// `GET`, with headers.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = self.asking(self.agent.get(self.url(path)));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        answer(request.call()).expect("the host answers")
    }

    /// Any method, without a body.
    pub fn send(&self, method: &str, path: &str) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        answer(self.agent.run(request.body(()).expect("a request"))).expect("the host answers")
    }

    /// `POST` of text, with headers; none where nobody answers.
    pub fn post_text(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> Option<Answer> {
        self.post_bytes(path, body.as_bytes(), headers)
    }

    /// `POST` of bytes, with headers; none where nobody answers.
    pub fn post_bytes(&self, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Option<Answer> {
        let mut request = self.asking(self.agent.post(self.url(path)));
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.content_type("application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(body))
    }
}

fn answer(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Option<Answer> {
    let mut answer = answer.ok()?;
    let headers = answer
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    let status = answer.status().as_u16();
    let text = answer.body_mut().with_config().limit(64 << 20).read_to_string().ok()?;
    Some(Answer { status, headers, text })
}
