//! The credential that commands send, and `serin token`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serin_core::{NAME_RULE, is_name};

use super::Outcome;
use super::client::Client;
use super::client_tls::TlsArgs;
use crate::access::{Role, Token, TokenHash};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{check_name, parse_expiry};
use crate::files;

/// The variable that holds a token.
const VARIABLE: &str = "SERIN_TOKEN";
/// Bytes of a token's file.
const MAX_BYTES: u64 = 4096;

/// What a command sends to a host that asks who it is.
#[derive(Args, Clone, Default)]
pub(super) struct CredentialArgs {
    /// A file with the token that the host asks for [default: the variable SERIN_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

impl CredentialArgs {
    /// A client of the listener at `base`.
    ///
    /// # Errors
    /// That a file cannot be read, or holds no token and no certificate.
    pub fn client(&self, base: &str) -> Result<Client, String> {
        let client = Client::over(base, &self.tls).map_err(|error| error.to_string())?;
        Ok(client.bearing(self.token()?))
    }

    fn token(&self) -> Result<Option<String>, String> {
        let (text, from) = match &self.token_file {
            Some(path) => {
                let shown = files::shown(path);
                (files::read_text(path, MAX_BYTES).map_err(|e| format!("{shown}: {e}"))?, shown)
            }
            None => match std::env::var(VARIABLE) {
                Ok(text) => (text, VARIABLE.to_owned()),
                Err(std::env::VarError::NotPresent) => return Ok(None),
                Err(std::env::VarError::NotUnicode(_)) => return Err(format!("{VARIABLE}: not a token")),
            },
        };
        let token = text.trim();
        match !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Some(token.to_owned())),
            false => Err(format!("{from}: not a token; valid: one line, as `serin token new` prints it")),
        }
    }
}

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token: it is printed once, with the lines of serin.toml that accept it
    New {
        /// Whom it names
        #[arg(long, value_name = "NAME", value_parser = named)]
        name: String,
        #[arg(
            long, value_name = "ROLE", required = true, value_delimiter = ',', value_parser = role,
            help = format!("What it may do: {}", Role::written())
        )]
        role: Vec<Role>,
        /// The decision points that its roles are limited to [default: all]
        #[arg(long, value_name = "POINT", value_delimiter = ',', value_parser = point)]
        point: Vec<String>,
        /// When it ends, RFC 3339, like 2027-01-01T00:00:00Z [default: never]
        #[arg(long, value_name = "TIME", value_parser = time)]
        expires: Option<jiff::Timestamp>,
    },
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| format!("valid: {}", Role::written()))
}

/// Checked as the host checks it: what is printed here is to be read there.
fn named(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned()).map_err(|why| why.trim_start_matches([';', ':', ' ']).to_owned())
}

fn point(text: &str) -> Result<String, String> {
    if is_name(text) { Ok(text.to_owned()) } else { Err(format!("valid: the name of a decision point, {NAME_RULE}")) }
}

fn time(text: &str) -> Result<jiff::Timestamp, String> {
    parse_expiry(text).map_err(|valid| format!("valid: {valid}"))?;
    text.parse().map_err(|_| "valid: RFC 3339".to_owned())
}

/// Carries out `serin token`. The token alone goes to the output, so that it can be piped into a store
/// of secrets; what belongs into serin.toml goes beside it.
pub(super) fn run(command: TokenCommand) -> Outcome {
    let TokenCommand::New { name, role, point, expires } = command;
    let token = Token::generate().map_err(|error| format!("no entropy: {error}"))?;
    let list =
        |items: &[&str]| items.iter().map(|item| toml::Value::from(*item).to_string()).collect::<Vec<_>>().join(", ");
    let roles: Vec<&str> = role.iter().map(|role| role.as_str()).collect();
    let mut entry = format!("[[access.tokens]]\nname = {}\nroles = [{}]\n", toml::Value::from(name), list(&roles));
    if !point.is_empty() {
        entry += &format!("points = [{}]\n", list(&point.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    entry += &format!("sha256 = \"{}\"\n", TokenHash::of(token.as_str()).to_hex());
    if let Some(expires) = expires {
        entry += &format!("expires = \"{expires}\"\n");
    }
    if expires.is_some_and(|time| u64::try_from(time.as_millisecond()).is_ok_and(|end| end <= SystemClock.now_ms())) {
        eprintln!("warning: --expires lies in the past: this token is refused from the beginning");
    }
    println!("{}", token.as_str());
    eprintln!(
        "\nThis is the token. It is shown once; whoever has it acts under this name. Add to serin.toml:\n\n{entry}"
    );
    Ok(true)
}
