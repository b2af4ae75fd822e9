//! Transactions: what a change and a snapshot may rely on.

use super::super::value::args;
use super::super::{Done, Error, Kind, Store, Tx};
use super::{Case, cases, change};
use futures::future::join_all;
use std::collections::BTreeSet;

pub(super) const CASES: &[Case] = cases![
    concurrent_changes_number_a_stream_without_gaps,
    workers_lease_every_job_once,
    a_failing_change_is_undone_alone,
    a_change_that_rolls_back_still_answers,
    a_panic_is_an_error_of_its_change_alone,
    a_failed_statement_ends_its_transaction,
    a_snapshot_is_of_one_instant,
    a_snapshot_cannot_write,
    a_snapshot_leaves_nothing_behind,
    constraint_violations_are_recognised,
    an_injected_error_meets_its_statement,
    an_injected_commit_failure_undoes_the_change,
    a_lost_answer_leaves_the_change_done,
    an_abandoned_write_leaves_the_store_usable,
];

async fn append(tx: &mut Tx<'_>, stream: &str) -> Result<i64, Error> {
    let head = "INSERT INTO test_stream (id, head) VALUES ($1, 1)
        ON CONFLICT (id) DO UPDATE SET head = test_stream.head + 1 RETURNING head";
    let seq = tx.one(head, args![stream]).await?.get(0)?;
    tx.execute("INSERT INTO test_entry (stream, seq) VALUES ($1, $2)", args![stream, seq]).await?;
    Ok(seq)
}

async fn entry(tx: &mut Tx<'_>, stream: &str, seq: i64) -> Result<u64, Error> {
    tx.execute("INSERT INTO test_entry (stream, seq) VALUES ($1, $2)", args![stream, seq]).await
}

async fn length(store: &Store, stream: &str) -> i64 {
    let mut snapshot = store.snapshot().await.unwrap();
    let sql = "SELECT count(*) FROM test_entry WHERE stream = $1";
    snapshot.tx().one(sql, args![stream]).await.unwrap().get(0).unwrap()
}

async fn concurrent_changes_number_a_stream_without_gaps(store: &Store) {
    let append = || store.write(change(|tx| Box::pin(async { Ok(Done::Commit(append(tx, "gapless").await?)) })));
    let numbers = join_all((0..200).map(|_| append())).await;
    let numbers: BTreeSet<i64> = numbers.into_iter().map(Result::unwrap).collect();
    assert!(numbers.into_iter().eq(1..=200));
    assert_eq!(length(store, "gapless").await, 200);
}

async fn workers_lease_every_job_once(store: &Store) {
    let fill = change(|tx| {
        Box::pin(async move {
            for job in 0..64_i64 {
                tx.execute("INSERT INTO test_job (id) VALUES ($1)", args![job]).await?;
            }
            Ok(Done::Commit(()))
        })
    });
    store.write(fill).await.unwrap();
    let work = async |worker: i64| {
        let mut leased = Vec::new();
        loop {
            let lease = change(move |tx| {
                Box::pin(async move {
                    let sql = "UPDATE test_job SET owner = $1 WHERE id IN (SELECT id FROM test_job WHERE owner IS NULL
                        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id";
                    tx.opt(sql, args![worker]).await?.map(|row| row.get::<i64>(0)).transpose().map(Done::Commit)
                })
            });
            match store.write(lease).await.unwrap() {
                Some(job) => leased.push(job),
                None => return leased,
            }
        }
    };
    let leased = join_all((0..8).map(work)).await.concat();
    assert_eq!(leased.len(), 64);
    assert!(leased.into_iter().collect::<BTreeSet<_>>().into_iter().eq(0..64));
}

async fn a_failing_change_is_undone_alone(store: &Store) {
    let write = |number: i64| {
        store.write(change(move |tx| {
            Box::pin(async move {
                append(tx, "alone").await?;
                if number % 2 == 1 {
                    entry(tx, "no such stream", number).await?;
                }
                Ok(Done::Commit(()))
            })
        }))
    };
    for (number, answer) in (0..).zip(join_all((0..60).map(write)).await) {
        assert_eq!(answer.is_err_and(|error| error.is_foreign_key_violation()), number % 2 == 1, "{number}");
    }
    assert_eq!(length(store, "alone").await, 30);
}

async fn a_change_that_rolls_back_still_answers(store: &Store) {
    let append = |keep: bool| {
        change(move |tx| {
            Box::pin(async move {
                let seq = append(tx, "rolled back").await?;
                Ok(if keep { Done::Commit(seq) } else { Done::RollBack(seq) })
            })
        })
    };
    for (keep, expected) in [(false, 1), (false, 1), (true, 1), (false, 2)] {
        assert_eq!(store.write(append(keep)).await.unwrap(), expected);
    }
    assert_eq!(length(store, "rolled back").await, 1);
}

async fn a_panic_is_an_error_of_its_change_alone(store: &Store) {
    let write = |panics: bool| {
        store.write(change(move |tx| {
            Box::pin(async move {
                append(tx, "panic").await?;
                assert!(!panics, "a panic that the test ordered");
                Ok(Done::Commit(()))
            })
        }))
    };
    let answers = join_all([write(false), write(true), write(false)]).await;
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert_eq!(answers[1].as_ref().unwrap_err().kind, Kind::Panicked);
    assert_eq!(length(store, "panic").await, 2);
}

async fn a_failed_statement_ends_its_transaction(store: &Store) {
    let stubborn = change(|tx| {
        Box::pin(async move {
            append(tx, "stubborn").await?;
            assert!(entry(tx, "stubborn", 1).await.unwrap_err().is_unique_violation());
            let next = append(tx, "stubborn").await.unwrap_err();
            assert!(matches!(next.kind, Kind::Defect { .. }), "{next:?}");
            Ok(Done::Commit(()))
        })
    });
    let error = store.write(stubborn).await.unwrap_err();
    assert!(matches!(error.kind, Kind::Defect { .. }), "{error:?}");
    assert_eq!(length(store, "stubborn").await, 0);
}

async fn a_snapshot_is_of_one_instant(store: &Store) {
    let append = || store.write(change(|tx| Box::pin(async { Ok(Done::Commit(append(tx, "instant").await?)) })));
    append().await.unwrap();
    let mut snapshot = store.snapshot().await.unwrap();
    let sql = "SELECT head FROM test_stream WHERE id = $1";
    let before = snapshot.tx().one(sql, args!["instant"]).await.unwrap().get::<i64>(0).unwrap();
    append().await.unwrap();
    let after = snapshot.tx().one(sql, args!["instant"]).await.unwrap().get::<i64>(0).unwrap();
    assert_eq!((before, after), (1, 1));
    drop(snapshot);
    let mut later = store.snapshot().await.unwrap();
    assert_eq!(later.tx().one(sql, args!["instant"]).await.unwrap().get::<i64>(0).unwrap(), 2);
}

async fn a_snapshot_cannot_write(store: &Store) {
    let mut snapshot = store.snapshot().await.unwrap();
    append(&mut snapshot.tx(), "read only").await.unwrap_err();
    let error = append(&mut snapshot.tx(), "read only").await.unwrap_err();
    assert!(matches!(error.kind, Kind::Defect { .. }), "{error:?}");
    drop(snapshot);
    assert_eq!(length(store, "read only").await, 0);
}

async fn a_snapshot_leaves_nothing_behind(store: &Store) {
    // More than any pool holds: a connection that kept its transaction would show the first count again.
    for expected in 1..=80 {
        let mut unfinished = store.snapshot().await.unwrap();
        unfinished.tx().opt("SELECT 1 FROM test_stream WHERE id = $1", args!["behind"]).await.unwrap();
        drop(unfinished);
        let append = change(|tx| Box::pin(async { Ok(Done::Commit(append(tx, "behind").await?)) }));
        assert_eq!(store.write(append).await.unwrap(), expected);
        assert_eq!(length(store, "behind").await, expected);
    }
}

async fn constraint_violations_are_recognised(store: &Store) {
    let twice = change(|tx| {
        Box::pin(async move {
            let seq = append(tx, "twice").await?;
            entry(tx, "twice", seq).await?;
            Ok(Done::Commit(()))
        })
    });
    let error = store.write(twice).await.unwrap_err();
    assert!(error.is_unique_violation() && !error.is_foreign_key_violation(), "{error:?}");
    let orphan = change(|tx| Box::pin(async { Ok(Done::Commit(entry(tx, "orphan", 1).await?)) }));
    let error = store.write(orphan).await.unwrap_err();
    assert!(error.is_foreign_key_violation() && !error.is_unique_violation(), "{error:?}");
}

async fn injected(store: &Store, stream: &'static str) -> Result<i64, Error> {
    store.write(change(move |tx| Box::pin(async move { Ok(Done::Commit(append(tx, stream).await?)) }))).await
}

async fn an_injected_error_meets_its_statement(store: &Store) {
    store.inject("INSERT INTO test_entry", Error::new("INSERT INTO test_entry", Kind::Unavailable));
    assert_eq!(injected(store, "fault").await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(injected(store, "fault").await.unwrap(), 1);
    store.inject("SNAPSHOT", Error::new("SNAPSHOT", Kind::Busy));
    assert_eq!(store.snapshot().await.err().unwrap().kind, Kind::Busy);
    assert_eq!(length(store, "fault").await, 1);
}

async fn an_injected_commit_failure_undoes_the_change(store: &Store) {
    store.inject("COMMIT", Error::new("COMMIT", Kind::Unavailable));
    assert_eq!(injected(store, "uncommitted").await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(injected(store, "uncommitted").await.unwrap(), 1);
}

async fn a_lost_answer_leaves_the_change_done(store: &Store) {
    store.inject("COMMITTED", Error::new("COMMIT", Kind::CommitUnknown));
    assert_eq!(injected(store, "lost").await.unwrap_err().kind, Kind::CommitUnknown);
    assert_eq!(injected(store, "lost").await.unwrap(), 2);
}

async fn an_abandoned_write_leaves_the_store_usable(store: &Store) {
    for _ in 0..40 {
        let write = injected(store, "abandoned");
        tokio::select! {
            biased;
            _ = write => {}
            () = tokio::task::yield_now() => {}
        }
    }
    let before = length(store, "abandoned").await;
    injected(store, "abandoned").await.unwrap();
    assert!(length(store, "abandoned").await > before);
}
