//! What was drawn lately, for all who look at the same page with the same rights; and the streams that
//! are open. Knows nothing of what is drawn.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use maud::Markup;
use parking_lot::Mutex;

use crate::http::Problem;

/// How long what was drawn is shown before it is drawn anew.
const FRESH: Duration = Duration::from_millis(900);
/// What drawing may cost: one part of the time in so many.
const COST: u32 = 25;
/// Pages that are kept.
const MOST_PAGES: usize = 64;
/// Streams of all visitors.
const MOST_STREAMS: usize = 256;
/// Streams of one identity, or of one address where there is none.
const STREAMS_EACH: usize = 32;

/// A part of a page that is sent anew when it has changed.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name, which is its place on the page.
    pub name: &'static str,
    /// Its HTML.
    pub html: String,
    /// Equal where its HTML is.
    pub mark: String,
}

impl Part {
    /// A part from what was drawn.
    pub fn new(name: &'static str, drawn: Markup) -> Self {
        let html = drawn.into_string();
        let mark = ring::digest::digest(&ring::digest::SHA256, html.as_bytes());
        let mark = mark.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { name, html, mark }
    }
}

/// A page as it was drawn.
#[derive(Debug)]
pub struct Shown {
    /// Its parts.
    pub parts: Vec<Part>,
    /// What it was drawn from: another state is drawn at once.
    state: u64,
    at: Instant,
    took: Duration,
}

/// Which page, and for whom: those with the same rights see the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The page's address.
    pub page: String,
    /// The rights.
    pub rights: String,
}

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Shown>>>>;

/// What was drawn, and the streams that are open.
#[derive(Debug, Default)]
pub struct Live {
    slots: Mutex<HashMap<Key, (Slot, Instant)>>,
    streams: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// A place for one stream.
#[derive(Debug)]
pub struct Place {
    streams: Arc<Mutex<BTreeMap<String, usize>>>,
    who: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.streams.lock();
        if let Some(count) = streams.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.who);
            }
        }
    }
}

impl Shown {
    /// Whether it is shown once more. In one state of the host only figures change, which may take their time.
    fn is_fresh(&self, state: u64) -> bool {
        let pause = if self.state == state { FRESH.max(self.took * COST) } else { FRESH };
        self.at.elapsed() < pause
    }
}

impl Live {
    /// A page, drawn now or a moment ago from this state. Of many who ask at once, one draws.
    ///
    /// # Errors
    /// Why it cannot be drawn.
    pub async fn get<F: Future<Output = Result<Vec<Part>, Problem>>>(
        &self,
        key: Key,
        state: u64,
        draw: impl FnOnce() -> F,
    ) -> Result<Arc<Shown>, Problem> {
        let slot = self.slot(key);
        let mut slot = slot.lock().await;
        if let Some(shown) = slot.as_ref().filter(|shown| shown.is_fresh(state)) {
            return Ok(Arc::clone(shown));
        }
        let begun = Instant::now();
        let parts = draw().await?;
        let shown = Arc::new(Shown { parts, state, at: Instant::now(), took: begun.elapsed() });
        *slot = Some(Arc::clone(&shown));
        Ok(shown)
    }

    fn slot(&self, key: Key) -> Slot {
        let mut slots = self.slots.lock();
        let now = Instant::now();
        if let Some((slot, used)) = slots.get_mut(&key) {
            *used = now;
            return Arc::clone(slot);
        }
        if slots.len() >= MOST_PAGES
            && let Some(oldest) = slots.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone())
        {
            slots.remove(&oldest);
        }
        let slot = Slot::default();
        slots.insert(key, (Arc::clone(&slot), now));
        slot
    }

    /// Forgets what was drawn: something was just changed by somebody who wants to see it.
    pub fn forget(&self) {
        self.slots.lock().clear();
    }

    /// A place for a stream.
    ///
    /// # Errors
    /// That there are too many.
    pub fn enter(&self, who: &str) -> Result<Place, Problem> {
        let mut streams = self.streams.lock();
        let own = streams.get(who).copied().unwrap_or_default();
        if own >= STREAMS_EACH || streams.values().sum::<usize>() >= MOST_STREAMS {
            let detail = format!(
                "at most {STREAMS_EACH} open pages an identity, and {MOST_STREAMS} in all, are kept up to date"
            );
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail);
            return Err(Problem { retry_after: Some(30), ..problem });
        }
        *streams.entry(who.to_owned()).or_default() += 1;
        Ok(Place { streams: Arc::clone(&self.streams), who: who.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_at_once_shares_what_one_has_drawn() {
        let (live, drawn) = (Live::default(), Mutex::new(0));
        let key = Key { page: "/".to_owned(), rights: String::new() };
        let draw = async || {
            *drawn.lock() += 1;
            Ok(vec![Part::new("one", maud::html! { p { "text" } })])
        };
        for _ in 0..10 {
            let shown = live.get(key.clone(), 1, draw).await.expect("is drawn");
            assert_eq!(shown.parts[0].html, "<p>text</p>");
        }
        assert_eq!(*drawn.lock(), 1);
        live.forget();
        live.get(key, 1, draw).await.expect("is drawn");
        assert_eq!(*drawn.lock(), 2);
    }

    #[test]
    fn what_takes_long_is_drawn_seldom_but_at_once_in_another_state() {
        let drawn = |ago_ms: u64, took_ms: u64| Shown {
            parts: Vec::new(),
            state: 1,
            at: Instant::now().checked_sub(Duration::from_millis(ago_ms)).expect("since the start"),
            took: Duration::from_millis(took_ms),
        };
        assert!(drawn(100, 1).is_fresh(1) && drawn(100, 1).is_fresh(2), "many who ask at once share one");
        assert!(!drawn(1_000, 1).is_fresh(1));
        assert!(drawn(1_000, 1_000).is_fresh(1) && !drawn(1_000, 1_000).is_fresh(2));
    }

    #[test]
    fn streams_are_bounded_by_identity_and_give_their_places_back() {
        let live = Live::default();
        let places: Vec<Place> = (0..STREAMS_EACH).map(|_| live.enter("ann").expect("a place")).collect();
        assert_eq!(live.enter("ann").expect_err("one too many").status, 503);
        assert!(live.enter("bob").is_ok());
        drop(places);
        assert!(live.enter("ann").is_ok());
    }
}
