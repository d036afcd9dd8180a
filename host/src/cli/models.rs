//! `serin models golden`: the file that a model is checked by when it is loaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use serin_core::manifest::ModelId;

use super::rows::{Rows, Source};
use super::{Outcome, progress};
use crate::files;
use crate::models::{Drafted, Model, ModelFiles, Outline, Runtime, Trial, Wish, golden_path};
use crate::signatures;

/// The version of a model whose file's name does not say it.
const FIRST_VERSION: &str = "1.0.0";

#[derive(Subcommand)]
pub(super) enum ModelsCommand {
    /// Write MODEL.golden.json beside a model: rows and the scores it gives them, by which the host checks it
    Golden(GoldenArgs),
}

#[derive(clap::Args)]
pub(super) struct GoldenArgs {
    /// The model, in the ONNX format
    #[arg(value_name = "FILE.onnx")]
    model: PathBuf,
    /// Rows to score: a CSV file, a JSON list of objects, or JSON lines; rows with an empty value are left out
    #[arg(long, value_name = "DATA")]
    rows: PathBuf,
    /// The columns of the rows that the model takes, in its own order; all of the file if left out
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    inputs: Vec<String>,
    /// How many rows to take, spread over the file
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    count: u16,
    /// The output with the score; needed if several can hold it
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// The score's column in that output, from 0; of two columns the second if left out
    #[arg(long, value_name = "NUMBER")]
    column: Option<usize>,
    /// The model as serin.toml names it; the file's name and 1.0.0 if left out, or NAME-VERSION.onnx
    #[arg(long = "as", value_name = "NAME@VERSION")]
    named: Option<String>,
    /// How far a score may be from the golden one; 0.00001 if left out, more for scores above 1
    #[arg(long, value_name = "NUMBER")]
    tolerance: Option<f64>,
    /// Overwrite a golden file that is there
    #[arg(long)]
    force: bool,
}

pub(super) fn run(command: ModelsCommand) -> Outcome {
    let ModelsCommand::Golden(args) = command;
    golden(args)
}

fn golden(args: GoldenArgs) -> Outcome {
    let target = golden_path(&args.model);
    if target.exists() && !args.force {
        return Err(format!("{}: is there already; --force overwrites it", files::shown(&target)).into());
    }
    if let Some(tolerance) = args.tolerance.filter(|t| !(t.is_finite() && *t >= 0.0)) {
        return Err(format!("--tolerance {tolerance}: valid: a finite number from 0").into());
    }
    let id = identity(&args)?;
    let onnx = ModelFiles::read_model(&args.model)?;
    let runtime = Runtime::load(1, Arc::default())?;
    let of_model = |why: String| format!("{}: {why}", files::shown(&args.model));
    let outline = Outline::of(&runtime, &onnx).map_err(of_model)?;
    let source = Source::open(&args.rows)?;
    let inputs = inputs(&args, source.columns(), outline.columns)?;
    let bar = progress(None, "rows");
    let Rows { rows, whole, left_out } =
        source.spread(&inputs, usize::from(args.count), |rows| bar.set_position(rows))?;
    bar.finish_and_clear();
    let (output, column, tolerance) = (args.output.clone(), args.column, args.tolerance);
    let wish = Wish { id: id.clone(), inputs, output, column, tolerance, rows };
    let drafted = outline.draft(&runtime, &onnx, wish).map_err(of_model)?;
    let text = drafted.golden.to_text();
    // As the host will: what it would refuse is not written.
    let read = ModelFiles { path: args.model.clone(), onnx, golden: text.clone().into_bytes() };
    Model::load(&runtime, id.clone(), &read, Trial::Whole)?;
    write(&target, &text)?;
    let signature = signatures::path_of(&target);
    if signature.exists() {
        let (signature, model) = (files::shown(&signature), files::shown(&args.model));
        eprintln!("note: {signature} is of the file as it was; sign it again: serin plugin sign {model} --key KEY");
    }
    if left_out > 0 {
        eprintln!("note: {left_out} rows with an empty value were left out: the host scores only rows without one");
    }
    tell(&target, &id, &drafted, whole);
    Ok(true)
}

fn tell(target: &Path, id: &ModelId, Drafted { golden, width }: &Drafted, whole: u64) {
    let least = golden.scores.iter().copied().fold(f64::INFINITY, f64::min);
    let most = golden.scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    println!("{}: {} rows of {whole}", files::shown(target), golden.rows.len());
    println!("  serin.toml   [models.{}.\"{}\"]", id.name, id.version);
    println!("  inputs       {}", golden.inputs.join(", "));
    println!("  score        output {}, column {} of 0 to {}", golden.output.name, golden.output.column, width - 1);
    println!("  scores       {least:.6} to {most:.6}, each ± {}", golden.tolerance);
}

/// The model's name and version.
fn identity(args: &GoldenArgs) -> Result<ModelId, String> {
    let stem = args.model.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let (name, version) = match &args.named {
        Some(named) => {
            named.split_once('@').ok_or_else(|| format!("--as {named}: valid: NAME@VERSION, as churn@1.0.0"))?
        }
        None => {
            let versioned = stem.rsplit_once('-').filter(|(_, version)| semver::Version::parse(version).is_ok());
            versioned.unwrap_or((&stem, FIRST_VERSION))
        }
    };
    if !serin_core::is_name(name) {
        return Err(format!(
            "'{name}' cannot be a model's name in serin.toml; name it with --as NAME@VERSION, as --as churn@1.0.0"
        ));
    }
    semver::Version::parse(version)
        .map_err(|e| format!("--as {name}@{version}: {e}; valid: NAME@MAJOR.MINOR.PATCH"))?;
    Ok(ModelId { name: name.into(), version: version.into() })
}

/// The columns of the rows that go into the model, in its order.
fn inputs(args: &GoldenArgs, columns: &[String], wanted: Option<usize>) -> Result<Vec<String>, String> {
    let file = files::shown(&args.rows);
    let listed = || columns.join(", ");
    let chosen = if args.inputs.is_empty() { columns } else { &args.inputs[..] };
    if let Some(unknown) = chosen.iter().find(|input| !columns.contains(input)) {
        return Err(format!("{file}: no column '{unknown}'; its columns: {}", listed()));
    }
    if let Some(twice) = chosen.iter().enumerate().find(|(at, input)| chosen[..*at].contains(input)) {
        return Err(format!("{file}: column '{}' is there twice; each input has a name of its own", twice.1));
    }
    match wanted {
        Some(wanted) if wanted != chosen.len() => Err(match args.inputs.is_empty() {
            true => format!(
                "{file}: {} columns, and the model takes {wanted}; name those that it takes, in its own order, with --inputs NAME,NAME; the file's columns: {}",
                chosen.len(),
                listed()
            ),
            false => format!("--inputs names {} columns, and the model takes {wanted}", chosen.len()),
        }),
        _ => Ok(chosen.to_vec()),
    }
}

/// Writes the file whole or not at all: a host may be watching it.
fn write(target: &Path, text: &str) -> Result<(), String> {
    let part = target.with_extension("json.part");
    let written = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, target));
    written.map_err(|e| format!("{}: {e}", files::shown(target)))
}
