//! The credentials of an OCI registry, and where they may go: to the registry itself, and to the token server that it
//! names if that is its own host or one that the environment names. Any registry can name any server.

use http_auth::ChallengeRef;
use http_auth::parser::ChallengeParser;
use oci_client::Reference;
use oci_client::secrets::RegistryAuth;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};

type Failure = Box<dyn std::error::Error>;

/// The variable that names a token server on another host than the registry's.
const TOKEN_SERVER: &str = "SERIN_REGISTRY_TOKEN_SERVER";
/// Bytes of a token server's answer.
const MOST_BYTES: usize = 1 << 20;

/// What is to be done at a registry, as a token's scope has it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access {
    Pull,
    Push,
}

/// The user and password of the environment.
struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Those of the environment, where they are this registry's. Another registry, such as one that a `plugins.lock`
    /// names, never gets them.
    fn of(registry: &str) -> Result<Option<Self>, Failure> {
        let (user, password, owner) =
            (variable("SERIN_REGISTRY_USER"), variable("SERIN_REGISTRY_PASSWORD"), variable("SERIN_REGISTRY"));
        match (user, password, owner) {
            (None, None, _) => Ok(None),
            (Some(user), Some(password), Some(owner)) if owner == registry => Ok(Some(Self { user, password })),
            (Some(_), Some(_), Some(owner)) => {
                eprintln!("{registry} is asked without credentials: those of the environment are for {owner}");
                Ok(None)
            }
            (Some(_), Some(_), None) => Err(format!(
                "SERIN_REGISTRY_USER and SERIN_REGISTRY_PASSWORD are set, and not for which registry; valid: SERIN_REGISTRY={registry}"
            )
            .into()),
            _ => Err("of SERIN_REGISTRY_USER and SERIN_REGISTRY_PASSWORD one is set; valid: both, or none".into()),
        }
    }
}

fn variable(key: &str) -> Option<String> {
    std::env::var(key).ok().filter(|value| !value.is_empty())
}

/// What the registry of a reference is asked with: a token, where its credentials have to be exchanged for one.
///
/// # Errors
/// That it is not clear whose the credentials are, or that they would go where they may not.
pub(super) async fn auth(reference: &Reference, is_plain: bool, access: Access) -> Result<RegistryAuth, Failure> {
    let registry = reference.registry();
    let Some(credentials) = Credentials::of(registry)? else { return Ok(RegistryAuth::Anonymous) };
    let scheme = if is_plain { "http" } else { "https" };
    let root = Url::parse(&format!("{scheme}://{}/v2/", reference.resolve_registry()))?;
    if is_plain && !is_here(&root) {
        return Err(format!(
            "{registry}: credentials are not sent without TLS; valid: leave out --plain-http, or SERIN_REGISTRY_USER and \
             SERIN_REGISTRY_PASSWORD"
        )
        .into());
    }
    let failed = |error: reqwest::Error| format!("{registry}: {}", with_cause(&error.without_url()));
    let seconds = std::time::Duration::from_secs;
    let client = reqwest::Client::builder().redirect(Policy::none()).connect_timeout(seconds(10)).timeout(seconds(60));
    let client = client.build().map_err(failed)?;
    let asked = client.get(root.clone()).send().await.map_err(failed)?;
    let Some((realm, service)) = bearer(asked.headers()) else {
        let is_asked_for = asked.headers().contains_key(WWW_AUTHENTICATE);
        let Credentials { user, password } = credentials;
        return Ok(if is_asked_for { RegistryAuth::Basic(user, password) } else { RegistryAuth::Anonymous });
    };
    let mut realm = Url::parse(&realm).map_err(|_| format!("{registry}: its token server is no URL"))?;
    check(registry, &root, &realm)?;
    let actions = match access {
        Access::Pull => "pull",
        Access::Push => "pull,push",
    };
    realm.query_pairs_mut().append_pair("scope", &format!("repository:{}:{actions}", reference.repository()));
    if let Some(service) = service {
        realm.query_pairs_mut().append_pair("service", &service);
    }
    let server = authority(&realm);
    let asked = client.get(realm).basic_auth(&credentials.user, Some(&credentials.password)).send();
    let mut answer = asked.await.map_err(failed)?;
    if answer.status() != StatusCode::OK {
        return Err(format!("{registry}: its token server {server} gave no token: {}", answer.status()).into());
    }
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(failed)? {
        body.extend_from_slice(&part);
        if body.len() > MOST_BYTES {
            return Err(format!("{registry}: its token server {server} sends more than {MOST_BYTES} bytes").into());
        }
    }
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let token = answer["token"].as_str().or(answer["access_token"].as_str());
    let token = token.ok_or_else(|| format!("{registry}: its token server {server} gave no token"))?;
    Ok(RegistryAuth::Bearer(token.to_owned()))
}

/// Whether credentials may go to the token server that a registry names.
fn check(registry: &str, root: &Url, realm: &Url) -> Result<(), String> {
    let server = authority(realm);
    let is_named = variable(TOKEN_SERVER).is_some_and(|named| {
        let named = Url::parse(&format!("{}://{named}", realm.scheme()));
        named.is_ok_and(|named| authority(&named) == server)
    });
    let is_own = authority(realm) == authority(root);
    if !is_own && !is_named {
        return Err(format!(
            "{registry}: names the token server {server}, which is another host and gets no credentials; where it is the \
             registry's, set {TOKEN_SERVER}={server}"
        ));
    }
    match realm.scheme() {
        "https" => Ok(()),
        "http" if is_here(root) && is_here(realm) => Ok(()),
        scheme => Err(format!(
            "{registry}: names the token server {server} over {scheme}, and credentials are not sent without TLS; valid: https"
        )),
    }
}

/// The host and the port.
fn authority(url: &Url) -> String {
    let host = serin_core::printable(url.host_str().unwrap_or_default());
    url.port_or_known_default().map_or(host.clone(), |port| format!("{host}:{port}"))
}

/// Whether a URL is of this machine.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The token server that a registry names, and how it calls itself there.
fn bearer(headers: &HeaderMap) -> Option<(String, Option<String>)> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut challenges = values.flat_map(|value| ChallengeParser::new(value).map_while(Result::ok));
    let challenge = challenges.find(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer"))?;
    let of = |key: &str| parameter(&challenge, key);
    // Without one there is nobody to ask, and the registry says so itself.
    Some((of("realm").unwrap_or_default(), of("service")))
}

fn parameter(challenge: &ChallengeRef<'_>, key: &str) -> Option<String> {
    let found = challenge.params.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    found.map(|(_, value)| value.to_unescaped())
}

/// An error with what caused it: a client of HTTP says "error sending request" of everything.
pub(super) fn with_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        if !said.contains(&why) {
            said += &format!(": {why}");
        }
        cause = error.source();
    }
    said
}
