//! `transship policy`: files, without a server.

use super::failure::Failure;
use super::output::{Output, line, print_json};
use super::read;
use crate::authz::cases::{self, Report};
use crate::authz::eval::Outcome;
use crate::authz::lint::{self, Finding, Severity};
use crate::authz::policy::Kind;
use crate::gate::CONTEXT_KEYS;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Policy {
    /// Runs a file of evaluation cases through the engine that serves requests.
    ///
    /// Exits with 1 if a case has another answer than expected, with 2 if the file cannot be read.
    Test {
        /// The cases, in the format of docs/policies.md; `-` is standard input.
        file: PathBuf,
    },
    /// Looks for what a policy gives too much, and what of it does nothing.
    ///
    /// Exits with 1 if something is found that is an error and not only a warning.
    Lint {
        /// The policy; `-` is standard input.
        file: PathBuf,
        /// What it is.
        #[arg(long, value_enum, default_value = "resource")]
        kind: Written,
    },
}

/// The kinds of policies.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Written {
    /// Of a user or role.
    Identity,
    /// The bound of a user or role.
    Boundary,
    /// Of a session.
    Session,
    /// Of a role: who may assume it.
    Trust,
    /// Of a repository or registry.
    Resource,
    /// Of a KMS key.
    Key,
    /// Of an organization, for the principals of its accounts.
    Scp,
    /// Of an organization, for the resources of its accounts.
    Rcp,
}

impl Policy {
    pub(super) fn run(self, output: Output) -> ExitCode {
        let outcome = match self {
            Self::Test { file } => read(&file).and_then(|text| test(&text, output)),
            Self::Lint { file, kind } => read(&file).map(|text| lint(&text, kind.into(), output)),
        };
        match outcome {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(failure) => failure.report(),
        }
    }
}

impl From<Written> for Kind {
    fn from(written: Written) -> Self {
        match written {
            Written::Identity => Self::Identity,
            Written::Boundary => Self::Boundary,
            Written::Session => Self::Session,
            Written::Trust => Self::Trust,
            Written::Resource => Self::Resource,
            Written::Key => Self::Key,
            Written::Scp => Self::ServiceControl,
            Written::Rcp => Self::ResourceControl,
        }
    }
}

fn test(text: &str, output: Output) -> Result<bool, Failure> {
    let report = cases::run(text).map_err(|error| Failure::usage(error.to_string()))?;
    match output {
        Output::Table => told(&report),
        Output::Json => print_json(&as_json(&report)),
    }
    Ok(report.failures.is_empty())
}

fn told(report: &Report) {
    for (case, refusal) in &report.refusals {
        eprintln!("{case}: a store refuses {refusal}");
    }
    for failure in &report.failures {
        let got = failure.got.map_or("nothing", Outcome::as_str);
        line(format_args!("{}: expected {}, got {got}: {}", failure.name, failure.expected, failure.explanation));
    }
    line(format_args!("{} passed, {} failed", report.passed, report.failures.len()));
}

fn as_json(report: &Report) -> Value {
    let failures = report.failures.iter().map(|failure| {
        json!({
            "name": failure.name,
            "expected": failure.expected,
            "got": failure.got.map(Outcome::as_str),
            "explanation": failure.explanation,
        })
    });
    let refusals = report.refusals.iter().map(|(case, refusal)| json!({"name": case, "refused": refusal}));
    json!({
        "passed": report.passed,
        "failed": report.failures.len(),
        "failures": failures.collect::<Vec<_>>(),
        "refusals": refusals.collect::<Vec<_>>(),
    })
}

/// Whether nothing is an error.
fn lint(text: &str, kind: Kind, output: Output) -> bool {
    let findings = lint::check(kind, text, CONTEXT_KEYS);
    match output {
        Output::Table => findings.iter().for_each(|finding| {
            let Finding { severity, line: at, column, rule, message } = finding;
            line(format_args!("line {at}, column {column}: {}: {message} [{rule}]", severity.as_str()));
        }),
        Output::Json => print_json(&findings.iter().map(finding_as_json).collect::<Vec<_>>().into()),
    }
    findings.iter().all(|finding| finding.severity < Severity::Error)
}

fn finding_as_json(finding: &Finding) -> Value {
    let Finding { severity, line, column, rule, message } = finding;
    json!({"severity": severity.as_str(), "line": line, "column": column, "rule": rule, "message": message})
}

#[cfg(test)]
mod tests {
    use super::{Kind, Output, Policy, lint, test};
    use crate::gate::CONTEXT_KEYS;
    use std::process::ExitCode;

    #[test]
    fn a_file_of_cases_passes_fails_or_cannot_be_read() {
        let cases = include_str!("../../tests/vectors/policy-cases.json");
        for output in [Output::Table, Output::Json] {
            assert!(test(cases, output).unwrap());
            assert!(!test(r#"{"cases": [{"name": "half"}]}"#, output).unwrap());
            assert!(test("{", output).is_err());
        }
        let code = |file: &str| Policy::Test { file: file.into() }.run(Output::Table);
        assert_eq!(code("tests/vectors/policy-cases.json"), ExitCode::SUCCESS);
        assert_eq!(code("tests/vectors/none.json"), ExitCode::from(2));
        assert_eq!(code("Cargo.toml"), ExitCode::from(2));
    }

    #[test]
    fn only_an_error_makes_the_lint_fail() {
        let policy = |element: &str| {
            format!(r#"{{"Statement": {{"Effect": "Allow", {element}: "ecr:PutImag", "Resource": "*"}}}}"#)
        };
        for output in [Output::Table, Output::Json] {
            assert!(lint(&policy("\"Action\""), Kind::Identity, output), "a warning");
            assert!(!lint(&policy("\"NotAction\""), Kind::Identity, output), "an error");
        }
    }

    #[test]
    fn the_document_names_every_key() {
        let document = include_str!("../../docs/policies.md");
        for key in CONTEXT_KEYS {
            assert!(document.contains(&format!("`{key}`")), "docs/policies.md lacks {key}");
        }
    }
}
