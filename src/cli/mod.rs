//! The command line.

pub mod serve;

use clap::Parser;
use std::process::ExitCode;

/// A multi-account container registry.
#[derive(Parser, Debug)]
#[command(name = "transship", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Runs one region.
    Serve(serve::Serve),
}

impl Cli {
    /// Runs the command.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(serve) => serve.run(),
        }
    }
}
