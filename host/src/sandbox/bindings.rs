//! The WIT world as Rust types, made from `wit/`.
#![allow(missing_docs, reason = "the generated items carry the WIT's own documentation")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "strategy",
});
