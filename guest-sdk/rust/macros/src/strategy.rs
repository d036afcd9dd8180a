//! The export of a strategy's function.

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;

/// The function as it was, and its export.
pub fn export(log_panics: bool, function: TokenStream) -> Result<TokenStream, String> {
    let mut tokens = function.clone().into_iter();
    let keyword = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word == "fn");
    let (Some(_), Some(TokenTree::Ident(name))) = (tokens.find(keyword), tokens.next()) else {
        return Err("#[strategy] goes on a function: fn decide(input: &Input) -> Decision".to_owned());
    };
    // Where a case traps, `serin plugin test` builds once more with this variable set. Elsewhere
    // nothing is left of it, and the log is not imported.
    let hook = quote! {
        #[cfg(target_arch = "wasm32")]
        if #log_panics || ::core::option_env!("SERIN_LOG_PANICS").is_some() {
            ::serin_guest::log::panics();
        }
    };
    // Natively too the function is checked against the boundary, and used; only the export itself is Wasm's.
    Ok(quote! {
        #function

        const _: () = {
            #[allow(dead_code)]
            struct Exported;
            impl ::serin_guest::bindings::Guest for Exported {
                #[allow(dead_code)]
                fn decide(
                    context: ::serin_guest::bindings::Context,
                ) -> ::core::result::Result<::serin_guest::bindings::Decision, ::serin_guest::bindings::Refusal> {
                    #hook
                    ::serin_guest::boundary::run(#name, context)
                }
            }
            #[cfg(target_arch = "wasm32")]
            ::serin_guest::bindings::export_strategy!(Exported with_types_in ::serin_guest::bindings);
        };
    })
}
