//! A bare `write` and `fsync` beside a load, in the folder of its ledger: what the disk alone makes anybody wait.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::STALL;
use crate::measure::median;
use crate::table::{Row, Table};
use crate::world::Failure;

/// As many bytes as the commit of one decision writes: four pages.
const BYTES: usize = 16 << 10;
/// Seldom enough that it hardly adds to what the disk has to do.
const EVERY: Duration = Duration::from_millis(100);

/// When each write began, and when it was on the disk.
pub struct Disk(Vec<(Instant, Instant)>);

/// Does the work, and meanwhile writes.
pub fn beside<T>(folder: &Path, work: impl FnOnce() -> T) -> Result<(T, Disk), Failure> {
    let done = AtomicBool::new(false);
    let mut file = File::create(folder.join("bench-fsync"))?;
    std::thread::scope(|scope| {
        let writes = scope.spawn(|| {
            let mut writes = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                file.rewind()?;
                file.write_all(&[7; BYTES])?;
                file.sync_all()?;
                writes.push((began, Instant::now()));
                std::thread::sleep(EVERY);
            }
            Ok::<_, std::io::Error>(writes)
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        Ok((result, Disk(writes.join().map_err(|_| "the writes beside it panicked")??)))
    })
}

impl Disk {
    /// How long the writes took, and how many stalls of the load fell together with a slow one.
    pub fn tabulate(&self, stalls: &[(Instant, Instant)], lasts: Duration, table: &mut Table) {
        let ms = |(from, until): &(Instant, Instant)| until.duration_since(*from).as_secs_f64() * 1e3;
        let mut took: Vec<f64> = self.0.iter().map(ms).collect();
        took.sort_by(f64::total_cmp);
        let at = |share: f64| took.get((took.len() as f64 * share) as usize).or(took.last()).copied().unwrap_or(0.0);
        let slow = at(0.9);
        let among = |(from, until): &&(Instant, Instant)| {
            self.0.iter().any(|write| ms(write) >= slow && write.0 < *until && *from < write.1)
        };
        let longest = stalls.iter().map(ms).fold(0.0, f64::max);
        let title = format!("the open loop's stalls of {} ms and more, in {} s", STALL.as_millis(), lasts.as_secs());
        table.section(
            title,
            vec![
                Row::new("stalls", stalls.len() as f64, ""),
                Row::new(
                    "  of them beside one of the slowest tenth of the bare writes",
                    stalls.iter().filter(among).count() as f64,
                    "",
                ),
                Row::new("  half of them are shorter than", median(stalls.iter().map(ms).collect()), "ms"),
                Row::new("  the longest", longest, "ms"),
                Row::new(
                    format!("{} KiB written, and fsync, each {} ms beside it: p50", BYTES >> 10, EVERY.as_millis()),
                    at(0.5),
                    "ms",
                ),
                Row::new("  p90", slow, "ms"),
                Row::new("  p99", at(0.99), "ms"),
                Row::new("  the longest", at(1.0), "ms"),
            ],
        );
    }
}
