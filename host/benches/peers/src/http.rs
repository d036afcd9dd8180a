//! The other engines behind one minimal axum route each, in a process of its own.

use std::cell::RefCell;
use std::io::Write as _;
use std::process::Command;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::routing::post;

use crate::engines::{Answer, Cel, Engine, Extism, ExtismFresh, Rego, RegoMachine, Zen};
use crate::process::Server;
use crate::world::Failure;

/// Set where this program is to be the server: the engine's name.
const ROLE: &str = "SERIN_PEERS_ROLE";

/// Starts the server of an engine.
pub fn start(engine: &str) -> Result<Server, Failure> {
    Server::start(Command::new(std::env::current_exe()?).env(ROLE, engine))
}

/// Serves, if this process was started for it.
pub fn served() -> Option<Result<(), Failure>> {
    Some(match std::env::var(ROLE).ok()?.as_str() {
        "regorus" => serve::<Rego>(),
        "regorus-vm" => serve::<RegoMachine>(),
        "zen-engine" => serve::<Zen>(),
        "cel" => serve::<Cel>(),
        "extism" => serve::<Extism>(),
        "extism-fresh" => serve::<ExtismFresh>(),
        other => Err(format!("{ROLE}={other} is no engine").into()),
    })
}

fn answer<E: Engine>(engine: &mut E, body: &[u8]) -> Result<Answer, Failure> {
    let input = engine.read(&serde_json::from_slice(body)?)?;
    engine.decide(&input)
}

fn serve<E: Engine>() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            // As the host does.
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, axum::Router::new().route("/v1/decisions", post(decide::<E>))).await?)
    })
}

async fn decide<E: Engine>(body: Bytes) -> (StatusCode, [(header::HeaderName, &'static str); 1], Vec<u8>) {
    thread_local! {
        // Boxed as any: a thread-local cannot be generic. Each of the runtime's threads has its own.
        static ENGINE: RefCell<Option<Box<dyn std::any::Any>>> = const { RefCell::new(None) };
    }
    let answered = ENGINE.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(Box::new(E::new()?));
        }
        let engine = slot.as_mut().and_then(|engine| engine.downcast_mut::<E>()).ok_or("another engine")?;
        answer(engine, &body)
    });
    let json = [(header::CONTENT_TYPE, "application/json")];
    match answered {
        Ok((action, reason)) => {
            (StatusCode::OK, json, serde_json::json!({ "action": action, "reason": reason }).to_string().into_bytes())
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, json, error.to_string().into_bytes()),
    }
}
