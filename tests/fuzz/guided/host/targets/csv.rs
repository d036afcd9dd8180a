//! libFuzzer on the reader of CSV files.

#![no_main]

#[path = "../../../host_readers.rs"]
mod host_readers;
#[path = "../../../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| host_readers::csv(input));
