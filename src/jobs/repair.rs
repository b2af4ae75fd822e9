//! Repairs damaged blobs as soon as they are found, and those that could not be repaired again and again.

use crate::domain::App;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often is looked for what waits, though nothing new was found.
const LOOK: Duration = Duration::from_secs(15);

/// Repairs until told to stop, or writes end.
pub async fn repair(app: Arc<App>, stop: CancellationToken) {
    while !app.writes_ended() {
        let repaired = tokio::select! {
            () = stop.cancelled() => return,
            repaired = app.repair_waiting() => repaired,
        };
        match repaired {
            // More may wait than one round takes.
            Ok(repaired) if repaired.iter().any(|blob| blob.outcome.is_ok()) => continue,
            Ok(_) => {}
            Err(error) => tracing::error!(error = ?error, "repairing failed and will be tried again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.damage_found() => {}
            () = tokio::time::sleep(app.clock().jitter(LOOK)) => {}
        }
    }
}
