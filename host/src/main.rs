//! The `serin` program.
#![forbid(unsafe_code)]

/// A decision is many small allocations that all end together.
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    serin::cli::main()
}
