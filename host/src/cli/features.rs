//! `serin features load`.

use std::path::Path;

use super::{Outcome, progress};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::features::{EmbeddedStore, load_file};

pub(super) fn load(view: &str, file: &Path, config: &Path) -> Outcome {
    let config = Config::load(config)?;
    let Some(spec) = config.views.get(view) else {
        let mut known: Vec<&str> = config.views.keys().map(|v| &**v).collect();
        known.sort_unstable();
        return Err(format!("feature view '{view}' is not declared; declared: {}", known.join(", ")).into());
    };
    let data = config.fixed.data_dir();
    std::fs::create_dir_all(&data)?;
    let store = EmbeddedStore::open(&data.join("features.db"))?;
    let bar = progress(None, "rows");
    let loaded = load_file(&store, spec, file, SystemClock.now_ms(), |row| bar.set_position(row))?;
    bar.finish_and_clear();
    println!("{view}: {} rows written, {} older than what is there", loaded.written, loaded.older);
    Ok(true)
}
