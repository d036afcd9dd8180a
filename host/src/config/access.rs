//! `[access]`: who may do what.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;
use serin_core::{Name, by_name};

use crate::access::{Access, Credential, Identity, Role, Roles, TokenHash};
use crate::deployment::PointSpec;

/// Tokens that one name may have: the one in use, and the next one while it is rolled out.
const TOKENS_A_NAME: usize = 2;
/// Credentials in all.
const MAX_CREDENTIALS: usize = 10_000;
/// The name under which the host itself acts.
const HOST: &str = "serin";
const NAME_RULE: &str = "1 to 64 letters, digits, '.', '_', '-' and '@'";

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAccess {
    #[serde(default, deserialize_with = "by_name::list")]
    pub tokens: Vec<RawToken>,
    #[serde(default, deserialize_with = "by_name::list")]
    pub certificates: Vec<RawCertificate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawToken {
    pub name: String,
    pub roles: Vec<String>,
    pub points: Option<Vec<String>>,
    pub sha256: String,
    pub expires: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCertificate {
    pub name: String,
    pub roles: Vec<String>,
    pub points: Option<Vec<String>>,
    pub dns: String,
    pub expires: Option<String>,
}

/// What a token and a certificate have in common.
struct Entry<'r> {
    key: String,
    name: &'r str,
    roles: &'r [String],
    points: Option<&'r [String]>,
    expires: Option<&'r str>,
}

pub(super) fn access(
    raw: &RawAccess,
    points: &IndexMap<Name, PointSpec>,
    has_client_ca: bool,
) -> Result<Access, String> {
    if raw.tokens.is_empty() && raw.certificates.is_empty() {
        return Err(
            "access: without a token and a certificate nobody gets in; add what `serin token new` prints".to_owned()
        );
    }
    if !raw.certificates.is_empty() && !has_client_ca {
        return Err(
            "access.certificates: without server.tls.client_ca no client shows a certificate, and these entries let \
             nobody in; set it to the file of the CAs of clients, or remove the entries"
                .to_owned(),
        );
    }
    if raw.tokens.len() + raw.certificates.len() > MAX_CREDENTIALS {
        return Err(format!("access: more than {MAX_CREDENTIALS} credentials"));
    }
    let mut access = Access::default();
    let mut identities = HashMap::new();
    add_tokens(&mut access, &mut identities, &raw.tokens, points)?;
    add_certificates(&mut access, &mut identities, &raw.certificates, points)?;
    Ok(access)
}

/// The identities so far, each with the key of its first entry.
type Identities<'r> = HashMap<&'r str, (Arc<Identity>, String)>;

fn add_tokens<'r>(
    access: &mut Access,
    identities: &mut Identities<'r>,
    tokens: &'r [RawToken],
    points: &IndexMap<Name, PointSpec>,
) -> Result<(), String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (at, token) in tokens.iter().enumerate() {
        let RawToken { name, roles, sha256, .. } = token;
        let key = format!("access.tokens[{at}]");
        let (of_points, expires) = (token.points.as_deref(), token.expires.as_deref());
        let entry = Entry { key: key.clone(), name, roles, points: of_points, expires };
        let credential = credential(identities, entry, points)?;
        let count = counts.entry(name).or_default();
        *count += 1;
        if *count > TOKENS_A_NAME {
            return Err(format!(
                "{key}.name = \"{name}\": a name has at most {TOKENS_A_NAME} tokens, the one in use and the next one; \
                 remove one that is out of use"
            ));
        }
        let hash = TokenHash::parse(sha256).ok_or_else(|| {
            format!("{key}.sha256: valid: 64 hexadecimal digits, as `serin token new` prints them; never the token")
        })?;
        if !access.add_token(hash, credential) {
            return Err(format!("{key}.sha256: another entry has the same; each token belongs to one name"));
        }
    }
    Ok(())
}

fn add_certificates<'r>(
    access: &mut Access,
    identities: &mut Identities<'r>,
    certificates: &'r [RawCertificate],
    points: &IndexMap<Name, PointSpec>,
) -> Result<(), String> {
    for (at, certificate) in certificates.iter().enumerate() {
        let RawCertificate { name, roles, dns, .. } = certificate;
        let key = format!("access.certificates[{at}]");
        let (of_points, expires) = (certificate.points.as_deref(), certificate.expires.as_deref());
        let entry = Entry { key: key.clone(), name, roles, points: of_points, expires };
        let credential = credential(identities, entry, points)?;
        if dns.is_empty() || dns.len() > 253 || !dns.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) {
            return Err(format!(
                "{key}.dns = \"{dns}\"; valid: a DNS name that the certificate has as subjectAltName, like \
                 app.internal"
            ));
        }
        if !access.add_certificate(dns.clone(), credential) {
            return Err(format!("{key}.dns = \"{dns}\": another entry has it; each belongs to one name"));
        }
    }
    Ok(())
}

fn credential<'r>(
    identities: &mut Identities<'r>,
    entry: Entry<'r>,
    known: &IndexMap<Name, PointSpec>,
) -> Result<Credential, String> {
    let Entry { key, name, roles, points, expires } = entry;
    check_name(name).map_err(|why| format!("{key}.name = \"{name}\"{why}"))?;
    let parsed: Vec<Role> = roles
        .iter()
        .map(|role| Role::parse(role).ok_or_else(|| format!("{key}.roles: \"{role}\"; valid: {}", Role::written())))
        .collect::<Result<_, _>>()?;
    if parsed.is_empty() {
        return Err(format!("{key}.roles: at least one is needed; valid: {}", Role::written()));
    }
    if let Some(unknown) = points.unwrap_or_default().iter().find(|point| !known.contains_key(point.as_str())) {
        let known: Vec<&str> = known.keys().map(|point| &**point).collect();
        return Err(format!("{key}.points: \"{unknown}\" is no decision point; known: {}", known.join(", ")));
    }
    if points.is_some_and(<[String]>::is_empty) {
        return Err(format!("{key}.points: at least one; without the key, the roles are for all"));
    }
    let expires_ms = expires
        .map(|text| parse_expiry(text).map_err(|valid| format!("{key}.expires = \"{text}\"; valid: {valid}")))
        .transpose()?;
    let points = points.map(|points| points.iter().map(|point| point.as_str().into()).collect());
    let identity = Arc::new(Identity::new(name.into(), Roles::of(&parsed), points));
    let (known, first) = identities.entry(name).or_insert_with(|| (Arc::clone(&identity), key.clone()));
    if **known != *identity {
        return Err(format!(
            "{key}: '{name}' has other roles or points in {first}; valid: the same in all entries of a name, or \
             another name"
        ));
    }
    Ok(Credential { identity: Arc::clone(known), expires_ms })
}

/// Checks whom a credential names.
///
/// # Errors
/// What is wrong with the name, to be said after it.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_name = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte));
    if !is_name {
        return Err(format!("; valid: {NAME_RULE}"));
    }
    match name == HOST {
        true => Err(": the host itself acts under this name; choose another".to_owned()),
        false => Ok(()),
    }
}

/// Reads when a credential ends, in milliseconds since the Unix epoch.
///
/// # Errors
/// What is valid.
pub fn parse_expiry(text: &str) -> Result<u64, &'static str> {
    let time: Option<jiff::Timestamp> = text.parse().ok();
    let valid = "RFC 3339, like 2027-01-01T00:00:00Z";
    time.and_then(|time| u64::try_from(time.as_millisecond()).ok()).ok_or(valid)
}

/// Whether listeners at these addresses may be open: without `[access]` only this machine may reach
/// them.
///
/// # Errors
/// Which address may not, and what to do.
pub fn no_open_doors(access: Option<&Access>, addresses: [(&str, SocketAddr); 2]) -> Result<(), String> {
    let open = addresses.into_iter().find(|(_, address)| !address.ip().to_canonical().is_loopback());
    match (access, open) {
        (None, Some((key, address))) => Err(format!(
            "{key} = \"{address}\": others can reach this address, and without [access] everybody may do everything; \
             valid: add [[access.tokens]], as `serin token new` prints them, or listen on 127.0.0.1"
        )),
        _ => Ok(()),
    }
}
