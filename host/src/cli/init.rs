//! `serin init`: a deployment that checks and serves, from templates that this program carries.

use std::path::{Path, PathBuf};

use clap::Args;

use super::general::{Domain, named};
use super::progress::waiting;
use super::project::{self, Language};
use super::{Outcome, build};

/// A strategy of this language, unless another is given.
const LANGUAGE: Language = Language::Rust;

const FILES: [(&str, &str); 3] = [
    ("serin.toml", include_str!("../../templates/deployment/serin.toml")),
    ("experiments/canary.toml.example", include_str!("../../templates/deployment/experiments/canary.toml.example")),
    (".gitignore", include_str!("../../templates/deployment/gitignore")),
];

/// The options.
#[derive(Args)]
pub(super) struct InitArgs {
    /// The deployment's folder, which is not there yet or empty
    dir: PathBuf,
    /// What applications ask for
    #[arg(long, value_name = "NAME", default_value = "decide")]
    decision_point: String,
    /// Whom or what it is about
    #[arg(long, value_name = "NAME", default_value = "customer")]
    entity: String,
    /// What may be answered, the most careful first: it is the fallback
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "nothing,offer")]
    actions: Vec<String>,
    /// The strategy's language
    #[arg(long, value_enum, default_value_t = LANGUAGE)]
    lang: Language,
    /// The strategy's name [default: the decision point's, and -rules]
    #[arg(long, value_name = "NAME")]
    strategy: Option<String>,
    /// Write the files only; building the strategy takes up to a minute the first time
    #[arg(long)]
    no_build: bool,
    /// The folder of Serin's SDKs, where it is not found beside this program or above this folder
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

pub(super) fn run(args: InitArgs) -> Outcome {
    let InitArgs { dir, decision_point, entity, actions, lang, strategy, no_build, sdk } = args;
    let domain = Domain::of(Some(decision_point), actions)?;
    named("--entity", &entity)?;
    let strategy = strategy.unwrap_or_else(|| format!("{}-rules", domain.point));
    named("--strategy", &strategy)?;
    empty(&dir)?;
    let project = dir.join("strategies").join(&strategy);
    project::write(&project, lang, sdk.as_deref(), Some(&domain))?;
    for (file, template) in FILES {
        let text = domain.fill(template).replace("ENTITY", &entity).replace("NAME", &strategy);
        write(&dir.join(file), &text)?;
    }
    let plugins = dir.join("plugins");
    std::fs::create_dir_all(&plugins).map_err(|e| format!("{}: {e}", plugins.display()))?;
    let is_built = !no_build && build_into(&project, &plugins)?;
    next(&dir, &project, &strategy, &domain, &entity, is_built);
    Ok(no_build || is_built)
}

/// A folder that is to be made, or is empty.
fn empty(dir: &Path) -> Result<(), String> {
    let is_free = match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if is_free { Ok(()) } else { Err(format!("{}: is not empty; give a folder that is not there yet", dir.display())) }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}

/// Builds the strategy and puts its artifact into the plugins folder. Says whether it could.
fn build_into(project: &Path, plugins: &Path) -> Result<bool, Box<dyn std::error::Error>> {
    let _waiting = waiting("building the strategy, up to a minute the first time", false);
    match build::build(project, build::BuildOptions { quiet: true, log_panics: false }) {
        Ok(built) => {
            let name = built.path.file_name().unwrap_or_default();
            std::fs::copy(&built.path, plugins.join(name)).map_err(|e| format!("{}: {e}", plugins.display()))?;
            Ok(true)
        }
        Err(error) => {
            eprintln!("{}: it is written, and cannot be built yet: {error}", project.display());
            Ok(false)
        }
    }
}

/// What to type now.
fn next(dir: &Path, project: &Path, strategy: &str, domain: &Domain, entity: &str, is_built: bool) {
    let config: PathBuf = dir.join("serin.toml");
    let (config, project) = (config.display(), project.display());
    println!("{}: decision point '{}', served by {strategy}@0.1.0; next:", dir.display(), domain.point);
    if !is_built {
        println!("  serin plugin build {project} && cp {project}/dist/*.wasm {}/", dir.join("plugins").display());
    }
    println!("  serin check --config {config}");
    println!("  serin serve --config {config}");
    println!(
        "  curl -s http://127.0.0.1:8080/readyz       # at the first start, until the strategy is compiled, the fallback \
         serves and this says so"
    );
    let body =
        format!(r#"{{"decision_point":"{}","entities":{{"{entity}":"x-1"}},"context":{{"value":120}}}}"#, domain.point);
    println!("  curl -s http://127.0.0.1:8080/v1/decisions -H 'content-type: application/json' -d '{body}'");
    let body = format!(r#"{{"outcomes":[{{"id":"o-1","name":"converted","value":1,"entity":{{"{entity}":"x-1"}}}}]}}"#);
    println!("  curl -s http://127.0.0.1:8080/v1/outcomes -H 'content-type: application/json' -d '{body}'");
    println!("  serin plugin test {project}       # after an edit");
    println!("  serin serve --dev --config {config} --source {project}       # in place of serve: each edit is served");
}
