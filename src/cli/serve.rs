//! `transship serve`: runs one region until it is told to stop.

use crate::config::{Environment, Settings};
use crate::server::Server;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Clients of AWS log credentials at trace: they are never asked to, whatever `RUST_LOG` says.
const QUIET: [&str; 6] = [
    "aws_config=info",
    "aws_credential_types=info",
    "aws_runtime=info",
    "aws_sigv4=info",
    "aws_smithy_runtime=info",
    "aws_smithy_runtime_api=info",
];

/// What the server logs unless `RUST_LOG` says otherwise.
const LOG: &str = "info,aws_config=warn,aws_smithy_runtime=warn,hyper=warn,h2=warn,tower=warn";

/// A variable by which tests ask for a fault: `flip-sent-bytes`.
const FAULT: &str = "TRANSSHIP_FAULT";

/// Runs a region.
#[derive(clap::Args, Debug)]
pub struct Serve {
    /// The configuration file; with none, a registry on 127.0.0.1:5000 with its data in ./transship-data.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Serve {
    /// Serves until SIGTERM or SIGINT; then drains.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let asked = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
        let filter = QUIET.iter().flat_map(|directive| directive.parse()).fold(asked, EnvFilter::add_directive);
        // A log that cannot be written, on a full disk say, must not end requests: told on stderr, that would panic.
        let log = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
        log.with_writer(std::io::stderr).with_ansi(false).init();
        let settings = match Settings::load(self.config.as_deref(), &Environment) {
            Ok(settings) => settings,
            Err(error) => return fail(&error.to_string()),
        };
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return fail(&format!("the runtime cannot start: {error}")),
        };
        match runtime.block_on(serve(settings)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("{error:?}")),
        }
    }
}

async fn serve(settings: Settings) -> crate::error::Result<()> {
    let signals = |kind| signal(kind).map_err(crate::error::Error::internal);
    let (mut terminate, mut interrupt) = (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
    let mut server = Server::start(settings).await?;
    if std::env::var(FAULT).is_ok_and(|fault| fault == "flip-sent-bytes") {
        server.app().faults().flip_sent_bytes();
    }
    tokio::select! {
        () = server.ready() => announce(&server.app().settings().endpoint),
        _ = terminate.recv() => return stop(server).await,
        _ = interrupt.recv() => return stop(server).await,
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop(server).await
}

async fn stop(server: Server) -> crate::error::Result<()> {
    tracing::info!("draining");
    server.stop().await;
    Ok(())
}

/// One line on standard output, for whoever started the server and waits for it.
fn announce(endpoint: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever started the server may have closed its end; serving goes on all the same.
    let _ = writeln!(out, "ready {endpoint}").and_then(|()| out.flush());
}

fn fail(message: &str) -> ExitCode {
    eprintln!("transship serve: {message}");
    ExitCode::FAILURE
}
