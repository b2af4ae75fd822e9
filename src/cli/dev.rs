//! `transship dev`: an organization on this machine, up until it is interrupted; its state survives.

use super::failure::{Failure, Result};
use super::layout::{Known, Layout, Placed, write_private};
use super::processes::Processes;
use crate::names::Region;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Starts an organization on loopback and stays up.
#[derive(clap::Args, Debug)]
pub(super) struct Dev {
    /// Where its state is kept.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Region i serves clients on this port + i.
    #[arg(long, default_value_t = 5_000)]
    port: u16,
    /// The accounts.
    #[arg(long, value_delimiter = ',', default_value = "dev,prod")]
    accounts: Vec<String>,
    /// The regions; the first is home.
    #[arg(long, value_delimiter = ',', default_value = "us-east-1,eu-west-1")]
    regions: Vec<String>,
    /// New registries take manifests that name what their repository does not hold.
    #[arg(long)]
    sparse_manifests: bool,
    /// Where to write endpoints and keys once everything is ready.
    #[arg(long, value_name = "FILE")]
    info: Option<PathBuf>,
}

impl Dev {
    pub(super) fn run(self) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return Failure::from(error).report(),
        };
        match runtime.block_on(self.stay()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        }
    }

    async fn stay(self) -> Result<()> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let regions = self.regions.iter().map(|name| Region::parse(name)).collect::<Result<Vec<_>, _>>()?;
        let folder = self.dir.clone().map_or_else(default_dir, Ok)?;
        let layout = Layout::open(&folder, &regions, &self.accounts)?;
        let ports = (0..regions.len()).map(|at| u16::try_from(at).ok().and_then(|at| self.port.checked_add(at)));
        let ports = ports.collect::<Option<Vec<_>>>().ok_or_else(|| Failure::usage("--port: too high"))?;
        let placed = layout.configure(&ports, self.sparse_manifests)?;
        let mut processes = Processes::start(&placed)?;
        let accounts = layout.accounts()?;
        if let Some(path) = &self.info {
            write_private(path, info(&placed, &accounts).to_string().as_bytes())?;
        }
        tell(&folder, &placed, &accounts);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = tokio::time::sleep(Duration::from_millis(500)) => {
                    if let Some(failure) = processes.ended() {
                        return Err(failure);
                    }
                }
            }
        }
        processes.stop();
        Ok(())
    }
}

fn default_dir() -> Result<PathBuf> {
    let read = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = read("XDG_STATE_HOME").or_else(|| Some(read("HOME")?.join(".local/state")));
    Ok(state.ok_or_else(|| Failure::usage("HOME is not set; give --dir"))?.join("transship/dev"))
}

fn info(placed: &[Placed], accounts: &[Known]) -> serde_json::Value {
    let regions: Vec<_> = placed
        .iter()
        .map(|placed| serde_json::json!({"name": placed.region.as_str(), "endpoint": placed.endpoint}))
        .collect();
    serde_json::json!({"regions": regions, "accounts": accounts})
}

fn tell(folder: &std::path::Path, placed: &[Placed], accounts: &[Known]) {
    println!("An organization is up; its state is in {}.\n", folder.display());
    for placed in placed {
        println!("  region {:12} {}", placed.region.as_str(), placed.endpoint);
    }
    for account in accounts {
        println!("\n# account {} ({})", account.name, account.id);
        println!("export AWS_ACCESS_KEY_ID={}", account.access_key_id);
        println!("export AWS_SECRET_ACCESS_KEY={}", account.secret_access_key);
    }
    let (Some(home), Some(first)) = (placed.first(), accounts.first()) else { return };
    let host = home.endpoint.trim_start_matches("http://");
    println!("\nNext, with an account's exports in the shell:");
    println!("  transship --endpoint {} login", home.endpoint);
    println!("  skopeo copy --dest-tls-verify=false oci:PATH docker://{host}/{}/team/app:v1", first.id);
    if let (Some(away), Some(second)) = (placed.get(1), accounts.get(1)) {
        println!("  transship grant create --to {} --repository 'team/*' --tag 'v*' --expires 7d", second.id);
        println!("  transship replication create --prefix team/ --tag 'v*' --to {}:{}", away.region, second.id);
        println!("  transship replication status");
    }
    println!("\nCtrl-C ends it.");
}
