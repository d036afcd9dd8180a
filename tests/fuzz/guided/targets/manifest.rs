//! libFuzzer on the reader of manifests.

#![no_main]

#[path = "../../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| readers::manifest(input));
