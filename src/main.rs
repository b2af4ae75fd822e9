//! The `transship` program.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    transship::cli::Cli::parse().run()
}
