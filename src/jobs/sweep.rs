//! Sweeps the store and the blob folder on a timer.

use crate::domain::App;
use crate::store::collections::Swept;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Sweeps every `period` until told to stop, or writes end.
pub async fn sweep(app: Arc<App>, period: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(app.clock().jitter(period)) => {}
        }
        if app.writes_ended() {
            return;
        }
        match app.sweep().await {
            Ok(swept) if swept == Swept::default() => {}
            Ok(swept) => tracing::info!(
                uploads = swept.uploads,
                links = swept.links,
                condemned = swept.condemned,
                objects = swept.objects,
                bytes = swept.bytes,
                errors = swept.errors,
                "swept what nobody needs"
            ),
            Err(error) => tracing::error!(error = ?error, "sweeping failed and will be tried again"),
        }
    }
}
