//! The following end: learns the directory from home and revocations from each peer, for ever.

use super::connect::Peers;
use crate::domain::App;
use crate::domain::follow::{Entry, Stream};
use crate::error::{Error, Reason, Result};
use crate::names::Region;
use crate::pb::replication as pb;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long silence is borne: several heartbeats.
const SILENCE: Duration = Duration::from_secs(10);
/// The first and the longest pause after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// Follows one stream of one region until told to stop; tells when it has caught up for the first time.
pub async fn follow(
    app: Arc<App>,
    peers: Peers,
    stream: Stream,
    region: Region,
    caught_up: Option<watch::Sender<bool>>,
    stop: CancellationToken,
) {
    if stream == Stream::Directory {
        app.hear_of_home();
    }
    let mut pause = BACK_OFF.0;
    while !stop.is_cancelled() {
        let listening = listen(&app, &peers, stream, &region, caught_up.as_ref(), &mut pause);
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = listening => ended,
        };
        if let Err(error) = ended {
            tracing::warn!(%region, ?stream, error = ?error, "following was interrupted");
        }
        tokio::time::sleep(app.clock().jitter(pause)).await;
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

async fn listen(
    app: &App,
    peers: &Peers,
    stream: Stream,
    region: &Region,
    caught_up: Option<&watch::Sender<bool>>,
    pause: &mut Duration,
) -> Result<()> {
    let mut client = peers.connect(region).await?.client;
    let seq = app.followed_until(stream, region).await?;
    let wanted = match stream {
        Stream::Directory => pb::follow_request::Stream::Directory,
        Stream::Revocations => pb::follow_request::Stream::Revocations,
    };
    let request = pb::FollowRequest { stream: wanted.into(), cursors: vec![pb::Cursor { shard: 0, seq }] };
    let mut news = client.follow(request).await.map_err(|e| broken(&e))?.into_inner();
    loop {
        let message = tokio::time::timeout(SILENCE, news.message()).await;
        let message = message.map_err(|_| Error::new(Reason::Unavailable, "the region fell silent"))?;
        let Some(message) = message.map_err(|e| broken(&e))? else { return Ok(()) };
        *pause = BACK_OFF.0;
        let until = message.cursor.map_or(0, |cursor| cursor.seq);
        if !message.entries.is_empty() {
            let entries = message.entries.into_iter().map(Entry::try_from).collect::<Result<_>>()?;
            app.learn(stream, region, entries, until).await?;
        }
        // Heard is what was learned: a region that cannot write down what home says knows nothing of it.
        if stream == Stream::Directory && until >= message.head {
            app.hear_of_home();
        }
        if let Some(caught_up) = caught_up.filter(|_| until >= message.head) {
            caught_up.send_replace(true);
        }
    }
}

fn broken(status: &tonic::Status) -> Error {
    Error::new(Reason::Unavailable, format!("the region answered: {}", status.message()))
}
