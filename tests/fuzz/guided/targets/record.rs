//! libFuzzer on the reader of records.

#![no_main]

#[path = "../../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| readers::record(input));
