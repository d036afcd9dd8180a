//! One integration binary. Tests check behaviour that users rely on, through the front door:
//! the command line, HTTP, and the files that a user touches.

// A scenario is told in one function, however long it is.
#![allow(clippy::too_many_lines)]

mod access;
mod agreement;
mod audit;
mod author;
mod author_docs;
mod backup;
mod bad_input;
mod bandits;
mod boundary;
mod canaries;
mod contract;
mod course;
mod crash;
mod defects;
mod demo;
mod docs;
mod edits;
mod excluded;
mod experiments;
mod feature_files;
mod features;
mod feeds;
mod fuzz;
mod groups;
mod hostile;
mod http;
mod init;
mod interfaces;
mod kept;
mod languages;
mod last_good;
mod ledger;
mod measured;
mod merged;
mod models;
mod models_page;
mod openapi_fuzz;
mod operating;
mod outage;
mod plan;
mod records;
mod reference;
mod registries;
mod registry_credentials;
mod reload;
mod replay;
mod reports;
mod routing;
mod sandbox;
mod shadows;
mod signatures;
mod simulation;
mod smoke;
mod steering;
mod supply;
mod support;
mod tidy;
mod tls;
mod told;
mod upkeep;
mod verdicts;
mod webhooks;
