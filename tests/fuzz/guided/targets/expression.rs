//! libFuzzer on the compiler of expressions.

#![no_main]

#[path = "../../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| readers::expression(input));
