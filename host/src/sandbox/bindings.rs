//! The WIT world as Rust types, made from `wit/`.
#![allow(missing_docs, reason = "the generated items carry the WIT's own documentation")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "strategy",
    // A call that comes when the run's time is over traps.
    imports: { default: trappable },
});
