//! What a registry holds, written and read back: repositories, blobs and their links, images, uploads.

use super::super::blobs::{BlobRow, LinkRow, WrappedKey};
use super::super::claims::ClaimRow;
use super::super::images::{EdgeKind, ManifestRow, ReferrerRow, TagRow};
use super::super::locks::LockRow;
use super::super::registries::{Registry, Settings, StoredPolicy};
use super::super::repositories::{BranchKeyRow, RepositoryRow};
use super::super::uploads::{Progress, UploadRow};
use super::super::{Done, Error, Store, Tx};
use super::nouns::{account, at, commit, key_arn, once, page, uid};
use super::{Case, cases};
use crate::clock::Clock;
use crate::names::{AccountId, Algorithm, Digest, MediaType, Profile, Protected, RepositoryName, Tag, TagMutability};
use std::collections::BTreeMap;

pub(super) const CASES: &[Case] = cases![
    registries_and_repositories_keep_policies_and_keys,
    links_are_the_only_way_to_a_blob_and_leases_keep_them,
    content_under_another_algorithm_is_another_object,
    images_have_edges_tags_and_the_tags_that_reach_them,
    uploads_move_forward_only_from_where_they_are,
    claims_stand_for_their_principal_until_they_end,
    locks_keep_what_they_are_on_and_what_it_needs,
];

fn wrapped() -> WrappedKey {
    WrappedKey { branch_version: 1, salt: [3; 16], wrapped: [4; 48] }
}

pub(super) async fn repository(store: &Store, seed: u64) -> RepositoryRow {
    let row = RepositoryRow {
        uid: uid(),
        account: account(seed),
        name: RepositoryName::parse("team/app").unwrap(),
        kms_key: key_arn(seed),
        branch_version: 1,
        sparse_manifests: None,
        tag_mutability: TagMutability::Immutable,
        public: false,
        policy: None,
        created_at: at(1),
    };
    let branch = BranchKeyRow { version: 1, kms_key: row.kms_key.clone(), wrapped: vec![9; 40] };
    let (kept, registry) = (row.clone(), Registry::unmade(row.account));
    let new = commit!(store, |tx| {
        tx.registry_insert(&registry, at(1)).await?;
        let new = tx.repository_insert(&kept, &branch).await?;
        let again =
            tx.repository_insert(&RepositoryRow { uid: Clock::system().uid(), ..kept.clone() }, &branch).await?;
        (new, again)
    });
    assert_eq!(new, (true, false), "a name is taken once");
    row
}

async fn registries_and_repositories_keep_policies_and_keys(store: &Store) {
    let row = repository(store, 20).await;
    let policy = StoredPolicy { text: "{}".to_owned(), bindings: BTreeMap::from([("a".to_owned(), "b".to_owned())]) };
    let (kept, id, owner) = (policy.clone(), row.uid, row.account);
    let chosen = Settings { create_on_push: true, sparse_manifests: true, profile: Profile::Ecr };
    let tag_mutability = TagMutability::parse("MUTABLE_WITH_EXCLUSION v* release").unwrap();
    let except = tag_mutability.clone();
    commit!(store, |tx| {
        tx.repository_policy_set(id, Some(&kept)).await?;
        tx.registry_policy_set(owner, Some(&kept)).await?;
        tx.registry_settings_set(owner, &chosen).await?;
        tx.repository_sparse_set(id, Some(true)).await?;
        tx.repository_mutability_set(id, &except).await?;
        tx.repository_public_set(id, true).await?;
        tx.registry_key_set(owner, &key_arn(20)).await?;
        tx.registry_key_set(owner, &key_arn(21)).await?;
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    let registry = tx.registry(owner).await.unwrap().unwrap();
    assert_eq!((registry.settings, registry.kms_key.clone()), (chosen, Some(key_arn(20))));
    assert_eq!(registry.policy.as_ref(), Some(&policy));
    let found = tx.repository(owner, &row.name).await.unwrap().unwrap();
    let expected = RepositoryRow {
        policy: Some(policy),
        sparse_manifests: Some(true),
        tag_mutability,
        public: true,
        ..row.clone()
    };
    assert_eq!(found, expected);
    assert_eq!(tx.repository_by_uid(row.uid).await.unwrap(), Some(found.clone()));
    assert_eq!(tx.repository_list(owner, "", page()).await.unwrap(), [found]);
    assert_eq!(tx.branch_key(row.uid, 1).await.unwrap().unwrap().wrapped, vec![9; 40]);
    assert_eq!(tx.branch_key(row.uid, 2).await.unwrap(), None);
    assert!(!tx.repository_has_images(row.uid).await.unwrap());
    drop(snapshot);
    commit!(store, |tx| { tx.repository_delete(id).await? });
    assert_eq!(store.snapshot().await.unwrap().tx().repository(owner, &row.name).await.unwrap(), None);
}

pub(super) fn blob(row: &RepositoryRow, content: &[u8]) -> BlobRow {
    BlobRow {
        uid: uid(),
        account: row.account,
        kms_key: row.kms_key.clone(),
        digest: Digest::of(content),
        sha256: None,
        size: content.len() as u64,
        segment: 65_536,
        parts: vec![1; 44],
        commitment: [2; 32],
        verified_at: at(5),
        quarantined_at: None,
    }
}

pub(super) fn link(row: &RepositoryRow, blob: &BlobRow, source_account: Option<AccountId>, lease: i64) -> LinkRow {
    LinkRow {
        repository: row.uid,
        digest: blob.digest,
        blob: blob.uid,
        key: wrapped(),
        source_account,
        lease_until: at(lease),
    }
}

async fn content_under_another_algorithm_is_another_object(store: &Store) {
    let row = repository(store, 35).await;
    let named = |algorithm| Digest::hash(algorithm, b"content");
    let short = BlobRow { digest: named(Algorithm::Sha256), ..blob(&row, b"content") };
    let long = BlobRow { uid: uid(), digest: named(Algorithm::Sha512), sha256: Some(short.digest), ..short.clone() };
    let image = ManifestRow { digest: long.digest, sha256: long.sha256, ..manifest(&row, "content", None) };
    let kept = (short.clone(), long.clone(), image.clone());
    let edges = [link(&row, &short, None, 100), link(&row, &long, None, 100)];
    commit!(store, |tx| {
        for (object, edge) in [&kept.0, &kept.1].into_iter().zip(&edges) {
            tx.blob_insert(object, at(5)).await?;
            tx.link_insert(edge, "", at(5)).await?;
        }
        tx.manifest_insert(&kept.2, &[]).await?;
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    for object in [short, long] {
        assert_eq!(tx.link(row.uid, &object.digest).await.unwrap().unwrap().1, object);
    }
    assert_eq!(tx.link_list(row.uid, "", 10).await.unwrap().len(), 2);
    assert_eq!(tx.manifest(row.uid, &image.digest).await.unwrap(), Some(image.clone()));
    assert_eq!(tx.manifest(row.uid, &image.sha256.unwrap()).await.unwrap(), None);
}

async fn links_are_the_only_way_to_a_blob_and_leases_keep_them(store: &Store) {
    let row = repository(store, 30).await;
    let stored = blob(&row, b"layer");
    let (kept, edge) = (stored.clone(), link(&row, &stored, None, 100));
    let again = LinkRow { source_account: Some(account(31)), lease_until: at(50), ..edge.clone() };
    commit!(store, |tx| {
        tx.blob_insert(&kept, at(5)).await?;
        tx.link_insert(&edge, "", at(5)).await?;
        tx.link_insert(&again, "", at(6)).await?;
        tx.blob_verified(kept.uid, at(7)).await?;
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    let (found, object) = tx.link(row.uid, &stored.digest).await.unwrap().unwrap();
    assert_eq!((found.lease_until, found.source_account), (at(100), Some(account(31))), "the longer lease stays");
    assert_eq!(object, BlobRow { verified_at: at(7), ..stored.clone() });
    assert!(tx.link_exists(row.uid, &stored.digest).await.unwrap());
    assert_eq!(tx.link(uid(), &stored.digest).await.unwrap(), None);
    assert_eq!(tx.link_list(row.uid, "", 10).await.unwrap().len(), 1);
    let elsewhere = |source| (row.account, row.kms_key.clone(), stored.digest, source);
    for (source, known) in [(None, true), (Some(account(31)), true), (Some(account(32)), false)] {
        let (owner, key, digest, source) = elsewhere(source);
        assert_eq!(tx.link_elsewhere(owner, &key, &digest, source).await.unwrap().is_some(), known, "{source:?}");
    }
    for (owner, key, held) in [(20, 30, false), (30, 20, false), (30, 30, true)] {
        let names = tx.link_holders(account(owner), &key_arn(key), &stored.digest, 10).await.unwrap();
        assert_eq!(names, if held { vec![row.name.clone()] } else { Vec::new() });
    }
    drop(snapshot);
    let (repository, digest, object) = (row.uid, stored.digest, stored.uid);
    let (owner, size) = (row.account, stored.size);
    let swept = commit!(store, |tx| {
        let leased = tx.link_lease(repository, &digest, at(150), None).await?;
        let early = tx.link_sweep(at(149)).await?;
        tx.blob_condemn(at(149)).await?;
        let none = tx.blob_condemned(at(149), 10).await?.into_iter().any(|(_, found, _)| found == object);
        let late = tx.link_sweep(at(151)).await?;
        let condemned = tx.blob_condemn(at(151)).await?;
        let early_yet = tx.blob_condemned(at(150), 10).await?.into_iter().any(|(_, found, _)| found == object);
        let due = tx.blob_condemned(at(151), 10).await?.contains(&(owner, object, size));
        (leased, early, none, late >= 1, condemned >= 1, early_yet, due)
    });
    assert_eq!(swept, (true, 0, false, true, true, false, true));
    let edge = link(&row, &stored, None, 500);
    let linked = commit!(store, |tx| {
        let linked = tx.link_insert(&edge, "", at(152)).await?;
        tx.blob_forget(object).await?;
        tx.link_delete(repository, &digest).await?;
        linked
    });
    assert!(!linked, "a condemned object takes no link");
}

pub(super) fn manifest(row: &RepositoryRow, content: &str, subject: Option<Digest>) -> ManifestRow {
    ManifestRow {
        repository: row.uid,
        digest: Digest::of(content.as_bytes()),
        sha256: None,
        media_type: MediaType::parse("application/vnd.oci.image.manifest.v1+json").unwrap(),
        artifact_type: subject.map(|_| "application/x".to_owned()),
        annotations: Some("{}".to_owned()),
        subject,
        size: 10,
        total_size: 20,
        uid: uid(),
        key: wrapped(),
        parts: vec![1; 44],
        commitment: [2; 32],
        sealed: vec![3; 60],
        pushed_at: at(9),
    }
}

async fn images_have_edges_tags_and_the_tags_that_reach_them(store: &Store) {
    let row = repository(store, 40).await;
    let layer = Digest::of(b"shared layer");
    let (child, index) = (manifest(&row, "child", None), manifest(&row, "index", None));
    let signature = manifest(&row, "signature", Some(index.digest));
    let tags = ["dev", "v1"].map(|tag| TagRow {
        tag: Tag::parse(tag).unwrap(),
        digest: if tag == "dev" { child.digest } else { index.digest },
        version: 1,
        origin: "here".to_owned(),
    });
    let (kept, moved, marks) = ((child.clone(), index.clone(), signature.clone()), row.uid, tags.clone());
    commit!(store, |tx| {
        tx.manifest_insert(&kept.0, &[(EdgeKind::Blob, layer)]).await?;
        tx.manifest_insert(&kept.0, &[(EdgeKind::Blob, layer)]).await?;
        tx.manifest_insert(&kept.1, &[(EdgeKind::Child, kept.0.digest)]).await?;
        tx.manifest_insert(&kept.2, &[(EdgeKind::Subject, kept.1.digest)]).await?;
        for mark in &marks {
            tx.tag_put(moved, mark, at(9)).await?;
        }
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!(tx.manifest(row.uid, &child.digest).await.unwrap(), Some(child.clone()));
    assert_eq!(tx.manifest_by_tag(row.uid, &tags[1].tag).await.unwrap(), Some(index.clone()));
    assert!(tx.manifest_exists(row.uid, &index.digest).await.unwrap());
    assert_eq!(tx.manifest_list(row.uid, "", page()).await.unwrap().len(), 3);
    referrers_are_listed_by_type_and_in_pages(&mut tx, &index, &signature).await;
    assert_eq!(tx.edge_children(row.uid, &index.digest, EdgeKind::Child).await.unwrap(), [child.digest]);
    assert!(tx.edge_parent_exists(row.uid, &layer, EdgeKind::Blob).await.unwrap());
    assert_eq!(tx.tag(row.uid, &tags[0].tag).await.unwrap(), Some(tags[0].clone()));
    assert_eq!(tx.tag_list(row.uid, "", 10).await.unwrap(), tags);
    assert_eq!(tx.tag_list(row.uid, "dev", 10).await.unwrap(), tags[1..]);
    assert_eq!(tx.tags_of_manifest(row.uid, &child.digest).await.unwrap(), [tags[0].tag.clone()]);
    let both = [tags[0].tag.clone(), tags[1].tag.clone()];
    assert_eq!(tx.tags_reaching_manifest(row.uid, &child.digest).await.unwrap(), both);
    assert_eq!(tx.tags_reaching_blob(row.uid, &layer).await.unwrap(), both);
    assert_eq!(tx.tags_reaching_manifest(row.uid, &index.digest).await.unwrap(), both[1..]);
    assert_eq!(tx.tags_reaching_manifest(row.uid, &signature.digest).await.unwrap(), both[1..], "by its subject");
    assert_eq!(tx.tags_reaching_blob(row.uid, &Digest::of(b"none")).await.unwrap(), []);
    drop(snapshot);
    let stored = blob(&row, b"shared layer");
    let (edge, holder, parent) = (link(&row, &stored, None, 10), row.uid, child.digest);
    commit!(store, |tx| {
        tx.blob_insert(&stored, at(5)).await?;
        tx.link_insert(&edge, "", at(5)).await?;
        tx.link_lease_of_manifest(holder, &parent, at(70)).await?;
        tx.link_lease_of_manifest(holder, &parent, at(60)).await?;
    });
    let (leased, _) = store.snapshot().await.unwrap().tx().link(row.uid, &layer).await.unwrap().unwrap();
    assert_eq!(leased.lease_until, at(70), "and not the shorter one");
    let (repository, dev, gone) = (row.uid, tags[0].tag.clone(), index.digest);
    let deleted = commit!(store, |tx| {
        (
            tx.tag_delete(repository, &dev).await?,
            tx.tag_delete(repository, &dev).await?,
            tx.manifest_delete(repository, &gone).await?,
        )
    });
    assert_eq!(deleted, (true, false, true));
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.tx().tag_list(row.uid, "", 10).await.unwrap(), []);
}

async fn locks_keep_what_they_are_on_and_what_it_needs(store: &Store) {
    let row = repository(store, 45).await;
    let (child, index) = (manifest(&row, "child", None), manifest(&row, "index", None));
    let tag = Tag::parse("v1").unwrap();
    let mark = TagRow { tag: tag.clone(), digest: index.digest, version: 1, origin: "here".to_owned() };
    let lock = |object| LockRow { object, reason: "why".to_owned(), creator: "who".to_owned(), created_at: at(3) };
    let locks = [Protected::Repository, Protected::Digest(index.digest), Protected::Tag(tag.clone())].map(lock);
    let (id, kept) = (row.uid, (child.clone(), index.clone()));
    commit!(store, |tx| {
        tx.manifest_insert(&kept.0, &[]).await?;
        tx.manifest_insert(&kept.1, &[(EdgeKind::Child, kept.0.digest)]).await?;
        tx.tag_put(id, &mark, at(1)).await?;
    });
    for lock in &locks {
        let mut snapshot = store.snapshot().await.unwrap();
        assert_eq!(snapshot.tx().lock_reaching_manifest(id, &child.digest).await.unwrap(), None);
        drop(snapshot);
        let new = lock.clone();
        let set = commit!(store, |tx| { (tx.lock_insert(id, &new).await?, tx.lock_insert(id, &new).await?) });
        assert_eq!(set, (true, false), "an object has one lock");
        let mut snapshot = store.snapshot().await.unwrap();
        let mut tx = snapshot.tx();
        for kept in [&child, &index] {
            assert_eq!(tx.lock_reaching_manifest(id, &kept.digest).await.unwrap().as_ref(), Some(lock));
        }
        assert_eq!(tx.lock_list(id, None, 9).await.unwrap(), std::slice::from_ref(lock));
        let own = |object: &Protected| (lock.object == *object).then(|| lock.clone());
        assert_eq!(tx.lock_of_tag(id, &tag).await.unwrap(), own(&Protected::Tag(tag.clone())));
        assert_eq!(tx.lock_of_repository(id).await.unwrap(), own(&Protected::Repository));
        drop(snapshot);
        let object = lock.object.clone();
        let ended = commit!(store, |tx| { (tx.lock_delete(id, &object).await?, tx.lock_delete(id, &object).await?) });
        assert_eq!(ended, (true, false));
    }
    let all = locks.clone();
    commit!(store, |tx| {
        for lock in &all {
            tx.lock_insert(id, lock).await?;
        }
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let rest = snapshot.tx().lock_list(id, Some(""), 1).await.unwrap();
    assert_eq!(rest, locks[1..2], "after the repository's own comes the digest's");
}

async fn referrers_are_listed_by_type_and_in_pages(tx: &mut Tx<'_>, subject: &ManifestRow, referrer: &ManifestRow) {
    let (repository, own) = (subject.repository, referrer.digest.to_string());
    let cases = [
        (None, "", 9, true),
        (None, "", 0, false),
        (None, own.as_str(), 9, false),
        (Some("application/x"), "", 9, true),
        (Some("application/y"), "", 9, false),
    ];
    for (kind, after, limit, found) in cases {
        let sizes = tx.referrer_sizes(repository, &subject.digest, kind, after, limit).await.unwrap();
        assert_eq!(sizes, if found { vec![(referrer.digest, referrer.size)] } else { Vec::new() }, "{kind:?} {after}");
        let rows = tx.referrer_list(repository, &subject.digest, kind, after, &referrer.digest).await.unwrap();
        let expected = ReferrerRow {
            digest: referrer.digest,
            media_type: referrer.media_type.clone(),
            artifact_type: referrer.artifact_type.clone(),
            annotations: referrer.annotations.clone(),
            size: referrer.size,
        };
        assert_eq!(rows, if found || limit == 0 { vec![expected] } else { Vec::new() }, "{kind:?} {after}");
    }
}

async fn uploads_move_forward_only_from_where_they_are(store: &Store) {
    let row = repository(store, 50).await;
    let upload = UploadRow {
        uid: uid(),
        repository: row.uid,
        principal: "AIDA1".to_owned(),
        blob: uid(),
        key: wrapped(),
        size: 0,
        parts: Vec::new(),
        hash_state: Vec::new(),
        sha512: true,
        digest: Some(Digest::of(b"x")),
        expires_at: at(100),
    };
    let (kept, to) = (upload.clone(), Progress { size: 5, parts: vec![1; 44], hash_state: vec![2; 60] });
    let id = upload.uid;
    let moved = commit!(store, |tx| {
        tx.upload_insert(&kept, at(1)).await?;
        (tx.upload_advance(id, 0, &to, at(200)).await?, tx.upload_advance(id, 0, &to, at(200)).await?)
    });
    assert_eq!(moved, (true, false));
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    let found = tx.upload(row.uid, id).await.unwrap().unwrap();
    assert_eq!((found.size, found.hash_state.len(), found.expires_at, found.sha512), (5, 60, at(200), true));
    assert_eq!(tx.upload(uid(), id).await.unwrap(), None);
    assert_eq!(tx.upload_of_digest(row.uid, "AIDA1", &Digest::of(b"x")).await.unwrap(), Some(found));
    assert_eq!(tx.upload_count(row.uid, "AIDA1").await.unwrap(), 1);
    assert!(tx.upload_exists(id).await.unwrap());
    drop(snapshot);
    let ended = commit!(store, |tx| {
        let expired = tx.upload_expired(at(201), 1_000).await?.into_iter().any(|(found, _, _)| found == id);
        (expired, tx.upload_delete(id).await?, tx.upload_delete(id).await?)
    });
    assert_eq!(ended, (true, true, false));
}

async fn claims_stand_for_their_principal_until_they_end(store: &Store) {
    let row = repository(store, 60).await;
    let digest = Digest::of(b"brought");
    let claim = ClaimRow { repository: row.uid, digest, principal: "AIDA1".to_owned(), expires_at: at(100) };
    let earlier = ClaimRow { expires_at: at(50), ..claim.clone() };
    commit!(store, |tx| {
        tx.claim_put(&claim).await?;
        tx.claim_put(&earlier).await?;
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert!(tx.claim_stands(row.uid, &digest, "AIDA1", at(99)).await.unwrap(), "the later end stays");
    assert!(!tx.claim_stands(row.uid, &digest, "AIDA1", at(100)).await.unwrap());
    assert!(!tx.claim_stands(row.uid, &digest, "AIDA2", at(99)).await.unwrap());
    assert!(!tx.claim_stands(uid(), &digest, "AIDA1", at(99)).await.unwrap());
    assert!(!tx.claim_stands(row.uid, &Digest::of(b"other"), "AIDA1", at(99)).await.unwrap());
    drop(snapshot);
    let swept = commit!(store, |tx| { (tx.claim_sweep(at(99)).await?, tx.claim_sweep(at(100)).await? >= 1) });
    assert_eq!(swept, (0, true));
}
