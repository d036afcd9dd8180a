//! One integration binary. Tests check behaviour that users rely on, through the front door:
//! the command line, HTTP, and the files that a user touches.

mod bad_input;
mod demo;
mod docs;
mod outage;
mod records;
mod sandbox;
mod smoke;
mod support;
