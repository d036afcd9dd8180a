//! One integration binary. Tests check behaviour that users rely on, through the front door:
//! the command line, HTTP, and the files that a user touches.

mod smoke;
mod support;
