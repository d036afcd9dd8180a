//! The cost of giving a small guest's memory back: wasmtime finds the written pages in the kernel's page
//! map, or copies the image over everything that stays resident. Copying is for memories that are resident
//! as a whole: 64 KiB. Rust's linker gives a guest 1,088 KiB, nearly all of it stack.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module, PoolingAllocationConfig, Store,
};

use crate::measure::{TimedCall, interleaved, median};
use crate::table::{Row, Table};
use crate::world::Failure;

const RESIDENT: usize = 64 << 10;

/// A way to give a memory back.
struct Way {
    what: &'static str,
    start: InstancePre<()>,
}

/// A guest that writes to eight pages: two of stack, two of data and four of heap.
fn guest(pages: usize) -> String {
    let stack = if pages == 1 { 16 << 10 } else { 1 << 20 };
    let written = [stack - 4096, stack - 8192, stack, stack + 4096].into_iter().chain((2..6).map(|i| stack + i * 4096));
    let stores: String = written.map(|at| format!("(i32.store (i32.const {}) (i32.const 7))", at + 512)).collect();
    let data = "x".repeat(6000);
    format!(
        "(module (memory (export \"memory\") {pages} {pages}) (data (i32.const {stack}) \"{data}\")
           (func (export \"run\") {stores}))"
    )
}

fn way(what: &'static str, pages: usize, scan: Enabled) -> Result<Way, Failure> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(64)
        .total_memories(64)
        .max_memory_size(4 << 20)
        .linear_memory_keep_resident(RESIDENT)
        .pagemap_scan(scan);
    let mut config = Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, wat::parse_str(guest(pages))?)?;
    Ok(Way { what, start: Linker::new(&engine).instantiate_pre(&module)? })
}

impl Way {
    /// One instance: made, run, given back.
    fn once(&self) {
        let mut store = Store::new(self.start.module().engine(), ());
        let instance = self.start.instantiate(&mut store).expect("starts");
        instance.get_typed_func::<(), ()>(&mut store, "run").and_then(|run| run.call(&mut store, ())).expect("runs");
        black_box(&store);
    }

    /// Microseconds an instance on each of so many threads at once.
    fn on_threads(&self, threads: usize, lasts: Duration) -> f64 {
        let barrier = Barrier::new(threads);
        let each = || {
            barrier.wait();
            let (started, mut made) = (Instant::now(), 0_u32);
            while started.elapsed() < lasts {
                (0..64).for_each(|_| self.once());
                made += 64;
            }
            started.elapsed().as_secs_f64() * 1e6 / f64::from(made)
        };
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(each)).collect();
            median(running.into_iter().map(|thread| thread.join().expect("ends")).collect())
        })
    }
}

/// Measures each way alone, then with all cores busy.
pub fn measure(table: &mut Table) -> Result<(), Failure> {
    let ways = [
        way("1,088 KiB, written pages from the page map (as served)", 17, Enabled::Yes)?,
        way("64 KiB, written pages from the page map", 1, Enabled::Yes)?,
        way("64 KiB, copied as a whole", 1, Enabled::No)?,
        way("1,088 KiB, the first 64 KiB copied, the rest unmapped", 17, Enabled::No)?,
    ];
    let timed = interleaved(100, ways.iter().map(|way| Box::new(|| way.once()) as TimedCall<'_>).collect());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut busy = vec![Vec::new(); ways.len()];
    for _ in 0..15 {
        for (way, found) in ways.iter().zip(&mut busy) {
            found.push(way.on_threads(threads, Duration::from_millis(60)));
        }
    }
    let alone = ways.iter().enumerate().map(|(at, way)| {
        let row = Row::new(format!("{}, alone", way.what), timed.us(at), "µs");
        if at == 0 { row } else { row.against("as served", timed.us(0)).ratio(timed.ratio(at, &[0])) }
    });
    let together = ways.iter().enumerate().map(|(at, way)| {
        let row = Row::new(format!("{}, on all cores", way.what), median(busy[at].clone()), "µs");
        let ratios = busy[at].iter().zip(&busy[0]).map(|(us, served)| us / served).collect();
        if at == 0 { row } else { row.against("as served", median(busy[0].clone())).ratio(median(ratios)) }
    });
    table.section("an instance that writes to eight pages: made, run, given back", alone.chain(together).collect());
    Ok(())
}
