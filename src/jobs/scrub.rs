//! Reads stored objects again, at the rate of the settings.

use crate::domain::App;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Reads what is due until told to stop, or writes end: what is found could not be noted.
pub async fn scrub(app: Arc<App>, stop: CancellationToken) {
    let Some(mut scrubber) = app.scrubber() else { return };
    while !app.writes_ended() {
        let page = tokio::select! {
            () = stop.cancelled() => return,
            page = scrubber.page() => page,
        };
        match page {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::error!(error = ?error, "scrubbing failed and will be tried again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(app.clock().jitter(scrubber.look())) => {}
        }
    }
}
