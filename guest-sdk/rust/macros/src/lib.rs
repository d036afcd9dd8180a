//! The macros of `serin-guest`, which documents what they generate.
//!
//! The manifest is read by the host's own parser, so that what compiles here is not
//! refused there.

mod generate;
mod names;
mod strategy;

use std::path::PathBuf;

use proc_macro::TokenStream;
use quote::quote;
use serin_core::manifest::Manifest;

/// Generates the plugin's types from the `plugin.toml` beside its `Cargo.toml`.
///
/// A mistake in the manifest, or two names in it that would be one name in Rust, is a
/// compile error that says what to change.
#[proc_macro]
pub fn plugin(input: TokenStream) -> TokenStream {
    if !input.is_empty() {
        return error("plugin!() takes nothing: it reads plugin.toml beside Cargo.toml");
    }
    let Some(folder) = std::env::var_os("CARGO_MANIFEST_DIR") else {
        return error("CARGO_MANIFEST_DIR is not set; build the plugin with cargo");
    };
    let path = PathBuf::from(folder).join("plugin.toml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) => return error(&format!("{}: {e}", path.display())),
    };
    match Manifest::parse(&text).map_err(|e| e.to_string()).and_then(|manifest| generate::plugin(&manifest)) {
        Ok(code) => code.into(),
        Err(e) => {
            let text = format!("plugin.toml: {}", e.trim_end());
            let manifest = generate::manifest_file();
            quote! { #manifest ::core::compile_error!(#text); }.into()
        }
    }
}

/// Exports the function below it as the plugin's strategy.
///
/// The function takes `&Input`, and returns a `Candidate`, a `Decision`, or a `Result` of
/// either and a `Refusal`. It stays an ordinary function, for unit tests to call.
/// `serin plugin test` shows a panic's message. `#[strategy(log_panics)]` has it in records,
/// too; that imports the log, which makes every decision a little dearer.
#[proc_macro_attribute]
pub fn strategy(options: TokenStream, function: TokenStream) -> TokenStream {
    let log_panics = match options.to_string().as_str() {
        "" => false,
        "log_panics" => true,
        other => return error(&format!("strategy({other}): unknown option; valid: log_panics")),
    };
    strategy::export(log_panics, function.into()).unwrap_or_else(|e| quote! { ::core::compile_error!(#e); }).into()
}

fn error(text: &str) -> TokenStream {
    quote! { ::core::compile_error!(#text); }.into()
}
