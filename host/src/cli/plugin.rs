//! `serin plugin`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serin_core::manifest::{Manifest, OnMissing};
use serin_core::numbers::counted;
use serin_core::{bounds, printable, printable_to};

use super::build::{BuildOptions, build, draft};
use super::build_scripted::ScriptedLanguage;
use super::case_report::CaseReport;
use super::draft::Drafts;
use super::general::Domain;
use super::plugin_command::PluginCommand;
use super::plugin_test::Update;
use super::sources::newer_than;
use super::{
    Format, Outcome, caches, oci, plugin_bench, plugin_changes, plugin_test, plugin_warnings, project, signing,
};
use crate::files;
use crate::registry::{Contents, link_within_patience, read, read_file};
use crate::signatures::{self, PublicKey, Signature, Signer};

pub(super) fn run(command: PluginCommand) -> Outcome {
    match command {
        PluginCommand::Build { dir, quiet, draft: is_draft } => {
            let options = BuildOptions { quiet, ..BuildOptions::default() };
            let built = match is_draft {
                false => build(&dir, options)?,
                true => draft(&dir, options, &caches::engines()?.drafting(), &mut Drafts::default())?.package()?,
            };
            println!("{} ({} bytes, {})", built.path.display(), built.size_bytes, built.digest);
            Ok(true)
        }
        PluginCommand::New { name, lang, sdk, decision_point, actions } => {
            let is_general = decision_point.is_some() || !actions.is_empty();
            let domain = is_general.then(|| Domain::of(decision_point, actions)).transpose()?;
            project::create(&name, lang, sdk.as_deref(), domain.as_ref())
        }
        PluginCommand::Test { dir, update, accept_failures, watch, junit } => {
            let update = match (update, accept_failures) {
                (false, _) => Update::None,
                (true, false) => Update::Answers,
                (true, true) => Update::All,
            };
            plugin_test::run(&dir, update, watch, junit.as_deref())
        }
        PluginCommand::Case { from_decision, dir, admin, credential } => {
            plugin_test::cut(&from_decision, &dir, &credential.client(&admin)?)
        }
        PluginCommand::Bench { path, against, runs, format } => {
            plugin_bench::run(&artifact(&path)?, against.as_deref(), runs, format)
        }
        PluginCommand::Push { path, reference, compress, plain_http, verify } => {
            oci::push(&artifact(&path)?, &reference, &oci::Push { compress, plain_http, verify: verify.as_deref() })
        }
        PluginCommand::Pull { reference, into, update, plain_http, verify } => {
            oci::pull(reference.as_deref(), &oci::Pull { into: &into, update, plain_http, verify: verify.as_deref() })
        }
        PluginCommand::Keygen { out, password } => signing::keygen(&out, password),
        PluginCommand::Sign { file, key, comment } => signing::sign(&file, &key, comment.as_deref()),
        PluginCommand::Verify { file, key } => signing::verify_file(&file, &key),
        PluginCommand::Check { path, against: Some(old), format: Format::Json } => {
            let new = artifact(&path)?;
            let cases = cases_of(&new)?;
            plugin_changes::as_json(&new, &artifact(&old)?, &cases)
        }
        PluginCommand::Check { path, against, .. } => {
            // The source's types first, where the path is a project's in a language that builds without them.
            if let Some(language) = ScriptedLanguage::of(&path) {
                language.check(&path)?;
            }
            let new = artifact(&path)?;
            let is_compatible = match &against {
                Some(old) => plugin_changes::print(&new, &artifact(old)?)?,
                None => true,
            };
            Ok(check(&new, path.is_dir().then_some(&*path))? && is_compatible)
        }
        PluginCommand::Inspect { file, key, format } => inspect(&file, key.as_deref(), format),
    }
}

/// The artifact that a path names: the file, or what was built in the folder.
fn artifact(path: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let manifest_path = path.join("plugin.toml");
    let text = files::read_text(&manifest_path, files::MAX_TEXT_BYTES)
        .map_err(|e| format!("{}: {e}", manifest_path.display()))?;
    let manifest = Manifest::parse(&text).map_err(|e| format!("{}: {e}", manifest_path.display()))?;
    let file = path.join("dist").join(format!("{}-{}.wasm", manifest.name, manifest.version));
    if file.exists() {
        Ok(file)
    } else {
        Err(format!("{}: not built yet; run 'serin plugin build {}'", file.display(), path.display()).into())
    }
}

/// The project in whose `dist` folder a file is, if the file was built from the manifest that is there now.
fn project_of(file: &Path, manifest: &Manifest) -> Option<PathBuf> {
    let file = file.canonicalize().ok()?;
    let project = file.parent().filter(|folder| folder.ends_with("dist"))?.parent()?;
    let text = files::read_text(&project.join("plugin.toml"), files::MAX_TEXT_BYTES).ok()?;
    let is_same = Manifest::parse(&text).is_ok_and(|known| known.hash == manifest.hash);
    is_same.then(|| project.to_owned())
}

/// How an artifact's cases go: the names, and whether each passes.
fn cases_of(file: &Path) -> Result<Vec<(String, bool)>, Box<dyn std::error::Error>> {
    let bytes = read_file(file).map_err(|e| format!("{}: {e}", files::shown(file)))?;
    let engines = Arc::new(caches::engines()?);
    let plugin = link_within_patience(&engines, bytes).map_err(|e| format!("{}: {e}", files::shown(file)))?;
    let results = plugin.contents.cases.iter().map(|case| plugin.run_case(case));
    Ok(results.map(|result| (result.name, result.difference.is_none())).collect())
}

fn check(file: &Path, source: Option<&Path>) -> Outcome {
    let bytes = read_file(file).map_err(|e| format!("{}: {e}", files::shown(file)))?;
    let engines = Arc::new(caches::engines()?);
    let plugin = match link_within_patience(&engines, bytes) {
        Ok(plugin) => plugin,
        Err(error) => {
            eprintln!("{}: {error}", files::shown(file));
            return Ok(false);
        }
    };
    println!("{} {}: component, imports and manifest are fine", files::shown(file), plugin.manifest().id());
    let project = source.map(Path::to_owned).or_else(|| project_of(file, plugin.manifest()));
    let (mut failed, mut report) = (0, CaseReport::new(&engines, project.as_deref()));
    for case in &plugin.contents.cases {
        let result = plugin.run_case(case);
        match result.difference {
            None => println!("  ok      {} (fuel {})", printable(&result.name), result.fuel),
            Some(_) => {
                failed += 1;
                eprint!("  FAILED  {}\n{}", printable(&result.name), report.of(case, &result));
            }
        }
    }
    if plugin.contents.cases.is_empty() {
        println!("  no cases; a strategy without cases is not self-tested when it is loaded");
    }
    if let Some(newer) = source.and_then(|dir| newer_than(file, dir)) {
        let (newer, built) = (files::shown(&newer), files::shown(file));
        println!(
            "  warning {newer} is newer than {built}, which is what was checked; 'serin plugin build' makes it anew"
        );
    }
    for warning in plugin_warnings::of(&plugin, file) {
        println!("  warning {warning}");
    }
    Ok(failed == 0)
}

fn inspect(file: &Path, key: Option<&Path>, format: Format) -> Outcome {
    let bytes = read_file(file).map_err(|e| format!("{}: {e}", files::shown(file)))?;
    let contents = read(&bytes).map_err(|e| format!("{}: {e}", files::shown(file)))?;
    let signed = SignedBy::of(file, &bytes, key)?;
    match format {
        Format::Json => {
            let mut described = describe(&contents);
            described["signer"] = signed.to_json();
            println!("{}", serde_json::to_string_pretty(&described)?);
        }
        Format::Text => print(&contents, &signed),
    }
    Ok(true)
}

fn describe(contents: &Contents) -> serde_json::Value {
    let manifest = &contents.manifest;
    serde_json::json!({
        "name": &*manifest.name,
        "version": manifest.version.to_string(),
        "decision_point": &*manifest.decision_point,
        "description": manifest.description,
        "owner": manifest.owner,
        "digest": &*contents.digest,
        "wit": contents.wit,
        "size_bytes": contents.size,
        "cases": contents.cases.len(),
        "actions": manifest.actions.iter().map(|action| serde_json::json!({
            "name": &*action.name,
            "parameters": action.parameters.iter().map(|(name, t)| (name.to_string(), t.as_str())).collect::<indexmap::IndexMap<_, _>>(),
        })).collect::<Vec<_>>(),
        "reasons": manifest.reasons.iter().map(|r| (r.code.to_string(), r.text.to_string())).collect::<indexmap::IndexMap<_, _>>(),
        "features": manifest.features.iter().map(|feature| serde_json::json!({
            "view": &*feature.view,
            "name": &*feature.name,
            "type": feature.value_type.as_str(),
            "max_age_ms": feature.max_age_ms,
            "on_missing": match &feature.on_missing {
                OnMissing::Error => serde_json::json!("error"),
                OnMissing::Pass => serde_json::json!("pass"),
                OnMissing::Default(value) => serde_json::json!({ "default": value }),
            },
        })).collect::<Vec<_>>(),
        "models": manifest.scores.iter().map(|s| s.model.to_string()).chain(manifest.callable.iter().map(|c| format!("{} (callable)", c.model))).collect::<Vec<_>>(),
        "parameters": manifest.parameters.iter().map(|p| serde_json::json!({
            "name": &*p.name, "type": p.value_type.as_str(), "default": p.default, "min": p.min, "max": p.max,
        })).collect::<Vec<_>>(),
        "limits": manifest.limits,
    })
}

/// What is known of who signed an artifact.
enum SignedBy {
    Nobody,
    /// Nobody has verified it: its key is given, and its comment could be anything.
    Unverified(String),
    Verified(Signer),
}

impl SignedBy {
    fn of(file: &Path, bytes: &[u8], key: Option<&Path>) -> Result<Self, Box<dyn std::error::Error>> {
        if let Some(key) = key {
            return Ok(Self::Verified(signing::signer(file, bytes, &PublicKey::read(key)?)?));
        }
        let text = signatures::read_beside(file);
        let read = text.and_then(|text| text.map(|text| Signature::parse(&text)).transpose());
        let signature = read.map_err(|error| format!("{}: {error}", files::shown(file)))?;
        Ok(signature.map_or(Self::Nobody, |signature| Self::Unverified(signature.key())))
    }

    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Nobody => serde_json::Value::Null,
            Self::Unverified(key) => serde_json::json!({ "key": key, "comment": null, "verified": false }),
            Self::Verified(Signer { key, comment }) => {
                serde_json::json!({ "key": key, "comment": comment, "verified": true })
            }
        }
    }
}

impl std::fmt::Display for SignedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nobody => f.write_str("none"),
            Self::Unverified(key) => write!(f, "key {key}, not verified: --key PUB does"),
            Self::Verified(signer) => write!(f, "{signer}"),
        }
    }
}

fn print(contents: &Contents, signed: &SignedBy) {
    let manifest = &contents.manifest;
    println!("{} for decision point {}", manifest.id(), manifest.decision_point);
    println!("{}", printable_to(&manifest.description, bounds::DESCRIPTION_BYTES));
    println!("owner    {}", printable(&manifest.owner));
    println!("digest   {}", contents.digest);
    println!("wit      serin:decision@{}", contents.wit);
    println!("size     {} bytes, {}", contents.size, counted(contents.cases.len() as u64, "case"));
    println!("signer   {signed}");
    for action in &manifest.actions {
        let parameters: Vec<String> = action.parameters.iter().map(|(name, t)| format!("{name}: {t}")).collect();
        println!("action   {} ({})", action.name, parameters.join(", "));
    }
    for feature in &manifest.features {
        println!("feature  {}.{}: {}", feature.view, feature.name, feature.value_type);
    }
    for score in &manifest.scores {
        println!("model    {}", score.model);
    }
    for callable in &manifest.callable {
        println!("model    {} (callable)", callable.model);
    }
    for parameter in &manifest.parameters {
        let default = printable(&parameter.default.to_string());
        println!("param    {}: {} = {default}", parameter.name, parameter.value_type);
    }
    for reason in &manifest.reasons {
        println!("reason   {}: {}", reason.code, printable_to(&reason.text, bounds::REASON_BYTES));
    }
}
