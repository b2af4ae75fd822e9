//! Keeps one sender running for each (registry, destination) that some rule names.

use crate::domain::App;
use crate::names::AccountId;
use crate::peer::{self, Peers};
use crate::store::rules::Destination;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How soon a new rule is noticed.
const LOOK: Duration = Duration::from_millis(500);

/// Starts and ends senders as rules come and go, until told to stop.
pub async fn replicate(app: Arc<App>, peers: Peers, tasks: TaskTracker, stop: CancellationToken) {
    let mut running: HashMap<(AccountId, Destination), CancellationToken> = HashMap::new();
    while !stop.is_cancelled() {
        match app.routes().await {
            Ok(routes) => {
                running.retain(|route, sender| {
                    let wanted = routes.contains(route);
                    if !wanted {
                        sender.cancel();
                    }
                    wanted
                });
                for route in routes {
                    running.entry(route.clone()).or_insert_with(|| {
                        let (account, destination) = route;
                        let sender = stop.child_token();
                        let (app, peers) = (app.clone(), peers.clone());
                        tasks.spawn(peer::replicate(app, peers, account, destination, sender.clone()));
                        sender
                    });
                }
            }
            Err(error) => tracing::error!(error = ?error, "replication rules could not be read"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
