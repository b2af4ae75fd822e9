//! What only PostgreSQL can do wrong: conflicts, lost connections, a pool, several nodes.

use super::super::value::args;
use super::super::{Apply, Done, Error, Kind, Settings, Store, Tx};
use super::{change, database, migrations, postgres};
use crate::clock::Clock;
use crate::secret::Secret;
use futures::future::{join, join_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Barrier;

/// A store with that many connections in a new database, or none without a server.
async fn store(pool: usize) -> Option<Store> {
    Some(postgres(&database().await?, pool).await)
}

async fn put(store: &Store, id: &'static str) -> Result<u64, Error> {
    store.write(insert(id)).await
}

fn insert(id: &'static str) -> Arc<impl Apply<Out = u64, Error = Error>> {
    change(move |tx| {
        Box::pin(
            async move { Ok(Done::Commit(tx.execute("INSERT INTO test_value (id) VALUES ($1)", args![id]).await?)) },
        )
    })
}

async fn count(store: &Store) -> i64 {
    let mut snapshot = store.snapshot().await.unwrap();
    snapshot.tx().one("SELECT count(*) FROM test_value", args![]).await.unwrap().get(0).unwrap()
}

/// Runs a statement for its effect on the server.
async fn run(store: &Store, sql: &'static str) -> Result<(), Error> {
    let run = change(move |tx| Box::pin(async move { tx.schema(sql).await.map(Done::Commit) }));
    store.write(run).await
}

/// Reads the number of rows, waits for the other one on its first run, and writes a row of that number.
struct Skew {
    id: i64,
    runs: AtomicU32,
    both_have_read: Arc<Barrier>,
}

impl Apply for Skew {
    type Out = i64;
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<i64>, Error> {
        let seen: i64 = tx.one("SELECT count(*) FROM test_job", args![]).await?.get(0)?;
        if self.runs.fetch_add(1, Ordering::Relaxed) == 0 {
            self.both_have_read.wait().await;
        }
        tx.execute("INSERT INTO test_job (id, owner) VALUES ($1, $2)", args![self.id, seen]).await?;
        Ok(Done::Commit(seen))
    }
}

#[tokio::test]
async fn of_two_changes_that_would_not_serialize_one_runs_again() {
    let Some(store) = store(4).await else { return };
    let both_have_read = Arc::new(Barrier::new(2));
    let skew = |id| Arc::new(Skew { id, runs: AtomicU32::new(0), both_have_read: both_have_read.clone() });
    let (one, two) = (skew(1), skew(2));
    let (first, second) = join(store.write(one.clone()), store.write(two.clone())).await;
    let mut seen = [first.unwrap(), second.unwrap()];
    seen.sort_unstable();
    assert_eq!(seen, [0, 1]);
    assert_eq!(one.runs.load(Ordering::Relaxed) + two.runs.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_change_that_always_loses_is_given_up() {
    let Some(store) = store(2).await else { return };
    store.inject("COMMIT", Error::new("COMMIT", Kind::Conflict));
    store.inject("INSERT INTO test_value", Error::new("INSERT INTO test_value", Kind::Conflict));
    assert_eq!(put(&store, "third time").await.unwrap(), 1);
    for _ in 0..21 {
        store.inject("COMMIT", Error::new("COMMIT", Kind::Conflict));
    }
    assert_eq!(put(&store, "never").await.unwrap_err().kind, Kind::Conflict);
    assert_eq!(put(&store, "again").await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_cut_while_committing_leaves_the_outcome_unknown() {
    let Some(store) = store(1).await else { return };
    // A constraint that is checked while committing, and cuts its own connection.
    let cut = "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON test_value DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION cut();
";
    run(&store, cut).await.unwrap();
    assert_eq!(put(&store, "cut").await.unwrap_err().kind, Kind::CommitUnknown);
    run(&store, "DROP TRIGGER cut ON test_value;\n").await.unwrap();
    assert_eq!(put(&store, "after").await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_cut_before_the_commit_leaves_nothing() {
    let Some(store) = store(1).await else { return };
    let cut = change(|tx| {
        Box::pin(async move {
            tx.execute("INSERT INTO test_value (id) VALUES ('cut')", args![]).await?;
            tx.execute("SELECT pg_terminate_backend(pg_backend_pid())", args![]).await?;
            Ok(Done::Commit(()))
        })
    });
    assert_eq!(store.write(cut).await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(count(&store).await, 0);
}

#[tokio::test]
async fn connections_that_died_at_rest_are_passed_over() {
    let Some(store) = store(4).await else { return };
    let snapshots = join_all((0..4).map(|_| store.snapshot())).await;
    drop(snapshots);
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
        AND pid <> pg_backend_pid()";
    store.snapshot().await.unwrap().tx().all(cut, args![]).await.unwrap();
    for id in ["a", "b", "c", "d", "e"] {
        assert_eq!(put(&store, id).await.unwrap(), 1);
    }
    assert_eq!(count(&store).await, 5);
}

#[tokio::test]
async fn an_abandoned_statement_does_not_hold_its_connection() {
    let Some(store) = store(1).await else { return };
    let sleep = "SELECT 1 FROM pg_sleep(25)";
    let mut snapshot = store.snapshot().await.unwrap();
    let asleep = tokio::time::timeout(Duration::from_millis(100), async { snapshot.tx().all(sleep, args![]).await });
    assert!(asleep.await.is_err());
    drop(snapshot);
    let sleeping = change(move |tx| {
        Box::pin(async move {
            tx.execute("INSERT INTO test_value (id) VALUES ('abandoned')", args![]).await?;
            Ok(Done::Commit(tx.execute(sleep, args![]).await?))
        })
    });
    assert!(tokio::time::timeout(Duration::from_millis(200), store.write(sleeping)).await.is_err());
    let after = tokio::time::timeout(Duration::from_secs(4), put(&store, "after"));
    assert_eq!(after.await.unwrap().unwrap(), 1);
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn a_dropped_snapshot_ends_before_its_connection_serves_again() {
    let Some(store) = store(1).await else { return };
    let settings = change(|tx| {
        Box::pin(async move {
            let sql = "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')";
            let row = tx.one(sql, args![]).await?;
            Ok(Done::Commit([row.get::<String>(0)?, row.get::<String>(1)?]))
        })
    });
    for _ in 0..50 {
        let mut snapshot = store.snapshot().await.unwrap();
        snapshot.tx().one("SELECT 1", args![]).await.unwrap();
        drop(snapshot);
        assert_eq!(store.write(settings.clone()).await.unwrap(), ["serializable", "off"]);
    }
    // One connection, from the first statement to here: nothing was discarded.
    let started = "SELECT CAST(count(*) AS BIGINT) FROM pg_stat_activity WHERE datname = current_database()
        AND backend_start < (SELECT min(to_timestamp(applied_at / 1000000.0)) FROM schema_version)";
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.tx().one(started, args![]).await.unwrap().get::<i64>(0).unwrap(), 1);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_busy() {
    let Some(store) = store(1).await else { return };
    let slow = "SET LOCAL statement_timeout = 50;\nSELECT pg_sleep(20);\n";
    assert_eq!(run(&store, slow).await.unwrap_err().kind, Kind::Busy);
    let mut snapshot = store.snapshot().await.unwrap();
    let row = snapshot.tx().one("SELECT current_setting('statement_timeout')", args![]).await.unwrap();
    assert_eq!(row.get::<&str>(0).unwrap(), "30s");
}

#[tokio::test]
async fn nodes_that_start_at_once_migrate_once() {
    let Some(url) = database().await else { return };
    let settings = Settings::Postgres { url: Secret::new(url), pool: 2 };
    let open = || Store::open_with(&settings, Clock::system(), migrations());
    let stores = join_all((0..8).map(|_| open())).await;
    let store = stores.into_iter().map(Result::unwrap).next().unwrap();
    let mut snapshot = store.snapshot().await.unwrap();
    let row = snapshot.tx().one("SELECT count(*), max(version) FROM schema_version", args![]).await.unwrap();
    let known = i64::try_from(migrations().len()).unwrap();
    assert_eq!([row.get::<i64>(0).unwrap(), row.get(1).unwrap()], [known, known]);
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_unavailable_and_a_bad_url_says_so() {
    let open = async |url: &str| {
        let settings = Settings::Postgres { url: Secret::new(url.to_owned()), pool: 1 };
        Store::open(&settings, Clock::system()).await.err().unwrap()
    };
    assert_eq!(open("postgres://a:hunter2@127.0.0.1:1/a").await.kind, Kind::Unavailable);
    let error = open("postgres://a:hunter2@127.0.0.1:port/a").await;
    assert_eq!(error.kind, Kind::Url);
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}
