//! `transship policy`: files, without a server.

use super::failure::Failure;
use super::output::line;
use super::read;
use crate::authz::cases;
use crate::authz::policy::{Document, Kind};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Policy {
    /// Runs a file of evaluation cases through the engine that serves requests.
    Test {
        /// The cases.
        file: PathBuf,
    },
    /// Checks a policy and says what looks wrong.
    Lint {
        /// The policy; `-` is standard input.
        file: PathBuf,
        /// What it is.
        #[arg(long, value_enum, default_value = "resource")]
        kind: Written,
    },
}

/// The kinds of policies that tenants write.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Written {
    /// Of a user or role.
    Identity,
    /// Of a repository or registry.
    Resource,
    /// Of a role: who may assume it.
    Trust,
    /// Of a session.
    Session,
}

impl Policy {
    pub(super) fn run(self) -> ExitCode {
        let outcome = match self {
            Self::Test { file } => read(&file).and_then(|text| test(&text)),
            Self::Lint { file, kind } => read(&file).and_then(|text| lint(&text, kind)),
        };
        match outcome {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(failure) => failure.report(),
        }
    }
}

fn test(text: &str) -> Result<bool, Failure> {
    let report = cases::run(text).map_err(|error| Failure::usage(error.to_string()))?;
    for failure in &report.failures {
        let got = failure.got.as_str();
        line(format_args!("{}: expected {}, got {got}: {}", failure.name, failure.expected, failure.explanation));
    }
    line(format_args!("{} passed, {} failed", report.passed, report.failures.len()));
    Ok(report.failures.is_empty())
}

fn lint(text: &str, kind: Written) -> Result<bool, Failure> {
    let kind = match kind {
        Written::Identity => Kind::Identity,
        Written::Resource => Kind::Resource,
        Written::Trust => Kind::Trust,
        Written::Session => Kind::Session,
    };
    let document = Document::parse(kind, text).map_err(|error| Failure::new(error.to_string()))?;
    for warning in document.warnings() {
        line(format_args!("line {}, column {}: {}", warning.line, warning.column, warning.message));
    }
    Ok(document.warnings().is_empty())
}
