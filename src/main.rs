//! The `transship` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    transship::cli::run()
}
