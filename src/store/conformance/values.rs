//! Values, rows and statements.

use super::super::value::{FromValue, Value, args};
use super::super::{Done, Kind, Store};
use super::{Case, cases, change};
use crate::clock::Timestamp;
use crate::names::{
    AccountId, Arn, Digest, MediaType, PrincipalKind, PrincipalName, Region, RepositoryName, RoleName, SessionName,
    Tag, TagPattern, Uid, UserName,
};
use bytes::Bytes;
use std::fmt::Debug;
use std::sync::Arc;

pub(super) const CASES: &[Case] = cases![
    every_kind_of_value_comes_back_as_it_went,
    every_type_of_argument_comes_back_as_it_went,
    a_comparison_answers_a_boolean,
    arguments_are_bound_by_number,
    a_wrong_number_of_arguments_is_refused,
    a_number_that_no_column_holds_is_refused,
    a_value_of_another_type_is_refused,
    a_value_that_does_not_parse_is_an_error,
    an_upsert_returns_its_row,
    one_and_opt_count_their_rows,
    text_sorts_by_its_bytes,
];

const PUT: &str = "INSERT INTO test_value (id, number, words, bytes) VALUES ($1, $2, $3, $4)
    ON CONFLICT (id) DO UPDATE SET number = excluded.number, words = excluded.words, bytes = excluded.bytes";
const GET: &str = "SELECT number, words, bytes FROM test_value WHERE id = $1";

/// Writes a row and reads it in another transaction.
async fn round_trip(store: &Store, number: Value, words: Value, bytes: Value) -> super::super::value::Row {
    let values = [number, words, bytes];
    let put = change(move |tx| {
        let [number, words, bytes] = values.clone();
        Box::pin(async move {
            assert_eq!(tx.execute(PUT, args!["round", number, words, bytes]).await?, 1);
            Ok(Done::Commit(()))
        })
    });
    store.write(put).await.unwrap();
    store.snapshot().await.unwrap().tx().one(GET, args!["round"]).await.unwrap()
}

async fn every_kind_of_value_comes_back_as_it_went(store: &Store) {
    let row = round_trip(store, Value::Null, Value::Null, Value::Null).await;
    assert_eq!(row.get::<Option<i64>>(0).unwrap(), None);
    assert_eq!(row.get::<Option<&str>>(1).unwrap(), None);
    assert_eq!(row.get::<Option<&[u8]>>(2).unwrap(), None);
    for (number, words) in [(i64::MIN, ""), (0, "a\u{1f980}\n'\"$1"), (i64::MAX, " ")] {
        let bytes = words.as_bytes();
        let row = round_trip(store, number.into(), words.into(), bytes.into()).await;
        assert_eq!(row.get::<i64>(0).unwrap(), number);
        assert_eq!(row.get::<&str>(1).unwrap(), words);
        assert_eq!(row.get::<&[u8]>(2).unwrap(), bytes);
    }
    let large = Bytes::from(vec![0xff; 4 << 20]);
    let row = round_trip(store, true.into(), "x".repeat(1 << 20).into(), Value::from(&large)).await;
    assert!(row.get::<bool>(0).unwrap());
    assert_eq!(row.get::<String>(1).unwrap().len(), 1 << 20);
    assert_eq!(row.get::<Bytes>(2).unwrap(), large);
}

async fn every_type_of_argument_comes_back_as_it_went(store: &Store) {
    let account = AccountId::parse("111122223333").unwrap();
    let principal = PrincipalName { account, kind: PrincipalKind::Role, name: "deploy".into() };
    let digest = Digest::of(b"a");

    number(store, -1_i64).await;
    number(store, u32::MAX).await;
    number(store, u64::from(u32::MAX) + 1).await;
    number(store, false).await;
    number(store, Timestamp::from_micros(1_790_208_000_123_456)).await;
    number(store, Some(7_i64)).await;
    number(store, None::<i64>).await;

    words(store, String::from("text")).await;
    words(store, account).await;
    words(store, principal.kind).await;
    words(store, digest).await;
    words(store, Some(digest)).await;
    words(store, None::<Digest>).await;
    words(store, principal.arn()).await;
    words(store, MediaType::parse("application/vnd.oci.image.manifest.v1+json").unwrap()).await;
    words(store, Region::parse("eu-south-1").unwrap()).await;
    words(store, RepositoryName::parse("team/app").unwrap()).await;
    words(store, RoleName::parse("deploy").unwrap()).await;
    words(store, SessionName::parse("ci").unwrap()).await;
    words(store, Tag::parse("v1.2").unwrap()).await;
    words(store, TagPattern::parse("v*").unwrap()).await;
    words(store, UserName::parse("eve").unwrap()).await;

    bytes(store, Uid::from_bytes([9; 16])).await;
    bytes(store, Some(Uid::from_bytes([9; 16]))).await;
    bytes(store, [1_u8, 2, 3]).await;
    bytes(store, vec![0_u8, 255]).await;
    bytes(store, Bytes::from_static(b"\0")).await;

    // What only a reference makes.
    let name: Arc<str> = "name".into();
    for text in [Value::from("name"), Value::from(&name), Value::from(&String::from("name"))] {
        assert_eq!(round_trip(store, Value::Null, text, Value::Null).await.get::<Arc<str>>(1).unwrap(), name);
    }
    let arn: &Arn = &principal.arn();
    for (text, expected) in [(Value::from(&digest), digest.to_string()), (Value::from(arn), arn.to_string())] {
        assert_eq!(round_trip(store, Value::Null, text, Value::Null).await.get::<String>(1).unwrap(), expected);
    }
    let three = [1_u8, 2, 3];
    for bytes in [Value::from(&three), Value::from(three.as_slice()), Value::from(&three.to_vec())] {
        assert_eq!(round_trip(store, Value::Null, Value::Null, bytes).await.get::<[u8; 3]>(2).unwrap(), three);
    }
    let id = &Uid::from_bytes([8; 16]);
    let row = round_trip(store, Value::Null, Value::Null, Value::from(id)).await;
    assert_eq!(row.get::<Uid>(2).unwrap(), *id);
}

async fn number<T: Into<Value> + for<'r> FromValue<'r> + Clone + PartialEq + Debug>(store: &Store, number: T) {
    let row = round_trip(store, number.clone().into(), Value::Null, Value::Null).await;
    assert_eq!(row.get::<T>(0).unwrap(), number);
}

async fn words<T: Into<Value> + for<'r> FromValue<'r> + Clone + PartialEq + Debug>(store: &Store, words: T) {
    let row = round_trip(store, Value::Null, words.clone().into(), Value::Null).await;
    assert_eq!(row.get::<T>(1).unwrap(), words);
}

async fn bytes<T: Into<Value> + for<'r> FromValue<'r> + Clone + PartialEq + Debug>(store: &Store, bytes: T) {
    let row = round_trip(store, Value::Null, Value::Null, bytes.clone().into()).await;
    assert_eq!(row.get::<T>(2).unwrap(), bytes);
}

async fn a_comparison_answers_a_boolean(store: &Store) {
    round_trip(store, Value::Int(1), "a".into(), Value::Null).await;
    let sql = "SELECT number = $2, words = 'b', EXISTS (SELECT 1 FROM test_value WHERE id = 'none'), bytes IS NULL,
        bytes IS NOT DISTINCT FROM $3 FROM test_value WHERE id = $1";
    let mut snapshot = store.snapshot().await.unwrap();
    let row = snapshot.tx().one(sql, args!["round", 1_i64, None::<Uid>]).await.unwrap();
    let answers: Vec<bool> = (0..5).map(|column| row.get(column).unwrap()).collect();
    assert_eq!(answers, [true, false, false, true, true]);
    let sql = "SELECT count(*), coalesce(max(number), 0), CAST(coalesce(sum(number), 0) AS BIGINT) FROM test_value
        WHERE id = 'none'";
    let row = snapshot.tx().one(sql, args![]).await.unwrap();
    assert_eq!([0, 1, 2].map(|column| row.get::<i64>(column).unwrap()), [0, 0, 0]);
}

async fn arguments_are_bound_by_number(store: &Store) {
    round_trip(store, Value::Int(5), "a".into(), Value::Null).await;
    let sql = "SELECT CAST($2 AS BIGINT) - $1 - $1, words FROM test_value WHERE id = $3 AND number > $1";
    let row = store.snapshot().await.unwrap().tx().one(sql, args![3_i64, 10_i64, "round"]).await.unwrap();
    assert_eq!(row.get::<i64>(0).unwrap(), 4);
}

async fn a_wrong_number_of_arguments_is_refused(store: &Store) {
    for few_or_many in [args![].as_slice(), args!["round", 1_i64]] {
        let error = store.snapshot().await.unwrap().tx().opt(GET, few_or_many).await.unwrap_err();
        assert!(matches!(error.kind, Kind::Defect { .. }), "{error:?}");
    }
}

async fn a_number_that_no_column_holds_is_refused(store: &Store) {
    let put = change(|tx| {
        Box::pin(async move {
            tx.execute(PUT, args!["large", 1_u64 << 63, "", Value::Null]).await?;
            Ok(Done::Commit(()))
        })
    });
    assert_eq!(store.write(put).await.unwrap_err().kind, Kind::Sql);
    assert!(store.snapshot().await.unwrap().tx().opt(GET, args!["large"]).await.unwrap().is_none());
}

async fn a_value_of_another_type_is_refused(store: &Store) {
    let wrong = [
        (Value::from("x"), Value::Null, Value::Null),
        (Value::from(&[1_u8]), Value::Null, Value::Null),
        (Value::Null, Value::from(&[0xff_u8]), Value::Null),
        (Value::Null, Value::Null, Value::from("x")),
        (Value::Null, Value::Null, Value::Int(1)),
    ];
    for (number, words, bytes) in wrong {
        let put = change(move |tx| {
            let (number, words, bytes) = (number.clone(), words.clone(), bytes.clone());
            Box::pin(async move {
                tx.execute(PUT, args!["wrong", number, words, bytes]).await?;
                Ok(Done::Commit(()))
            })
        });
        assert_eq!(store.write(put).await.unwrap_err().kind, Kind::Sql);
    }
}

async fn a_value_that_does_not_parse_is_an_error(store: &Store) {
    let row = round_trip(store, Value::Int(2), "no digest".into(), Value::from(&[0_u8])).await;
    assert_eq!(row.get::<bool>(0).unwrap_err().kind, Kind::Corrupt { column: 0 });
    assert_eq!(row.get::<Digest>(1).unwrap_err().kind, Kind::Corrupt { column: 1 });
    let error = row.get::<Uid>(2).unwrap_err();
    assert_eq!((error.operation, error.kind), (GET, Kind::Corrupt { column: 2 }));
}

async fn an_upsert_returns_its_row(store: &Store) {
    let next = || {
        change(|tx| {
            Box::pin(async move {
                let sql = "INSERT INTO test_stream (id, head) VALUES ($1, 1)
                    ON CONFLICT (id) DO UPDATE SET head = test_stream.head + 1 RETURNING head";
                Ok(Done::Commit(tx.one(sql, args!["upsert"]).await?.get::<i64>(0)?))
            })
        })
    };
    assert_eq!(store.write(next()).await.unwrap(), 1);
    assert_eq!(store.write(next()).await.unwrap(), 2);
    let absent = change(|tx| {
        Box::pin(async move {
            let sql = "INSERT INTO test_stream (id, head) VALUES ($1, 1) ON CONFLICT DO NOTHING RETURNING head";
            Ok(Done::Commit(tx.opt(sql, args!["upsert"]).await?.is_none()))
        })
    });
    assert!(store.write(absent).await.unwrap());
}

async fn one_and_opt_count_their_rows(store: &Store) {
    let two = "SELECT 1 UNION ALL SELECT 2";
    let none = "SELECT number FROM test_value WHERE id = 'none'";
    let defect = |kind| matches!(kind, Kind::Defect { .. });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!(tx.all(two, args![]).await.unwrap().len(), 2);
    assert!(defect(tx.opt(two, args![]).await.unwrap_err().kind));
    assert!(tx.opt(none, args![]).await.unwrap().is_none());
    assert!(defect(tx.one(none, args![]).await.unwrap_err().kind));
}

async fn text_sorts_by_its_bytes(store: &Store) {
    let sorted = ["A-b", "A.a", "B", "a", "a/b", "ab", "\u{e9}"];
    let put = change(move |tx| {
        Box::pin(async move {
            for word in sorted.iter().rev() {
                tx.execute(PUT, args![format!("sort {word}"), 0_i64, *word, Value::Null]).await?;
            }
            Ok(Done::Commit(()))
        })
    });
    store.write(put).await.unwrap();
    let sql = "SELECT words FROM test_value WHERE id > 'sort' AND id < 'sort~' AND words > $1 ORDER BY words LIMIT $2";
    let rows = store.snapshot().await.unwrap().tx().all(sql, args!["A-b", 10_i64]).await.unwrap();
    let words: Vec<&str> = rows.iter().map(|row| row.get(0).unwrap()).collect();
    assert_eq!(words, sorted[1..]);
}
