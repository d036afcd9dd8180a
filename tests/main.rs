//! One integration binary. Tests check behaviour that users rely on, through the front door:
//! the command line, HTTP, and the files that a user touches.

mod bad_input;
mod boundary;
mod crash;
mod contract;
mod demo;
mod docs;
mod features;
mod http;
mod ledger;
mod outage;
mod records;
mod last_good;
mod reload;
mod replay;
mod routing;
mod sandbox;
mod smoke;
mod support;
mod tidy;
