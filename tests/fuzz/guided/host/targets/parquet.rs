//! libFuzzer on the reader of Parquet files.

#![no_main]

#[path = "../../../host_readers.rs"]
mod host_readers;
#[path = "../../../readers.rs"]
mod readers;

/// The library panics on some files, which is an error of the file; libFuzzer's own hook would end the process before
/// that is seen. A panic that nobody catches still does.
fn say_panics() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}

libfuzzer_sys::fuzz_target!(init: say_panics(), |input: &[u8]| host_readers::parquet(input));
