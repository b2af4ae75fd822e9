//! `transship completion`.

use super::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use std::process::ExitCode;

/// Prints a completion script.
#[derive(clap::Args, Debug)]
pub(super) struct Completion {
    /// The shell.
    shell: Shell,
}

impl Completion {
    pub(super) fn run(self) -> ExitCode {
        clap_complete::generate(self.shell, &mut Cli::command(), "transship", &mut std::io::stdout());
        ExitCode::SUCCESS
    }
}
