//! `serin features load`.

use std::path::Path;

use super::{Outcome, progress};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::features::{EmbeddedStore, LoadOptions, Progress, load_file};

pub(super) fn load(view: &str, file: &Path, config: &Path, null: Vec<String>) -> Outcome {
    let config = Config::load(config)?;
    let Some(spec) = config.views.get(view) else {
        let mut known: Vec<&str> = config.views.keys().map(|v| &**v).collect();
        known.sort_unstable();
        return Err(format!("feature view '{view}' is not declared; declared: {}", known.join(", ")).into());
    };
    let data = config.fixed.data_dir();
    crate::files::create_private_dir(&data)?;
    let store = EmbeddedStore::open(&data.join("features.db"))?;
    let bar = progress(None, "rows");
    let options = LoadOptions { now_ms: SystemClock.now_ms(), null };
    let loaded = load_file(&store, spec, file, &options, |progress| match progress {
        Progress::Checked(rows) => bar.set_position(rows),
        Progress::Taken(rows, of) => {
            bar.set_length(of);
            bar.set_position(rows);
        }
    })?;
    bar.finish_and_clear();
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    if !loaded.without.is_empty() {
        let without: Vec<&str> = loaded.without.iter().map(|column| &**column).collect();
        eprintln!("note: the file has no column {}; what is known there stays as it is", without.join(", "));
    }
    println!("{view}: {} rows written, {} older than what is there", loaded.rows.written, loaded.rows.older);
    Ok(true)
}
