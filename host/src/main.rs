//! The `serin` program.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    serin::cli::main()
}
