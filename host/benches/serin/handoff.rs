//! How a decision gets off the async workers: the host's own threads and their queue, against
//! tokio's blocking threads, with the same work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serin::clock::SystemClock;
use serin::decide::{DecisionRequest, DeploymentSnapshot, Pool, Thread, decide};

use crate::measure::median;
use crate::process::cpu_seconds;
use crate::table::{Row, Table};
use crate::world::{DEADLINE, Failure, World, budget};

/// Decisions under way at once, where many are.
const MANY: usize = 32;

/// A way to have a decision made elsewhere.
#[derive(Clone)]
enum Way {
    /// On the async worker itself: no hand-off, and what the guest burns the listener lacks.
    Worker,
    Own(Arc<Pool>),
    Blocking,
}

impl Way {
    async fn decide(&self, deployment: &Arc<DeploymentSnapshot>, request: &DecisionRequest) {
        match self {
            Self::Worker => {
                decide(Thread::Deciding, deployment, request, &SystemClock, budget(), DEADLINE).expect("decides");
            }
            Self::Own(pool) => {
                let wait = pool.submit(request.clone(), Some(DEADLINE), Instant::now(), None).expect("has room");
                wait.await.expect("answers").expect("decides");
            }
            Self::Blocking => {
                let (deployment, request) = (Arc::clone(deployment), request.clone());
                let work = move || {
                    decide(Thread::Deciding, &deployment, &request, &SystemClock, budget(), DEADLINE).expect("decides")
                };
                tokio::task::spawn_blocking(work).await.expect("ends");
            }
        }
    }
}

/// Microseconds of wall and of CPU time a decision, with `at_once` under way.
async fn run(
    way: &Way,
    world: &Arc<Vec<DecisionRequest>>,
    deployment: &Arc<DeploymentSnapshot>,
    at_once: usize,
    lasts: Duration,
) -> (f64, f64) {
    let (started, cpu) = (Instant::now(), cpu_seconds(std::process::id()));
    let mut tasks = tokio::task::JoinSet::new();
    for first in 0..at_once {
        let (way, requests, deployment) = (way.clone(), Arc::clone(world), Arc::clone(deployment));
        tasks.spawn(async move {
            let mut made = 0;
            while started.elapsed() < lasts {
                way.decide(&deployment, &requests[(first + made) % requests.len()]).await;
                made += 1;
            }
            made
        });
    }
    let made: usize = tasks.join_all().await.into_iter().sum();
    let us = |seconds: f64| seconds * 1e6 / made as f64;
    (us(started.elapsed().as_secs_f64()), us(cpu_seconds(std::process::id()) - cpu))
}

/// Measures each way in turn, several times.
pub fn measure(world: &World, lasts: Duration, table: &mut Table) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let deployment = Arc::new(ArcSwap::from(Arc::clone(&world.deployment)));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let pool = Pool::start((2 * threads).max(4), 1024, deployment, Arc::new(SystemClock))?;
    let ways = [Way::Worker, Way::Own(Arc::new(pool)), Way::Blocking];
    let requests = Arc::new(world.decided.iter().map(|(request, _)| request.clone()).collect::<Vec<_>>());
    // By way: alone, then many; wall and CPU.
    let mut found = vec![[const { Vec::new() }; 4]; ways.len()];
    for _ in 0..7 {
        for (way, found) in ways.iter().zip(&mut found) {
            let (alone, alone_cpu) = runtime.block_on(run(way, &requests, &world.deployment, 1, lasts));
            let (many, many_cpu) = runtime.block_on(run(way, &requests, &world.deployment, MANY, lasts));
            for (list, value) in found.iter_mut().zip([alone, alone_cpu, many, many_cpu]) {
                list.push(value);
            }
        }
    }
    let us = |way: usize, what: usize| median(found[way][what].clone());
    let own = |what: &str, at: usize| {
        let name = format!("own threads, {what}");
        Row::new(name, us(1, at), "µs").against("spawn_blocking", us(2, at))
    };
    let floor = |what: &str, at: usize| Row::new(format!("no hand-off, {what}"), us(0, at), "µs");
    table.section(
        "hand-off of a decision from the async workers",
        vec![
            floor("one at a time: wall", 0),
            own("one at a time: wall", 0),
            own("one at a time: CPU", 1),
            floor(&format!("{MANY} at once: wall a decision"), 2),
            own(&format!("{MANY} at once: wall a decision"), 2),
            own(&format!("{MANY} at once: CPU"), 3),
        ],
    );
    Ok(())
}
