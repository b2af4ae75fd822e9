//! The command line: nouns with verbs, over the same gRPC API that anybody may use.

mod access;
mod account;
mod aws_role;
pub mod client;
mod completion;
mod control_policy;
mod credentials;
mod demo;
mod dev;
mod docker;
pub mod failure;
mod grant;
mod helper;
mod image;
mod key;
mod lapse;
pub mod layout;
mod lock;
mod managed_policy;
mod mfa_device;
mod oidc_provider;
pub mod output;
mod policy;
mod principal;
pub mod processes;
mod replication;
mod repository;
pub mod serve;
mod session;
mod storage;
mod token;

use clap::{Parser, Subcommand};
use client::{Client, Proof};
use failure::{Failure, Result};
use output::Output;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A multi-account container registry whose core is sharing and replication.
#[derive(Parser, Debug)]
#[command(name = "transship", version, about)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(clap::Args, Clone, Debug)]
struct Global {
    /// Where the region is.
    #[arg(
        long,
        global = true,
        env = "TRANSSHIP_ENDPOINT",
        default_value = "http://127.0.0.1:5000",
        value_name = "URL"
    )]
    endpoint: String,
    /// The root certificate of an https endpoint, PEM.
    #[arg(long, global = true, env = "TRANSSHIP_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How data is printed.
    #[arg(long, short, global = true, value_enum, default_value_t)]
    output: Output,
    /// The account to act in; the caller's own unless given.
    #[arg(long, global = true, value_name = "ID")]
    account: Option<String>,
    /// Check everything, change nothing.
    #[arg(long, global = true)]
    dry_run: bool,
    /// Say nothing but data, warnings and failures.
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Runs one region.
    Serve(serve::Serve),
    /// Starts an organization on this machine and stays up.
    Dev(dev::Dev),
    /// Tells the main job on real processes and real bytes, step by step.
    Demo(demo::Demo),
    /// Accounts of the organization.
    #[command(subcommand)]
    Account(account::Account),
    /// Users, their keys and policies.
    #[command(subcommand)]
    User(principal::User),
    /// Roles, their policies and sessions.
    #[command(subcommand)]
    Role(principal::Role),
    /// Roles of AWS that the server takes for the account.
    #[command(subcommand)]
    AwsRole(aws_role::AwsRole),
    /// Second factors of users.
    #[command(subcommand)]
    MfaDevice(mfa_device::MfaDevice),
    /// Policies of the account by name, for users, roles and sessions.
    #[command(subcommand)]
    ManagedPolicy(managed_policy::ManagedPolicy),
    /// The organization's bounds on its accounts.
    #[command(subcommand)]
    ControlPolicy(control_policy::ControlPolicy),
    /// Issuers of identity tokens that the account trusts.
    #[command(subcommand)]
    OidcProvider(oidc_provider::OidcProvider),
    /// Repositories and their policies.
    #[command(subcommand)]
    Repo(repository::Repo),
    /// Protection of tags, images and repositories from deletion.
    #[command(subcommand)]
    Lock(lock::Lock),
    /// The registry's own policy and settings.
    #[command(subcommand)]
    Registry(repository::Registry),
    /// Images.
    #[command(subcommand)]
    Image(image::Image),
    /// Access that one account gives another.
    #[command(subcommand)]
    Grant(grant::Grant),
    /// Rules, lag, receipts, verification.
    #[command(subcommand)]
    Replication(replication::Replication),
    /// KMS keys.
    #[command(subcommand)]
    Key(key::Key),
    /// Sessions that were issued.
    #[command(subcommand)]
    Session(session::Session),
    /// The collector, the scrubber, damaged blobs and their repair.
    #[command(subcommand)]
    Storage(storage::Storage),
    /// Policy files.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Says who the credentials in the environment are.
    Whoami,
    /// Says what the server would answer a principal, and why.
    Explain(access::Explain),
    /// Says what a refusal was about, by its encoded message.
    DecodeMessage(access::DecodeMessage),
    /// Prints a registry password for the credentials in the environment; the user name is AWS.
    Token(token::Token),
    /// Stores a registry password where docker and podman look.
    Login,
    /// Answers the kubelet which password pulls an image.
    CredentialProvider(helper::CredentialProvider),
    /// Prints a completion script.
    Completion(completion::Completion),
}

/// What a command works with.
struct Session {
    client: Client,
    global: Global,
}

impl Session {
    /// `accounts/<id>` of the account to act in.
    async fn parent(&self) -> Result<String> {
        let account = match &self.global.account {
            Some(account) => account.clone(),
            None => self.client.account().await?,
        };
        Ok(format!("accounts/{account}"))
    }

    /// `accounts/<id>/repositories/<name>`.
    async fn repository(&self, name: &str) -> Result<String> {
        Ok(format!("{}/repositories/{name}", self.parent().await?))
    }

    /// A name below the account's.
    async fn below(&self, collection: &str, id: &str) -> Result<String> {
        if id.starts_with("accounts/") {
            return Ok(id.to_owned());
        }
        Ok(format!("{}/{collection}/{id}", self.parent().await?))
    }

    /// Tells people something that programs do not need.
    fn note(&self, text: &str) {
        if !self.global.quiet {
            eprintln!("{text}");
        }
    }

    /// An id that makes a repeated call answer as the first.
    fn request_id(&self) -> String {
        crate::clock::Clock::system().uid().to_string()
    }
}

impl Cli {
    /// Runs the command.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let local = match self.command {
            Command::Serve(serve) => return serve.run(),
            Command::Dev(dev) => return dev.run(),
            Command::Demo(demo) => return demo.run(),
            Command::Completion(completion) => return completion.run(),
            Command::Policy(policy) => return policy.run(self.global.output),
            Command::CredentialProvider(provider) => return provider.run(&self.global),
            remote => remote,
        };
        started(remote(self.global, local)).unwrap_or_else(|failure| failure.report())
    }
}

/// Runs what the process was started for: the command line, or a helper by whose name it was called.
#[must_use]
pub fn run() -> ExitCode {
    let mut words = std::env::args();
    let name = words.next().unwrap_or_default();
    match Path::new(&name).file_name() {
        Some(name) if name == helper::DOCKER => helper::docker(&words.collect::<Vec<_>>()),
        _ => Cli::parse().run(),
    }
}

/// Drives one command to its end.
fn started<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

async fn remote(global: Global, command: Command) -> Result<ExitCode> {
    let proof = Proof::from_environment()?;
    let ca = global.ca.as_deref().map(read).transpose()?;
    let client = Client::log_in(&global.endpoint, ca.as_deref().map(str::as_bytes), &proof).await?;
    let session = Session { client, global };
    match command {
        Command::Account(command) => command.run(&session).await?,
        Command::User(command) => command.run(&session).await?,
        Command::Role(command) => command.run(&session).await?,
        Command::AwsRole(command) => command.run(&session).await?,
        Command::MfaDevice(command) => command.run(&session).await?,
        Command::ManagedPolicy(command) => command.run(&session).await?,
        Command::ControlPolicy(command) => command.run(&session).await?,
        Command::OidcProvider(command) => command.run(&session).await?,
        Command::Repo(command) => command.run(&session).await?,
        Command::Lock(command) => command.run(&session).await?,
        Command::Registry(command) => command.run(&session).await?,
        Command::Image(command) => command.run(&session).await?,
        Command::Grant(command) => command.run(&session).await?,
        Command::Replication(command) => return command.run(&session).await,
        Command::Key(command) => command.run(&session).await?,
        Command::Storage(command) => return command.run(&session).await,
        Command::Session(command) => command.run(&session).await?,
        Command::Whoami => access::whoami(&session).await?,
        Command::Explain(command) => command.run(&session).await?,
        Command::DecodeMessage(command) => command.run(&session).await?,
        Command::Token(command) => command.run(&session).await?,
        Command::Login => docker::login(&session).await?,
        Command::Serve(_)
        | Command::Dev(_)
        | Command::Demo(_)
        | Command::Completion(_)
        | Command::Policy(_)
        | Command::CredentialProvider(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells what looks wrong but is legal.
fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// The largest file a command reads: far above any policy, certificate or file of cases.
const LARGEST_FILE: u64 = 8 << 20;

/// Reads a file, or standard input for `-`.
fn read(path: &Path) -> Result<String> {
    let failed = |error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    bounded(source).map_err(failed)
}

/// Reads text that is not larger than a command may be given.
fn bounded(source: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    if source.take(LARGEST_FILE + 1).read_to_string(&mut text)? as u64 > LARGEST_FILE {
        return Err(std::io::Error::other(format!("larger than {LARGEST_FILE} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use std::io::Read;

    #[test]
    fn the_command_line_holds_together() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn a_file_may_be_as_large_as_the_limit_and_not_a_byte_larger() {
        let limit = super::LARGEST_FILE;
        assert_eq!(super::bounded(std::io::repeat(b'a').take(limit)).unwrap().len() as u64, limit);
        assert!(super::bounded(std::io::repeat(b'a')).is_err());
    }
}
