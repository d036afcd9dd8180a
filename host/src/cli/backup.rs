//! `serin backup` and `serin restore`.

use std::path::PathBuf;

use clap::Args;

use super::{Outcome, progress};
use crate::backup::{self, Places};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::files;

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

fn places(config: &Config) -> Places {
    Places::of(&config.fixed.ledger, config.fixed.data_dir())
}

pub(super) fn back_up(args: &BackupArgs) -> Outcome {
    let config = Config::load(&args.config)?;
    let bar = progress(Some(0), "backup");
    let written = backup::write(&places(&config), &args.file, SystemClock.now_ms(), &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let written = written?;
    for file in &written.damaged {
        eprintln!("warning: {file}; it is not in the backup");
    }
    let shown = files::shown(&args.file);
    println!("{shown}: {} bytes: the ledger, the features, {} files of the archive", written.bytes, written.archived);
    Ok(true)
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
    println!("look at it: serin replay --verify --config {}", files::shown(&args.config));
    Ok(true)
}
