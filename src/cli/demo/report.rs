//! What happened, for people as it happens and for programs at the end.

use crate::cli::failure::Result;
use crate::cli::layout::write_private;
use crate::cli::output::bytes;
use serde::Serialize;
use std::path::Path;
use tokio::time::Instant;

/// The story so far.
#[derive(Serialize)]
pub(super) struct Report {
    ok: bool,
    client: String,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    name: &'static str,
    ok: bool,
    seconds: f64,
    bytes: u64,
    detail: String,
}

/// What a step found: how many bytes it was about, and what to tell.
pub(super) struct Seen {
    pub(super) bytes: u64,
    pub(super) detail: String,
}

impl Seen {
    pub(super) fn new(bytes: u64, detail: impl Into<String>) -> Self {
        Self { bytes, detail: detail.into() }
    }
}

impl Report {
    pub(super) fn new(client: &str) -> Self {
        Self { ok: true, client: client.to_owned(), steps: Vec::new() }
    }

    /// Adds a step, and tells it.
    pub(super) fn step(&mut self, name: &'static str, began: Instant, outcome: Result<Seen, String>) {
        let seconds = began.elapsed().as_secs_f64();
        let (ok, seen) = match outcome {
            Ok(seen) => (true, seen),
            Err(why) => (false, Seen::new(0, why)),
        };
        let mark = if ok { "ok    " } else { "FAILED" };
        let figures = if seen.bytes > 0 {
            format!(", {}{}", bytes(seen.bytes), rate(seen.bytes, seconds))
        } else {
            String::new()
        };
        println!("{mark} {name} ({seconds:.2} s{figures})");
        for line in seen.detail.lines() {
            println!("         {line}");
        }
        self.ok &= ok;
        self.steps.push(Step { name, ok, seconds, bytes: seen.bytes, detail: seen.detail });
    }

    /// Writes the report, if it is wanted; answers whether every step succeeded.
    pub(super) fn finish(self, path: Option<&Path>) -> Result<bool> {
        println!("{}", if self.ok { "every step succeeded" } else { "a step failed" });
        if let Some(path) = path {
            let text =
                serde_json::to_vec_pretty(&self).map_err(|e| crate::cli::failure::Failure::new(e.to_string()))?;
            write_private(path, &text)?;
        }
        Ok(self.ok)
    }
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn rate(count: u64, seconds: f64) -> String {
    if seconds <= 0.0 { String::new() } else { format!(", {:.0} MB/s", count as f64 / 1e6 / seconds) }
}
