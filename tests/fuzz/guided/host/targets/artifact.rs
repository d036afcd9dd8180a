//! libFuzzer on the reader of artifacts.

#![no_main]

#[path = "../../../host_readers.rs"]
mod host_readers;
#[path = "../../../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| host_readers::artifact(input));
