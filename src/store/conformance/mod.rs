//! What the store promises, as cases that every engine has to pass.
//!
//! A file of cases adds its table to [`TABLES`]. SQLite always runs; PostgreSQL runs where `TRANSSHIP_TEST_POSTGRES`
//! names a server (`tests/postgres start DIR` prints such a URL), each test in a database of its own.

mod changes;
mod content;
mod nouns;
mod policies;
mod postgres;
mod sqlite;
mod storage;
mod values;

use super::migrate::MIGRATIONS;
use super::{Apply, Done, Error, Settings, Store, Tx};
use crate::clock::Clock;
use crate::secret::Secret;
use futures::future::{BoxFuture, LocalBoxFuture};
use std::sync::Arc;
use tempfile::TempDir;

/// A case's name and its check; cases of one engine share a store.
pub(super) type Case = (&'static str, for<'s> fn(&'s Store) -> LocalBoxFuture<'s, ()>);

/// Every table of cases.
const TABLES: &[&[Case]] =
    &[values::CASES, changes::CASES, nouns::CASES, policies::CASES, content::CASES, storage::CASES];

/// Makes a table of cases out of functions `async fn(&Store)`.
macro_rules! cases {
    ($($case:ident),* $(,)?) => { &[$((stringify!($case), |store| Box::pin($case(store)))),*] };
}
pub(super) use cases;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_passes_every_case() {
    let (store, _folder) = sqlite().await;
    let count = run(&store).await;
    store.close().await;
    println!("sqlite: {count} cases");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_passes_every_case() {
    let Some(url) = database().await else {
        return println!("postgres: 0 cases, TRANSSHIP_TEST_POSTGRES is not set");
    };
    let store = postgres(&url, 16).await;
    let count = run(&store).await;
    store.close().await;
    println!("postgres: {count} cases");
}

async fn run(store: &Store) -> usize {
    let cases = TABLES.concat();
    for (name, case) in &cases {
        println!("{name}");
        case(store).await;
    }
    cases.len()
}

/// A new store in a folder that lives as long as the second value.
pub(super) async fn sqlite() -> (Store, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::Sqlite { path: folder.path().join("metadata.db") };
    (Store::open_with(&settings, Clock::system(), migrations()).await.unwrap(), folder)
}

/// The URL of a new database, if there is a server.
pub(super) async fn database() -> Option<String> {
    let server = std::env::var("TRANSSHIP_TEST_POSTGRES").ok()?;
    let (client, connection) = tokio_postgres::connect(&server, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let name = format!("transship_{}", hex::encode(Clock::system().uid().bytes()));
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    let (server, _) = server.rsplit_once('/').unwrap();
    Some(format!("{server}/{name}"))
}

/// A store in that database.
pub(super) async fn postgres(url: &str, pool: usize) -> Store {
    let settings = Settings::Postgres { url: Secret::new(url.to_owned()), pool };
    Store::open_with(&settings, Clock::system(), migrations()).await.unwrap()
}

/// The product's schema followed by the cases' own.
pub(super) fn migrations() -> &'static [&'static str] {
    [MIGRATIONS, &[SCHEMA]].concat().leak()
}

/// A change out of a closure that boxes its future.
pub(super) struct Do<F>(F);

/// Makes a change out of a closure.
pub(super) fn change<T, F>(apply: F) -> Arc<Do<F>>
where
    F: for<'a> Fn(&'a mut Tx<'_>) -> BoxFuture<'a, Result<Done<T>, Error>> + Send + Sync + 'static,
{
    Arc::new(Do(apply))
}

impl<T, F> Apply for Do<F>
where
    T: Send + 'static,
    F: for<'a> Fn(&'a mut Tx<'_>) -> BoxFuture<'a, Result<Done<T>, Error>> + Send + Sync + 'static,
{
    type Out = T;
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<T>, Error> {
        (self.0)(tx).await
    }
}

const SCHEMA: &str = "
CREATE TABLE test_value (
    id TEXT PRIMARY KEY,
    number BIGINT,
    words TEXT,
    bytes BYTEA
);

CREATE TABLE test_stream (
    id TEXT PRIMARY KEY,
    head BIGINT NOT NULL
);

CREATE TABLE test_entry (
    stream TEXT NOT NULL REFERENCES test_stream (id),
    seq BIGINT NOT NULL,
    PRIMARY KEY (stream, seq)
);

CREATE TABLE test_job (
    id BIGINT PRIMARY KEY,
    owner BIGINT
);

CREATE INDEX test_job_free ON test_job (id) WHERE owner IS NULL;
";
