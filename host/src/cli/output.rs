//! What commands print. The macros take the place of the standard library's in all commands: those panic where nothing
//! can be written. Here a command ends, with an error that says so, and quietly where its reader has seen enough.

use std::any::Any;
use std::fmt::Arguments;
use std::io::{Error, ErrorKind, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::Outcome;

macro_rules! print {
    ($($text:tt)*) => { $crate::cli::output::print(format_args!($($text)*)) };
}

macro_rules! println {
    ($($text:tt)*) => { $crate::cli::output::print(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! eprint {
    ($($text:tt)*) => { $crate::cli::output::eprint(format_args!($($text)*)) };
}

macro_rules! eprintln {
    ($($text:tt)*) => { $crate::cli::output::eprint(format_args!("{}\n", format_args!($($text)*))) };
}

/// As `println!`, beside a host: it serves whether anybody reads this or not.
macro_rules! said {
    ($($text:tt)*) => {
        // There is nobody to tell.
        drop($crate::cli::output::try_print(format_args!("{}\n", format_args!($($text)*))))
    };
}

/// Carried from where a command prints to its end.
struct Unwritten(Error);

/// Prints, or ends the command: see [`whole`]. Its destructors run, so that it leaves no process and no file behind.
pub(super) fn print(text: Arguments<'_>) {
    if let Err(error) = try_print(text) {
        // Says nothing by itself, as a panic would.
        resume_unwind(Box::new(Unwritten(error)))
    }
}

/// Prints, and says why it could not.
pub(super) fn try_print(text: Arguments<'_>) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_fmt(text)?;
    // What does not end with a line would be written at the program's end, and its error be lost.
    stdout.flush()
}

/// Prints to standard error. Where that cannot be written, nobody can be told; the exit status still says how it ended.
pub(super) fn eprint(text: Arguments<'_>) {
    let _ = std::io::stderr().lock().write_fmt(text);
}

/// Runs a command, and ends it where its output cannot be written.
pub(super) fn whole(run: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(ended)
}

fn ended(panic: Box<dyn Any + Send>) -> Outcome {
    match panic.downcast::<Unwritten>() {
        // Whoever reads the output may have seen enough, as `head` has: that is no defect.
        Ok(unwritten) if unwritten.0.kind() == ErrorKind::BrokenPipe => Ok(true),
        Ok(unwritten) => Err(format!("standard output cannot be written: {}", unwritten.0).into()),
        Err(panic) => resume_unwind(panic),
    }
}
