//! Who looks at a page, and the forms that they send.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serin_core::Name;

use crate::access::{Role, is_form_key, masked};
use crate::http::access::{Caller, SignedIn};
use crate::http::rejudged::still_accepted;
use crate::http::{Problem, Service};

/// Bytes of a form. A reason has at most a thousand.
const MAX_FORM: usize = 64 << 10;

/// Who looks at a page.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// As handlers of the JSON API know them.
    pub caller: Caller,
    /// The name of their identity.
    pub name: Option<Name>,
    /// There is no `[access]`: everybody may do everything.
    pub is_open: bool,
    /// They signed in on a page.
    pub has_session: bool,
    /// What the forms of this page have to send: the key, masked.
    pub form_key: String,
    /// The key itself.
    key: String,
}

impl Visitor {
    /// The visitor of a request that was let in.
    pub fn of(service: &Service, parts: &Parts, caller: Caller) -> Self {
        let session = parts.extensions.get::<SignedIn>();
        let name = caller.name();
        let key = match session {
            Some(SignedIn(session)) => session.form_key.clone(),
            None => service.sessions.form_key(name.as_deref().unwrap_or_default()),
        };
        let (is_open, form_key) = (service.access.current().is_none(), masked(&key));
        Self { name, is_open, has_session: session.is_some(), form_key, key, caller }
    }

    /// Whether they may give commands.
    pub fn may_operate(&self) -> bool {
        self.caller.has(Role::Operate).is_ok()
    }
}

impl FromRequestParts<Arc<Service>> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, service).await?;
        Ok(Self::of(service, parts, caller))
    }
}

/// A form of a page.
#[derive(Debug)]
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads a form, whoever it is from.
    pub async fn read(request: &mut Request, service: &Service) -> Result<Self, Problem> {
        let mime = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let mime = mime.and_then(|mime| mime.split(';').next()).unwrap_or_default().trim();
        if !mime.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let detail = "pages take forms; for JSON see GET /openapi.json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
        }
        let read = axum::body::to_bytes(std::mem::take(request.body_mut()), MAX_FORM);
        let bytes = match tokio::time::timeout(service.settings.body_timeout, read).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => {
                let detail = format!("a form has at most {MAX_FORM} bytes");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail));
            }
            Err(_) => {
                let detail = "the form did not arrive within server.body_timeout";
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", detail));
            }
        };
        // Browsers send line breaks in two letters.
        let pairs = form_urlencoded::parse(&bytes);
        Ok(Self(pairs.map(|(key, value)| (key.into_owned(), value.replace("\r\n", "\n"))).collect()))
    }

    /// A field; empty where it is not there.
    pub fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// A field that holds a number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.text(key).parse().ok()
    }
}

/// A form with the key of the page that it is from, and who sends it.
pub struct Sent {
    /// Who.
    pub visitor: Visitor,
    /// What.
    pub form: Form,
}

impl FromRequest<Arc<Service>> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, service).await?;
        let mut request = Request::from_parts(parts, body);
        let form = Form::read(&mut request, service).await?;
        still_accepted(service, &request)?;
        if !is_form_key(form.text("form_key"), &visitor.key) {
            let detail = "the form is of another session, or from before the host's last start: load its page again, \
                          and nothing was done";
            return Err(Problem::new(StatusCode::FORBIDDEN, "form-expired", detail));
        }
        Ok(Self { visitor, form })
    }
}
