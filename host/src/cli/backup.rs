//! `serin backup` and `serin restore`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Outcome, progress};
use crate::backup::{self, Kept, Places};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::ledger::SCHEMA;
use crate::models::golden_path;
use crate::{files, signatures};

#[derive(Args)]
pub(super) struct BackupArgs {
    /// The file to write; one that is there is replaced once the new one is whole
    file: PathBuf,
    /// The deployment's serin.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Args)]
pub(super) struct RestoreArgs {
    /// A file that `serin backup` has written
    file: PathBuf,
    /// The deployment's serin.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Move what is there aside, and say where
    #[arg(long)]
    force: bool,
}

/// What a backup lacks and its summary names; warnings name all.
const NAMED: usize = 3;

fn places(config: &Config) -> Places {
    Places::of(&config.fixed.ledger, config.fixed.data_dir())
}

pub(super) fn back_up(args: &BackupArgs) -> Outcome {
    let config = Config::load(&args.config)?;
    let places = places(&config);
    backup::may_be_written(&args.file, &places, &config.path, kept(&config))?;
    let bar = progress(Some(0), "backup");
    let written = backup::write(&places, &args.file, SystemClock.now_ms(), &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let written = written?;
    for file in &written.damaged {
        eprintln!("warning: {file}; it is not in the backup");
    }
    for what in &written.missing {
        eprintln!("warning: {what} is not in the archive as it was, and records need it; it is not in the backup");
    }
    let shown = files::shown(&args.file);
    let without = match (&written.missing[..], written.damaged.len()) {
        ([], 0) => String::new(),
        ([], damaged) => format!(", without {damaged} that it has damaged"),
        (missing, _) => {
            let named = missing[..missing.len().min(NAMED)].join(", ");
            let more = missing.len().checked_sub(NAMED + 1).map(|more| format!(" and {} more", more + 1));
            format!(", without {named}{}: records that need them cannot be replayed", more.unwrap_or_default())
        }
    };
    println!(
        "{shown}: {} bytes: the ledger, the features, {} files of the archive{without}",
        written.bytes, written.archived
    );
    if let Some(older) = written.older {
        println!(
            "the ledger is of schema {older}, so what its records need was not looked for; serin serve brings it to {SCHEMA}"
        );
    }
    Ok(written.is_whole())
}

/// The deployment's own files and folders.
fn kept(config: &Config) -> Kept {
    let fixed = &config.fixed;
    let mut kept = Kept::default();
    let mut file = |path: &Path, what: String| kept.files.push((path.to_owned(), what));
    file(&config.path, "the configuration file".to_owned());
    for key in &config.trusted_keys {
        file(key, "a trusted key of this deployment".to_owned());
    }
    let tls = fixed.tls.iter().flat_map(|tls| [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()]);
    for path in tls.flatten() {
        file(path, "a file of server.tls".to_owned());
    }
    for (id, path) in &config.models {
        for path in [path.clone(), golden_path(path), signatures::path_of(path)] {
            file(&path, format!("a file of model {id}"));
        }
        let folder = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        kept.holding.push((folder.to_owned(), format!("the folder of model {id}")));
    }
    let folders = [
        (&fixed.plugins, "the plugins folder"),
        (&fixed.experiments, "the experiments folder"),
        (&fixed.compiled, "the folder of compiled code"),
    ];
    kept.folders.extend(folders.map(|(path, what)| (path.clone(), what.to_owned())));
    kept
}

pub(super) fn restore(args: &RestoreArgs) -> Outcome {
    let config = Config::load(&args.config)?;
    let bar = progress(Some(0), "restore");
    let now_ms = SystemClock.now_ms();
    let restored = backup::restore(&places(&config), &args.file, args.force, now_ms, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let restored = restored?;
    if let Some(aside) = &restored.aside {
        println!("what was there is in {}", files::shown(aside));
    }
    println!("restored as of {}, backed up by serin {}", restored.made, restored.serin);
    let config = files::shown(&args.config);
    if restored.ledger_schema < SCHEMA {
        println!(
            "its ledger is of schema {}; serin serve --config {config} brings it to {SCHEMA}",
            restored.ledger_schema
        );
    }
    println!("look at it: serin replay --verify --config {config}");
    Ok(true)
}
