//! What is damaged, what the collector and the scrubber did, and who holds a copy.

use super::super::blobs::BlobRow;
use super::super::collections::{CollectionRow, Swept};
use super::super::images::EdgeKind;
use super::super::quarantines::QuarantineRow;
use super::super::receipts::{Inbound, ReceiptRow};
use super::super::repositories::{BranchKeyRow, RepositoryRow};
use super::super::rules::Destination;
use super::super::{Done, Error, Store};
use super::content::{blob, link, manifest, repository};
use super::nouns::{account, at, commit, key_arn, once, region, uid};
use super::{Case, cases};
use crate::names::{Digest, Region, RepositoryName, Uid};
use std::time::Duration;

pub(super) const CASES: &[Case] = cases![
    what_is_damaged_is_not_there_until_another_object_takes_its_place,
    quarantines_are_listed_in_order_tried_again_and_forgotten,
    the_oldest_objects_are_read_first_and_each_once,
    copies_are_the_other_sound_objects_of_the_account,
    runs_are_kept_up_to_a_number_and_their_sums_for_ever,
    work_is_one_nodes_until_its_lease_ends,
    who_had_a_blob_is_proven_by_a_receipt_or_by_its_arrival,
];

async fn all(store: &Store, row: &RepositoryRow) -> Vec<QuarantineRow> {
    let rows = store
        .snapshot()
        .await
        .unwrap()
        .tx()
        .quarantine_list((at(0), Uid::from_bytes([0; 16]), Uid::from_bytes([0; 16])), 1_000)
        .await
        .unwrap();
    rows.into_iter().filter(|found| found.repository == row.uid).collect()
}

async fn what_is_damaged_is_not_there_until_another_object_takes_its_place(store: &Store) {
    let row = repository(store, 120).await;
    let (bad, good) = (blob(&row, b"layer"), blob(&row, b"layer"));
    let (edge, other) = (link(&row, &bad, Some(account(121)), 100), link(&row, &good, None, 200));
    let (kept, new) = (bad.clone(), good.clone());
    let (repository, digest, object) = (row.uid, bad.digest, bad.uid);
    let marked = commit!(store, |tx| {
        tx.blob_insert(&kept, at(5)).await?;
        tx.link_insert(&edge, "", at(5)).await?;
        let early = tx.quarantine_insert(object, repository, "torn", at(9)).await?;
        let marked = (tx.blob_quarantine(object, at(9)).await?, tx.blob_quarantine(object, at(10)).await?);
        let noted = tx.quarantine_insert(object, repository, "torn", at(9)).await?;
        let again = tx.quarantine_insert(object, repository, "torn", at(9)).await?;
        assert!(
            tx.link_repositories(object, Uid::from_bytes([0; 16]), 10).await?.iter().all(|(_, _, _, noted)| *noted)
        );
        let leased = tx.link_lease(repository, &digest, at(900), None).await?;
        let linked = tx.link_insert(&edge, "", at(9)).await?;
        (early, marked, noted, again, leased, linked)
    });
    assert_eq!(marked, (false, (true, false), true, false, false, false));
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert!(!tx.link_exists(row.uid, &digest).await.unwrap());
    assert_eq!(tx.link(row.uid, &digest).await.unwrap().unwrap().1.quarantined_at, Some(at(9)));
    assert_eq!(tx.link_elsewhere(row.account, &row.kms_key, &digest, None).await.unwrap(), None);
    assert!(tx.link_holders(row.account, &row.kms_key, &digest, 10).await.unwrap().is_empty());
    drop(snapshot);
    commit!(store, |tx| {
        tx.blob_insert(&new, at(11)).await?;
        assert!(tx.link_insert(&other, "a push", at(11)).await?);
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    let (found, object) = tx.link(row.uid, &digest).await.unwrap().unwrap();
    assert_eq!((found.blob, found.lease_until, found.source_account), (good.uid, at(200), Some(account(121))));
    assert_eq!(object, good);
    assert!(tx.link_exists(row.uid, &digest).await.unwrap());
    drop(snapshot);
    let [settled] = &all(store, &row).await[..] else { panic!("one quarantine") };
    assert_eq!((settled.repaired_at, settled.repaired_from.as_deref()), (Some(at(11)), Some("a push")));
    assert_eq!((settled.blob, settled.digest, settled.reason.as_str()), (bad.uid, digest, "torn"));
    assert_eq!((settled.account, &settled.name, settled.size), (row.account, &row.name, bad.size));
    let swept = commit!(store, |tx| {
        // What took the damaged object's place leaves it without a link.
        tx.blob_condemn(at(12)).await?;
        let due = tx.blob_condemned(at(12), 1_000).await?.into_iter().any(|(_, found, _)| found == bad.uid);
        let (count, bytes) = tx.blob_condemned_count(at(12)).await?;
        tx.blob_forget(bad.uid).await?;
        (due, count >= 1, bytes >= bad.size)
    });
    assert_eq!(swept, (true, true, true));
}

async fn quarantines_are_listed_in_order_tried_again_and_forgotten(store: &Store) {
    let row = repository(store, 122).await;
    let objects = [blob(&row, b"one"), blob(&row, b"two"), blob(&row, b"three")];
    let (kept, edges) = (objects.clone(), objects.clone().map(|object| link(&row, &object, None, 100)));
    let repository = row.uid;
    commit!(store, |tx| {
        for ((object, edge), secs) in kept.iter().zip(&edges).zip(20..) {
            tx.blob_insert(object, at(5)).await?;
            tx.link_insert(edge, "", at(5)).await?;
            tx.blob_quarantine(object.uid, at(secs)).await?;
            tx.quarantine_insert(object.uid, repository, "torn", at(secs)).await?;
        }
    });
    let found = all(store, &row).await;
    assert_eq!(found.iter().map(|row| row.blob).collect::<Vec<_>>(), objects.clone().map(|object| object.uid));
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    let behind = (found[0].quarantined_at, found[0].blob, found[0].repository);
    let next = tx.quarantine_list(behind, 1).await.unwrap();
    assert_eq!(next.into_iter().filter(|next| next.repository == row.uid).collect::<Vec<_>>(), found[1..2]);
    assert_eq!(tx.quarantine_waiting(Some(row.uid), at(30), 10).await.unwrap(), found);
    assert!(tx.quarantine_waiting(None, at(30), 1_000).await.unwrap().contains(&found[2]));
    assert!(tx.quarantine_count().await.unwrap() >= 3);
    assert_eq!(tx.link_count(row.uid).await.unwrap(), 3);
    drop(snapshot);
    let (first, second) = (objects[0].uid, objects[1].digest);
    commit!(store, |tx| {
        tx.quarantine_tried(first, repository, "no copy", at(40)).await?;
        tx.link_delete(repository, &second).await?;
    });
    let waiting = store.snapshot().await.unwrap().tx().quarantine_waiting(Some(row.uid), at(40), 10).await.unwrap();
    assert_eq!(waiting, found[2..], "neither what was just tried nor what nothing links");
    let again = store.snapshot().await.unwrap().tx().quarantine_waiting(Some(row.uid), at(41), 10).await.unwrap();
    assert_eq!(again.len(), 2);
    assert_eq!((again[1].tried_at, again[1].last_error.as_deref()), (Some(at(40)), Some("no copy")));
    commit!(store, |tx| {
        tx.quarantine_sweep(at(0)).await?;
    });
    assert_eq!(all(store, &row).await.len(), 2, "what nothing links is forgotten");
}

async fn the_oldest_objects_are_read_first_and_each_once(store: &Store) {
    let row = repository(store, 123).await;
    let other = RepositoryRow { uid: uid(), name: RepositoryName::parse("team/other").unwrap(), ..row.clone() };
    let branch = BranchKeyRow { version: 1, kms_key: row.kms_key.clone(), wrapped: vec![9; 40] };
    let verified = |content: &[u8], secs: i64| BlobRow { verified_at: at(-secs), ..blob(&row, content) };
    let (old, older, damaged, alone) = (verified(b"a", 10), verified(b"b", 20), verified(b"c", 30), verified(b"d", 40));
    let objects = [old.clone(), older.clone(), damaged.clone(), alone.clone()];
    let edges = [link(&row, &old, None, 1), link(&row, &older, None, 1), link(&row, &damaged, None, 1)];
    let twice = link(&other, &older, None, 1);
    let (second, bad) = (other.clone(), damaged.uid);
    commit!(store, |tx| {
        tx.repository_insert(&second, &branch).await?;
        for object in &objects {
            tx.blob_insert(object, at(5)).await?;
        }
        for edge in edges.iter().chain([&twice]) {
            tx.link_insert(edge, "", at(5)).await?;
        }
        tx.blob_quarantine(bad, at(5)).await?;
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    let first = (at(-1_000), Uid::from_bytes([0; 16]));
    let due = tx.blob_unverified(at(0), first, 10).await.unwrap();
    assert_eq!(due.iter().map(|(_, object)| object.uid).collect::<Vec<_>>(), [older.uid, old.uid]);
    let behind = tx.blob_unverified(at(0), (older.verified_at, older.uid), 10).await.unwrap();
    assert_eq!(behind.len(), 1);
    assert_eq!(tx.blob_unverified_count(at(0)).await.unwrap(), (2, Some(at(-20))));
    let holders = tx.link_repositories(older.uid, Uid::from_bytes([0; 16]), 10).await.unwrap();
    assert_eq!(tx.link_repositories(older.uid, holders[0].0, 10).await.unwrap(), holders[1..]);
    let names: Vec<_> = holders.into_iter().map(|(_, owner, name, noted)| (owner, name, noted)).collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&(row.account, other.name, false)), "{names:?}");
    drop(snapshot);
    commit!(store, |tx| {
        for object in [old.uid, older.uid] {
            tx.blob_verified(object, at(50)).await?;
        }
    });
    let none = store.snapshot().await.unwrap().tx().blob_unverified_count(at(0)).await.unwrap();
    assert_eq!(none.0, 0);
}

async fn copies_are_the_other_sound_objects_of_the_account(store: &Store) {
    let row = repository(store, 124).await;
    let other = RepositoryRow {
        uid: uid(),
        name: RepositoryName::parse("team/other").unwrap(),
        kms_key: key_arn(99),
        ..row.clone()
    };
    let branch = BranchKeyRow { version: 1, kms_key: other.kms_key.clone(), wrapped: vec![9; 40] };
    let (bad, copy) = (blob(&row, b"layer"), blob(&other, b"layer"));
    let edges = [link(&row, &bad, None, 1), link(&other, &copy, None, 1)];
    let (objects, second) = ([bad.clone(), copy.clone()], other.clone());
    commit!(store, |tx| {
        tx.repository_insert(&second, &branch).await?;
        for (object, edge) in objects.iter().zip(&edges) {
            tx.blob_insert(object, at(5)).await?;
            tx.link_insert(edge, "", at(5)).await?;
        }
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let copies = snapshot.tx().link_copies(row.account, &bad.digest, bad.uid, 10).await.unwrap();
    assert_eq!(copies.into_iter().map(|(_, object)| object.uid).collect::<Vec<_>>(), [copy.uid]);
    assert!(snapshot.tx().link_copies(account(125), &bad.digest, bad.uid, 10).await.unwrap().is_empty());
    drop(snapshot);
    let object = copy.uid;
    commit!(store, |tx| {
        tx.blob_quarantine(object, at(6)).await?;
    });
    let copies = store.snapshot().await.unwrap().tx().link_copies(row.account, &bad.digest, bad.uid, 10).await;
    assert!(copies.unwrap().is_empty(), "a damaged copy is none");
}

async fn runs_are_kept_up_to_a_number_and_their_sums_for_ever(store: &Store) {
    let run = |secs| CollectionRow {
        id: uid(),
        started_at: at(secs),
        took: Duration::from_micros(1_234),
        swept: Swept {
            uploads: 1,
            links: 2,
            condemned: 3,
            objects: 4,
            bytes: 5,
            errors: 6,
            last_error: Some("the disk is full".to_owned()),
        },
    };
    let runs = [run(1), run(2), run(3)];
    let kept = runs.clone();
    let trimmed = commit!(store, |tx| {
        for run in &kept {
            tx.collection_insert(run).await?;
            tx.counter_add("case runs", 1).await?;
        }
        tx.counter_add("case nothing", 0).await?;
        tx.counter_set("case set", 7).await?;
        tx.counter_set("case set", 8).await?;
        tx.collection_trim(2).await?
    });
    assert_eq!(trimmed, 1);
    let mut snapshot = store.snapshot().await.unwrap();
    let [_, second, third] = runs;
    assert_eq!(snapshot.tx().collection_list(10).await.unwrap(), [third, second]);
    let sums = snapshot.tx().counters().await.unwrap();
    assert_eq!((sums["case runs"], sums["case set"]), (3, 8));
    assert!(!sums.contains_key("case nothing"));
}

async fn work_is_one_nodes_until_its_lease_ends(store: &Store) {
    let (one, two) = (uid(), uid());
    let taken = commit!(store, |tx| {
        (
            tx.lease_take("case", one, at(1), at(10)).await?,
            tx.lease_take("case", two, at(9), at(19)).await?,
            tx.lease_take("case", one, at(9), at(20)).await?,
            tx.lease_take("case", two, at(19), at(29)).await?,
            tx.lease_take("case", two, at(20), at(30)).await?,
            tx.lease_take("case", one, at(21), at(31)).await?,
        )
    });
    assert_eq!(taken, (true, false, true, false, true, false));
}

async fn who_had_a_blob_is_proven_by_a_receipt_or_by_its_arrival(store: &Store) {
    let row = repository(store, 126).await;
    let (layer, arrived, unproven) = (Digest::of(b"sent"), blob(&row, b"arrived"), blob(&row, b"pushed here"));
    let (child, index) = (manifest(&row, "child of 126", None), manifest(&row, "index of 126", None));
    let away = Region::parse("eu-west-1").unwrap();
    let receipt = ReceiptRow {
        repository: row.uid,
        digest: index.digest,
        destination: Destination { region: away.clone(), account: account(127) },
        tag: "v1".to_owned(),
        body: vec![1],
        signature: vec![2],
        certificate: vec![3],
        at: at(8),
    };
    let inbound = Inbound { source_region: region(), source: account(128), destination: row.account };
    let edges = [link(&row, &arrived, Some(account(128)), 1), link(&row, &unproven, None, 1)];
    let (objects, images) = ([arrived.clone(), unproven.clone()], (child.clone(), index));
    commit!(store, |tx| {
        tx.manifest_insert(&images.0, &[(EdgeKind::Blob, layer)]).await?;
        tx.manifest_insert(&images.1, &[(EdgeKind::Child, images.0.digest)]).await?;
        tx.receipt_put(&receipt).await?;
        tx.inbound_advance(&inbound, 0, 1).await?;
        for (object, edge) in objects.iter().zip(&edges) {
            tx.blob_insert(object, at(5)).await?;
            tx.link_insert(edge, "", at(5)).await?;
        }
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    let cases = [
        (layer, &away, 127, true),
        (layer, &away, 128, false),
        (layer, &region(), 127, false),
        (arrived.digest, &region(), 128, true),
        (arrived.digest, &away, 128, false),
        (arrived.digest, &region(), 127, false),
        (unproven.digest, &region(), 128, false),
        (unproven.digest, &away, 127, false),
    ];
    for (digest, asking, seed, proven) in cases {
        let found = tx.replica_proven(row.uid, &digest, asking, account(seed)).await.unwrap();
        assert_eq!(found, proven, "{digest} for account {seed} in {asking}");
    }
    let holders =
        |rows: Vec<Destination>| rows.into_iter().map(|there| (there.region, there.account)).collect::<Vec<_>>();
    assert_eq!(holders(tx.replica_holders(row.uid, &layer).await.unwrap()), [(away, account(127))]);
    assert_eq!(holders(tx.replica_holders(row.uid, &arrived.digest).await.unwrap()), [(region(), account(128))]);
    assert!(tx.replica_holders(row.uid, &unproven.digest).await.unwrap().is_empty());
}
