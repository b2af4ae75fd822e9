//! `transship completion`.

use super::Cli;
use super::output::line;
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
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "transship", &mut script);
        line(String::from_utf8_lossy(&script).trim_end());
        ExitCode::SUCCESS
    }
}
