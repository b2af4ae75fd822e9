//! What only SQLite can do wrong: its lock, its batches, its file.

use super::super::value::args;
use super::super::{Done, Error, Kind, Settings, Store};
use super::{change, migrations, sqlite};
use crate::clock::Clock;
use crate::error::Error as Envelope;
use futures::{FutureExt, poll};
use std::path::Path;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

async fn open(path: &Path) -> Result<Store, Error> {
    Store::open_with(&Settings::Sqlite { path: path.to_owned() }, Clock::system(), migrations()).await
}

async fn put(store: &Store, id: &'static str) -> Result<(), Error> {
    let put = change(move |tx| {
        Box::pin(async move {
            tx.execute("INSERT INTO test_value (id) VALUES ($1)", args![id]).await?;
            Ok(Done::Commit(()))
        })
    });
    store.write(put).await
}

async fn count(store: &Store) -> i64 {
    let mut snapshot = store.snapshot().await.unwrap();
    snapshot.tx().one("SELECT count(*) FROM test_value", args![]).await.unwrap().get(0).unwrap()
}

#[tokio::test]
async fn a_second_server_on_the_file_is_refused_by_name() {
    let (store, folder) = sqlite().await;
    let path = folder.path().join("metadata.db");
    let error = open(&path).await.err().unwrap();
    let lock = folder.path().join("metadata.db.lock");
    assert_eq!(error.kind, Kind::Locked { path: lock.clone() });
    assert!(error.to_string().contains(lock.to_str().unwrap()), "{error}");
    store.close().await;
    open(&path).await.unwrap().close().await;
}

#[tokio::test]
async fn a_closed_store_keeps_its_rows_and_refuses_work() {
    let (store, folder) = sqlite().await;
    put(&store, "kept").await.unwrap();
    let clone = store.clone();
    store.close().await;
    assert_eq!(put(&clone, "late").await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(clone.snapshot().await.err().unwrap().kind, Kind::Unavailable);
    let again = open(&folder.path().join("metadata.db")).await.unwrap();
    assert_eq!(count(&again).await, 1);
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_refused() {
    let (store, folder) = sqlite().await;
    store.close().await;
    let settings = Settings::Sqlite { path: folder.path().join("metadata.db") };
    let error = Store::open_with(&settings, Clock::system(), &[]).await.err().unwrap();
    let found = i64::try_from(migrations().len()).unwrap();
    assert_eq!(error.kind, Kind::Schema { found, known: 0 });
}

#[tokio::test]
async fn a_failing_migration_leaves_nothing_of_itself() {
    const BROKEN: &[&str] =
        &["CREATE TABLE a (id BIGINT);\n", "CREATE TABLE b (id BIGINT);\nCREATE TABLE a (id BIGINT);\n"];
    const MENDED: &[&str] = &[BROKEN[0], "CREATE TABLE b (id BIGINT);\n"];
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::Sqlite { path: folder.path().join("metadata.db") };
    assert_eq!(Store::open_with(&settings, Clock::system(), BROKEN).await.err().unwrap().kind, Kind::Sql);
    // The refused store has let go of the lock, perhaps a moment later.
    let mended = async {
        loop {
            match Store::open_with(&settings, Clock::system(), MENDED).await {
                Err(Error { kind: Kind::Locked { .. }, .. }) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), mended).await.unwrap().unwrap();
}

#[tokio::test]
async fn every_change_of_a_batch_fails_with_its_commit() {
    let (store, _folder) = sqlite().await;
    // The writer is held inside a first change until three more wait, which then share a batch.
    let (release, held) = channel::<()>();
    let (enter, entered) = channel::<()>();
    let held = Mutex::new(held);
    let first = change(move |_| {
        enter.send(()).unwrap();
        held.lock().unwrap().recv_timeout(Duration::from_secs(30)).unwrap();
        Box::pin(async { Ok(Done::Commit(())) })
    });
    let breaker = store.clone();
    let breaks = change(move |tx| {
        breaker.inject("COMMIT", Error::new("COMMIT", Kind::Unavailable));
        Box::pin(async move {
            tx.execute("INSERT INTO test_value (id) VALUES ($1)", args!["breaks"]).await?;
            Ok(Done::Commit(()))
        })
    });
    let rolls_back = change(|_| Box::pin(async { Ok(Done::RollBack(())) }));
    let mut first = pin!(store.write(first));
    let mut batch =
        [put(&store, "one").boxed_local(), store.write(breaks).boxed_local(), store.write(rolls_back).boxed_local()];
    assert!(poll!(&mut first).is_pending());
    entered.recv_timeout(Duration::from_secs(30)).unwrap();
    for change in &mut batch {
        assert!(poll!(change).is_pending());
    }
    release.send(()).unwrap();
    first.await.unwrap();
    for change in batch {
        assert_eq!(change.await.unwrap_err().kind, Kind::Unavailable);
    }
    assert_eq!(count(&store).await, 0);
    put(&store, "after").await.unwrap();
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn a_change_that_waits_for_something_else_is_a_defect() {
    let (store, _folder) = sqlite().await;
    let waits = change(|tx| {
        Box::pin(async move {
            tx.execute("INSERT INTO test_value (id) VALUES ('waits')", args![]).await?;
            tokio::task::yield_now().await;
            Ok(Done::Commit(()))
        })
    });
    assert!(matches!(store.write(waits).await.unwrap_err().kind, Kind::Defect { .. }));
    assert_eq!(count(&store).await, 0);
}

#[tokio::test]
async fn an_injected_conflict_is_answered_since_one_writer_has_none() {
    let (store, _folder) = sqlite().await;
    store.inject("INSERT INTO test_value", Error::new("INSERT INTO test_value", Kind::Conflict));
    assert_eq!(put(&store, "conflict").await.unwrap_err().kind, Kind::Conflict);
}

#[tokio::test]
async fn reads_wait_for_one_of_a_bounded_number_of_connections() {
    let (store, _folder) = sqlite().await;
    let mut held = Vec::new();
    while let Some(snapshot) = store.snapshot().now_or_never() {
        held.push(snapshot.unwrap());
        assert!(held.len() <= 32);
    }
    assert_eq!(held.len(), 32);
    held.pop();
    assert!(store.snapshot().now_or_never().is_some());
}

#[tokio::test]
async fn commits_are_synced_and_readers_cannot_write() {
    let (store, folder) = sqlite().await;
    let ask = async |sql: &'static str| {
        let write = change(move |tx| Box::pin(async move { Ok(Done::Commit(tx.one(sql, args![]).await?)) }));
        let mut snapshot = store.snapshot().await.unwrap();
        [store.write(write).await.unwrap(), snapshot.tx().one(sql, args![]).await.unwrap()]
    };
    let [wal, _] = ask("PRAGMA journal_mode").await;
    assert_eq!(wal.get::<&str>(0).unwrap(), "wal");
    let pragmas = [
        ("PRAGMA synchronous", [2, 2]),
        ("PRAGMA foreign_keys", [1, 1]),
        ("PRAGMA secure_delete", [1, 1]),
        ("PRAGMA busy_timeout", [5_000, 5_000]),
        ("PRAGMA journal_size_limit", [64 << 20, 64 << 20]),
        ("PRAGMA query_only", [0, 1]),
    ];
    for (pragma, expected) in pragmas {
        assert_eq!(ask(pragma).await.map(|row| row.get::<i64>(0).unwrap()), expected, "{pragma}");
    }
    #[cfg(unix)]
    for name in ["metadata.db", "metadata.db-wal", "metadata.db.lock"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = folder.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_missing_folder_is_named_in_the_log_and_not_to_a_caller() {
    let error = open(Path::new("/nonexistent/metadata.db")).await.err().unwrap();
    assert_eq!(error.kind, Kind::Unavailable);
    let envelope = Envelope::from(error);
    assert!(format!("{envelope:?}").contains("/nonexistent/metadata.db") && !envelope.message.contains("nonexistent"));
}

#[tokio::test]
async fn the_stores_futures_can_be_spawned() {
    let (store, _folder) = sqlite().await;
    let write = change(|tx| Box::pin(async { Ok(Done::Commit(tx.execute("DELETE FROM test_job", args![]).await?)) }));
    let spawned = tokio::spawn(async move {
        store.write(write).await.unwrap();
        let mut snapshot = store.snapshot().await.unwrap();
        let rows = snapshot.tx().all("SELECT id FROM test_job", args![]).await.unwrap();
        tokio::task::yield_now().await;
        rows.len()
    });
    assert_eq!(spawned.await.unwrap(), 0);
}
