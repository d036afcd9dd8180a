//! A client of a host's listeners.

use std::time::Duration;

use serde_json::Value;
use ureq::tls::TlsConfig;

use super::client_tls::{TlsArgs, TlsFileError, hint};

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nobody answered.
    #[error("{url}: {error}; {}", hint(url, error))]
    Unreachable {
        /// What was called.
        url: String,
        /// What happened.
        error: ureq::Error,
    },
    /// The address has a user or a password.
    #[error(
        "a URL with a user or a password is not called; valid: HOST:PORT or http://HOST:PORT, and the token from \
         --token-file FILE or the variable SERIN_TOKEN"
    )]
    UserInfo,
    /// A file that TLS needs.
    #[error(transparent)]
    File(#[from] TlsFileError),
    /// It answered with an error.
    #[error("{url}: {status}: {detail}")]
    Refused {
        /// What was called.
        url: String,
        /// The status.
        status: u16,
        /// The problem's detail.
        detail: String,
    },
}

impl ClientError {
    /// Says whether the answer took longer than a client waits.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Unreachable { error: ureq::Error::Timeout(_), .. })
    }
}

/// Calls one listener.
pub(super) struct Client {
    base: String,
    token: Option<String>,
    agent: ureq::Agent,
}

impl Client {
    /// A client of the listener at `base`, which speaks in the clear.
    pub(super) fn new(base: &str) -> Self {
        Self::with(base, "http", TlsConfig::default())
    }

    /// A client of the listener at `base`. Without a scheme it speaks TLS if an option says how.
    pub(super) fn over(base: &str, tls: &TlsArgs) -> Result<Self, ClientError> {
        let authority = base.split_once("://").map_or(base, |(_, rest)| rest).split(['/', '?', '#']).next();
        if authority.is_some_and(|authority| authority.contains('@')) {
            return Err(ClientError::UserInfo);
        }
        Ok(Self::with(base, if tls.is_given() { "https" } else { "http" }, tls.config()?))
    }

    fn with(base: &str, scheme: &str, tls: TlsConfig) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(30)))
            .http_status_as_error(false)
            .tls_config(tls)
            .build();
        let base = base.trim_end_matches('/');
        // HOST:PORT is what a host prints and what `serve --admin` takes.
        let base = if base.contains("://") { base.to_owned() } else { format!("{scheme}://{base}") };
        Self { base, token: None, agent: config.into() }
    }

    /// Sends this token with every request.
    pub(super) fn bearing(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// `GET`; the status and the body, whatever the status.
    pub(super) fn get_any(&self, path: &str) -> Result<(u16, Value), ClientError> {
        let url = format!("{}{path}", self.base);
        self.finish(url.clone(), self.asking(self.agent.get(&url)).call())
    }

    /// `POST` of JSON; the status and the body, whatever the status.
    pub(super) fn post_any(&self, path: &str, body: &Value) -> Result<(u16, Value), ClientError> {
        let url = format!("{}{path}", self.base);
        self.finish(url.clone(), self.asking(self.agent.post(&url)).send_json(body))
    }

    /// A request with the credential.
    fn asking<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn finish(
        &self,
        url: String,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<(u16, Value), ClientError> {
        let (status, text) = read(url, answer)?;
        Ok((status, parsed(text)))
    }

    /// `GET`; the body, or what the host says instead.
    pub(super) fn get(&self, path: &str) -> Result<Value, ClientError> {
        let (status, body) = self.get_any(path)?;
        self.accept(path, status, body)
    }

    /// `GET`; the body as it was sent, or what the host says instead. A [`Value`] would put the
    /// body's keys into another order.
    pub(super) fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let url = format!("{}{path}", self.base);
        let (status, text) = read(url.clone(), self.asking(self.agent.get(&url)).call())?;
        if (200..300).contains(&status) { Ok(text) } else { Err(self.refused(path, status, &parsed(text))) }
    }

    /// `POST`; the body, or what the host says instead.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let (status, body) = self.post_any(path, body)?;
        self.accept(path, status, body)
    }

    /// `POST`, if what is changed still has this generation.
    pub(super) fn post_if_match(&self, path: &str, generation: u64, body: &Value) -> Result<Value, ClientError> {
        let url = format!("{}{path}", self.base);
        let request = self.asking(self.agent.post(&url)).header("if-match", format!("\"{generation}\""));
        let (status, body) = self.finish(url.clone(), request.send_json(body))?;
        self.accept(path, status, body)
    }

    fn accept(&self, path: &str, status: u16, body: Value) -> Result<Value, ClientError> {
        if (200..300).contains(&status) { Ok(body) } else { Err(self.refused(path, status, &body)) }
    }

    fn refused(&self, path: &str, status: u16, body: &Value) -> ClientError {
        let mut detail = body["detail"].as_str().map_or_else(|| body.to_string(), str::to_owned);
        if status == 401 {
            detail += "; commands take a token from --token-file FILE or the variable SERIN_TOKEN";
        }
        ClientError::Refused { url: format!("{}{path}", self.base), status, detail }
    }
}

/// The status and the body.
fn read(
    url: String,
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<(u16, String), ClientError> {
    let unreachable = |error| ClientError::Unreachable { url: url.clone(), error };
    let mut answer = answer.map_err(unreachable)?;
    let status = answer.status().as_u16();
    Ok((status, answer.body_mut().read_to_string().map_err(unreachable)?))
}

/// A body as JSON; as a text where it is none.
fn parsed(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}
