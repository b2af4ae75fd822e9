//! The `serve` processes of an organization: started, waited for, and ended with their owner.

use super::failure::{Failure, Result};
use super::layout::Placed;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a region may take to serve.
const READY: Duration = Duration::from_secs(30);
/// How long a region may take to drain before it is killed.
const DRAIN: Duration = Duration::from_secs(10);

/// Running regions, in the order of the organization.
#[derive(Debug)]
pub struct Processes(Vec<Running>);

#[derive(Debug)]
struct Running {
    name: String,
    log: std::path::PathBuf,
    child: Child,
}

impl Processes {
    /// Starts a process for each region, and waits until all are ready.
    ///
    /// # Errors
    /// When one does not start; the others are ended.
    pub fn start(regions: &[Placed]) -> Result<Self> {
        let mut all = Self(Vec::new());
        let (sender, receiver) = mpsc::channel();
        for placed in regions {
            let (running, out) = spawn(placed)?;
            let (name, sender) = (running.name.clone(), sender.clone());
            all.0.push(running);
            std::thread::spawn(move || {
                let mut line = String::new();
                // A process that ends closes its output; the empty line says so.
                let _ = BufReader::new(out).read_line(&mut line);
                let _ = sender.send((name, line));
            });
        }
        let deadline = Instant::now() + READY;
        for _ in regions {
            let left = deadline.saturating_duration_since(Instant::now());
            let (name, line) =
                receiver.recv_timeout(left).map_err(|_| Failure::new("a region did not become ready in 30 seconds"))?;
            if !line.starts_with("ready ") {
                return Err(all.told(&name));
            }
        }
        Ok(all)
    }

    /// The first region that ended by itself, if one did.
    pub fn ended(&mut self) -> Option<Failure> {
        let name = self.0.iter_mut().find_map(|running| {
            let alive = matches!(running.child.try_wait(), Ok(None));
            (!alive).then(|| running.name.clone())
        })?;
        Some(self.told(&name))
    }

    fn told(&self, name: &str) -> Failure {
        let log = self.0.iter().find(|running| running.name == name).map(|running| running.log.clone());
        let log = log.unwrap_or_default();
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(3).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
        Failure::new(format!("region {name} ended; its log is {}:\n  {last}", log.display()))
    }

    /// Asks every region to drain, waits, and kills what does not.
    pub fn stop(&mut self) {
        for running in &self.0 {
            // The shell is asked to ask: the library's own way only kills, and not every PATH has the program `kill`.
            let ask = ["-c", "kill -TERM \"$1\"", "sh", &running.child.id().to_string()];
            let _ = Command::new("/bin/sh").args(ask).stderr(Stdio::null()).status();
        }
        let deadline = Instant::now() + DRAIN;
        for running in &mut self.0 {
            while matches!(running.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
        self.0.clear();
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(placed: &Placed) -> Result<(Running, std::process::ChildStdout)> {
    let log = placed.folder.join("serve.log");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["serve", "--config"])
        .arg(placed.folder.join("config.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn()?;
    let out = child.stdout.take().ok_or_else(|| Failure::new("the server's output is not piped"))?;
    Ok((Running { name: placed.region.to_string(), log, child }, out))
}
