//! Audit rows that are not part of a change: reads, denials and failures, batched, bounded, and counted when lost.

use super::Target;
use crate::ctx::Ctx;
use crate::error::{Error, Reason};
use crate::names::Uid;
use crate::ops::Op;
use crate::store::{self, Apply, Done, Store, Tx, audit::AuditRow};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// Rows that may wait; past this they are dropped and counted, since a read must not wait for its audit.
const WAITING_MAX: usize = 8_192;
/// Rows written in one transaction: a commit and its sync cost as much as hundreds of rows, and another writer waits some
/// ten milliseconds for as many as this.
const BATCH_MAX: usize = 2_048;
/// How long the first row of a batch waits for others.
const BATCH_WAIT: Duration = Duration::from_millis(200);

/// Audit rows that could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Rows dropped since the start.
    pub rows: u64,
}

enum Message {
    Row(Box<AuditRow>),
    Flush(oneshot::Sender<()>),
}

#[derive(Clone)]
pub(super) struct Channel {
    sender: mpsc::Sender<Message>,
    /// Told when a batch is whole, or somebody waits for it.
    hurry: Arc<Notify>,
    lost: Arc<AtomicU64>,
    ids: crate::clock::Clock,
}

impl Channel {
    pub(super) fn start(store: Store) -> Self {
        let (channel, receiver) = Self::open();
        tokio::spawn(drain(store, receiver, channel.lost.clone(), channel.hurry.clone()));
        channel
    }

    fn open() -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let (hurry, ids) = (Arc::default(), crate::clock::Clock::system());
        (Self { sender, hurry, lost: Arc::default(), ids }, receiver)
    }

    pub(super) fn loss(&self) -> Loss {
        Loss { rows: self.lost.load(Ordering::Relaxed) }
    }

    pub(super) fn allowed(&self, ctx: &Ctx, op: Op, target: &Target) {
        self.send(row(ctx, self.ids.uid_in_order(), op, target, "allowed", ""));
    }

    pub(super) fn refused(&self, ctx: &Ctx, op: Op, target: &Target, error: &Error) {
        self.send(row(ctx, self.ids.uid_in_order(), op, target, outcome(error), &error.message));
    }

    pub(super) fn unbelieved(&self, ctx: &Ctx, op: Op, claimed: &str, error: &Error) {
        let row = row(ctx, self.ids.uid_in_order(), op, &Target::unjudged(), outcome(error), &error.message);
        self.send(AuditRow { caller: claimed.to_owned(), ..row });
    }

    fn send(&self, row: AuditRow) {
        if self.sender.try_send(Message::Row(Box::new(row))).is_err() {
            let rows = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
            // Each time the loss has doubled: whoever reads the log must not be flooded too.
            if rows.is_power_of_two() {
                tracing::warn!(rows, "audit rows were lost since the start: more calls than the store takes rows");
            }
        }
        if WAITING_MAX - self.sender.capacity() >= BATCH_MAX {
            self.hurry.notify_one();
        }
    }

    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.sender.send(Message::Flush(done)).await.is_ok() {
            self.hurry.notify_one();
            // An error here means that the writer ended with the runtime; nothing is left to wait for.
            let _ = wait.await;
        }
    }
}

async fn drain(store: Store, mut receiver: mpsc::Receiver<Message>, lost: Arc<AtomicU64>, hurry: Arc<Notify>) {
    while let Some(first) = receiver.recv().await {
        let (mut rows, mut waiting) = (Vec::new(), Vec::new());
        // The channel is not looked at meanwhile: each look would be a wake-up for each row.
        if matches!(first, Message::Row(_)) && receiver.len() < BATCH_MAX {
            let _ = tokio::time::timeout(BATCH_WAIT, hurry.notified()).await;
        }
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Row(row) => rows.push(*row),
                Message::Flush(done) => waiting.push(done),
            }
            if rows.len() >= BATCH_MAX || !waiting.is_empty() {
                break;
            }
            next = receiver.try_recv().ok();
        }
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        if count > 0
            && let Err(error) = store.write(Arc::new(Batch(rows))).await
        {
            lost.fetch_add(count, Ordering::Relaxed);
            // That nothing is written any more has been said.
            if error.kind != store::Kind::Ended {
                tracing::error!(rows = count, error = ?error, "audit rows were lost");
            }
        }
        for done in waiting {
            let _ = done.send(());
        }
    }
}

struct Batch(Vec<AuditRow>);

impl Apply for Batch {
    type Out = ();
    type Error = store::Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<()>, store::Error> {
        for row in &self.0 {
            tx.audit_insert(row).await?;
        }
        Ok(Done::Commit(()))
    }
}

/// Whether the caller was refused, or something else went wrong.
fn outcome(error: &Error) -> &'static str {
    match error.reason {
        Reason::AccessDenied | Reason::CallerUnknown | Reason::CredentialsExpired => "denied",
        _ => "failed",
    }
}

pub(super) fn row(ctx: &Ctx, id: Uid, op: Op, target: &Target, outcome: &'static str, detail: &str) -> AuditRow {
    AuditRow {
        id,
        at: ctx.now,
        request: ctx.request_id,
        op: op.name(),
        caller: ctx.caller.display(),
        account: target.account,
        resource: target.arn.clone(),
        outcome,
        detail: detail.to_owned(),
        source_ip: ctx.source_ip.map(|ip| ip.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Channel, Target, WAITING_MAX};
    use crate::clock::Clock;
    use crate::ctx::{Caller, Ctx, Mutation};
    use crate::names::Region;
    use crate::ops::Op;

    #[test]
    fn rows_past_the_limit_are_dropped_and_counted() {
        let clock = Clock::system();
        let ctx = Ctx {
            caller: Caller::Anonymous,
            region: Region::parse("us-east-1").unwrap(),
            request_id: clock.uid(),
            now: clock.now(),
            source_ip: None,
            secure: false,
            user_agent: "".into(),
            mutation: Mutation::default(),
        };
        let (channel, _waiting) = Channel::open();
        for _ in 0..WAITING_MAX {
            channel.allowed(&ctx, Op::ListKeys, &Target::unjudged());
        }
        assert_eq!(channel.loss().rows, 0);
        channel.allowed(&ctx, Op::ListKeys, &Target::unjudged());
        channel.allowed(&ctx, Op::ListKeys, &Target::unjudged());
        assert_eq!(channel.loss().rows, 2);
    }
}
