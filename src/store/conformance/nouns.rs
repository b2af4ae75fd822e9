//! Every noun of the schema, written and read back: each statement of the store runs here on each engine.

use super::super::audit::{Answer, AuditRow};
use super::super::blobs::{BlobRow, LinkRow, WrappedKey};
use super::super::directory::{AccessKeyRow, Account, Organization, Policy, PrincipalRow, TokenKeyRow};
use super::super::grants::{GrantAction, GrantRow};
use super::super::images::{EdgeKind, ManifestRow, TagRow};
use super::super::receipts::{Inbound, ReceiptRow};
use super::super::registries::{Registry, StoredPolicy};
use super::super::repositories::{BranchKeyRow, RepositoryRow};
use super::super::rules::{DeadLetter, Destination, RuleRow};
use super::super::sessions::{Cut, Revocation, SessionRow};
use super::super::streams::{ImageRef, NewChange};
use super::super::uploads::{Progress, UploadRow};
use super::super::{Apply, Done, Error, Store, Tx};
use super::{Case, cases};
use crate::clock::{Clock, Timestamp};
use crate::keys::{KeyRow, KeyRows, KeyState, Material};
use crate::names::{
    AccountId, Arn, Digest, MediaType, PageSize, PrincipalKind, PrincipalName, Region, RepositoryName, Tag, TagPattern,
    Uid,
};
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub(super) const CASES: &[Case] = cases![
    the_directory_keeps_what_it_is_given,
    sessions_and_revocations_last_as_long_as_they_can_matter,
    streams_are_gapless_and_cursors_never_move_back,
    registries_and_repositories_keep_policies_and_keys,
    links_are_the_only_way_to_a_blob_and_leases_keep_them,
    images_have_edges_tags_and_the_tags_that_reach_them,
    uploads_move_forward_only_from_where_they_are,
    grants_are_in_force_between_their_ends,
    rules_open_routes_and_slots_are_held_by_one,
    receipts_and_positions_of_replication_are_kept,
    audit_rows_and_answers_are_kept,
    the_keyring_keeps_every_version,
    a_node_claims_its_store,
];

/// Runs a change that must succeed, at the first try: nothing else writes meanwhile.
macro_rules! commit {
    ($store:expr, |$tx:ident| $body:block) => {
        $store.write(once(move |$tx| Box::pin(async move { Ok::<_, Error>(Done::Commit($body)) }))).await.unwrap()
    };
}

/// A change out of a closure that runs once.
struct Once<F>(Mutex<Option<F>>);

fn once<T, F>(apply: F) -> Arc<Once<F>>
where
    F: for<'a> FnOnce(&'a mut Tx<'_>) -> BoxFuture<'a, Result<Done<T>, Error>> + Send + 'static,
{
    Arc::new(Once(Mutex::new(Some(apply))))
}

impl<T, F> Apply for Once<F>
where
    T: Send + 'static,
    F: for<'a> FnOnce(&'a mut Tx<'_>) -> BoxFuture<'a, Result<Done<T>, Error>> + Send + 'static,
{
    type Out = T;
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Done<T>, Error> {
        let apply = self.0.lock().unwrap().take().expect("nothing else writes, so it runs once");
        apply(tx).await
    }
}

fn account(seed: u64) -> AccountId {
    AccountId::from_seed(seed)
}

fn region() -> Region {
    Region::parse("us-east-1").unwrap()
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn uid() -> Uid {
    Clock::system().uid()
}

fn page() -> PageSize {
    PageSize::clamp(100)
}

fn key_arn(seed: u64) -> Arn {
    Arn::new("kms", "us-east-1", Some(account(seed)), "key/k")
}

fn wrapped() -> WrappedKey {
    WrappedKey { branch_version: 1, salt: [3; 16], wrapped: [4; 48] }
}

async fn the_directory_keeps_what_it_is_given(store: &Store) {
    let organization = Organization { uid: uid(), home_region: region() };
    let kept = organization.clone();
    commit!(store, |tx| { tx.organization_insert(&kept, at(1)).await? });
    let owner = Account { id: account(1), display_name: "directory".to_owned(), created_at: at(1) };
    let kept = owner.clone();
    let taken = commit!(store, |tx| {
        let first = tx.account_put(&kept).await?;
        let second = tx.account_put(&Account { id: account(2), ..kept.clone() }).await?;
        tx.directory_note("account", kept.id.as_str(), at(1)).await?;
        (first, second)
    });
    assert_eq!(taken, (true, false), "a display name belongs to one account");
    let name = PrincipalName { account: owner.id, kind: PrincipalKind::Role, name: "runner".into() };
    let row = PrincipalRow {
        name: name.clone(),
        unique_id: "AROA1".into(),
        trust_policy: Some("{}".to_owned()),
        trust_bindings: BTreeMap::from([("arn".to_owned(), "AIDA1".to_owned())]),
        max_session_secs: 3_600,
        created_at: at(2),
    };
    let policy = Policy { name: "pull".to_owned(), document: "{}".to_owned() };
    let access = AccessKeyRow {
        id: "AKIA1".to_owned(),
        unique_id: "AROA1".to_owned(),
        sealed_secret: vec![1],
        created_at: at(3),
    };
    let token = TokenKeyRow { id: 1, sealed: vec![2], created_at: at(3) };
    let kept = (row.clone(), policy.clone(), access.clone(), token.clone());
    commit!(store, |tx| {
        tx.principal_put(&kept.0).await?;
        tx.policy_put("AROA1", &Policy { name: "old".to_owned(), document: "{}".to_owned() }).await?;
        tx.policy_replace_all("AROA1", std::slice::from_ref(&kept.1)).await?;
        tx.access_key_put(&kept.2).await?;
        tx.token_key_put(&kept.3).await?;
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!(tx.organization().await.unwrap(), Some(organization));
    assert_eq!(tx.account(owner.id).await.unwrap(), Some(owner.clone()));
    assert_eq!(tx.account_list("", page()).await.unwrap(), std::slice::from_ref(&owner));
    assert_eq!(tx.account_first().await.unwrap(), Some(owner.id));
    assert_eq!(tx.principal(&name).await.unwrap(), Some(row.clone()));
    assert_eq!(tx.principal_by_id("AROA1").await.unwrap(), Some(row.clone()));
    assert_eq!(tx.principal_list(owner.id, "", page()).await.unwrap(), std::slice::from_ref(&row));
    assert_eq!(tx.principal_list(owner.id, "role/runner", page()).await.unwrap(), []);
    assert_eq!(tx.policy_list("AROA1").await.unwrap(), [policy]);
    assert_eq!(tx.access_key("AKIA1").await.unwrap(), Some(access));
    assert_eq!(tx.token_key_list().await.unwrap(), [token]);
    drop(snapshot);
    // A namesake with another id replaces the one that was, with all it had.
    let namesake = PrincipalRow { unique_id: "AROA2".into(), ..row };
    commit!(store, |tx| { tx.principal_put(&namesake).await? });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!(tx.principal_by_id("AROA1").await.unwrap(), None);
    assert_eq!(tx.policy_list("AROA1").await.unwrap(), []);
    assert_eq!(tx.access_key("AKIA1").await.unwrap(), None);
    drop(snapshot);
    let gone = commit!(store, |tx| { tx.access_key_delete("AKIA1").await? });
    assert!(!gone);
}

async fn sessions_and_revocations_last_as_long_as_they_can_matter(store: &Store) {
    let session = SessionRow {
        id: uid(),
        account: account(10),
        principal: "arn".to_owned(),
        name: "night".to_owned(),
        issued_at: at(100),
        expires_at: at(200),
    };
    let cut = Revocation {
        id: uid(),
        cut: Cut::Session,
        subject: super::super::sessions::session_subject(account(10), session.id),
        before_at: at(150),
        expires_at: at(200),
        local_origin: true,
    };
    let all = Revocation { id: uid(), cut: Cut::Principal, subject: "AROA9".to_owned(), ..cut.clone() };
    let kept = (session.clone(), cut.clone(), all.clone());
    commit!(store, |tx| {
        tx.session_insert(&kept.0).await?;
        tx.revocation_insert(&kept.1, at(150)).await?;
        tx.revocation_insert(&kept.1, at(150)).await?;
        tx.revocation_insert(&kept.2, at(150)).await?;
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!(tx.session(session.id).await.unwrap(), Some(session.clone()));
    assert_eq!(tx.session_list(account(10), at(101), page()).await.unwrap(), std::slice::from_ref(&session));
    assert_eq!(tx.session_list(account(10), at(100), page()).await.unwrap(), []);
    assert_eq!(tx.revocation(cut.id).await.unwrap(), Some(cut.clone()));
    assert!(tx.is_revoked(account(10), session.id, "AROA1", at(100)).await.unwrap());
    assert!(!tx.is_revoked(account(11), session.id, "AROA1", at(100)).await.unwrap(), "another account's");
    assert!(tx.is_revoked(account(11), uid(), "AROA9", at(149)).await.unwrap());
    assert!(!tx.is_revoked(account(11), uid(), "AROA9", at(150)).await.unwrap(), "issued after the cut");
    assert_eq!(tx.stream_head(super::super::streams::REVOCATIONS, 0).await.unwrap(), 2);
    drop(snapshot);
    let swept = commit!(store, |tx| { tx.session_sweep(at(201)).await? });
    assert!(swept >= 3, "{swept}");
}

async fn streams_are_gapless_and_cursors_never_move_back(store: &Store) {
    let image = ImageRef { repository: uid(), digest: Digest::of(b"m"), tag: Some((Tag::parse("v1").unwrap(), 7)) };
    let change_row = NewChange { kind: "image", subject: "app".to_owned(), image: Some(image.clone()) };
    let numbers = commit!(store, |tx| {
        let first = tx.stream_append("s", 3, at(1), &change_row).await?;
        let second = tx.stream_append("s", 3, at(2), &change_row).await?;
        tx.cursor_set("s", 3, "f", 2, at(3)).await?;
        tx.cursor_set("s", 3, "f", 1, at(4)).await?;
        (first, second)
    });
    assert_eq!(numbers, (1, 2));
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!((tx.stream_head("s", 3).await.unwrap(), tx.stream_head("s", 4).await.unwrap()), (2, 0));
    let after = tx.stream_after("s", 3, 1, 10).await.unwrap();
    assert_eq!((after.len(), after[0].seq, after[0].image.clone()), (1, 2, Some(image)));
    assert_eq!(tx.cursor("s", 3, "f").await.unwrap(), Some((2, at(3))));
    assert_eq!(tx.cursor("s", 3, "g").await.unwrap(), None);
}

/// A repository of an account, with its registry.
async fn repository(store: &Store, seed: u64) -> RepositoryRow {
    let row = RepositoryRow {
        uid: uid(),
        account: account(seed),
        name: RepositoryName::parse("team/app").unwrap(),
        kms_key: key_arn(seed),
        branch_version: 1,
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
    commit!(store, |tx| {
        tx.repository_policy_set(id, Some(&kept)).await?;
        tx.registry_policy_set(owner, Some(&kept)).await?;
        tx.registry_settings_set(owner, true).await?;
        tx.registry_key_set(owner, &key_arn(20)).await?;
        tx.registry_key_set(owner, &key_arn(21)).await?;
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    let registry = tx.registry(owner).await.unwrap().unwrap();
    assert_eq!((registry.create_on_push, registry.kms_key.clone()), (true, Some(key_arn(20))));
    assert_eq!(registry.policy.as_ref(), Some(&policy));
    assert!(tx.registry_list().await.unwrap().contains(&registry));
    let found = tx.repository(owner, &row.name).await.unwrap().unwrap();
    assert_eq!(found, RepositoryRow { policy: Some(policy), ..row.clone() });
    assert_eq!(tx.repository_by_uid(row.uid).await.unwrap(), Some(found.clone()));
    assert_eq!(tx.repository_list(owner, "", page()).await.unwrap(), [found]);
    assert_eq!(tx.branch_key(row.uid, 1).await.unwrap().unwrap().wrapped, vec![9; 40]);
    assert_eq!(tx.branch_key(row.uid, 2).await.unwrap(), None);
    assert!(!tx.repository_has_images(row.uid).await.unwrap());
    drop(snapshot);
    commit!(store, |tx| { tx.repository_delete(id).await? });
    assert_eq!(store.snapshot().await.unwrap().tx().repository(owner, &row.name).await.unwrap(), None);
}

fn blob(row: &RepositoryRow, content: &[u8]) -> BlobRow {
    BlobRow {
        uid: uid(),
        account: row.account,
        kms_key: row.kms_key.clone(),
        digest: Digest::of(content),
        size: content.len() as u64,
        segment: 65_536,
        parts: vec![1; 44],
        commitment: [2; 32],
        verified_at: at(5),
    }
}

fn link(row: &RepositoryRow, blob: &BlobRow, source_account: Option<AccountId>, lease: i64) -> LinkRow {
    LinkRow {
        repository: row.uid,
        digest: blob.digest,
        blob: blob.uid,
        key: wrapped(),
        source_account,
        lease_until: at(lease),
    }
}

async fn links_are_the_only_way_to_a_blob_and_leases_keep_them(store: &Store) {
    let row = repository(store, 30).await;
    let stored = blob(&row, b"layer");
    let (kept, edge) = (stored.clone(), link(&row, &stored, None, 100));
    let again = LinkRow { source_account: Some(account(31)), lease_until: at(50), ..edge.clone() };
    commit!(store, |tx| {
        tx.blob_insert(&kept, at(5)).await?;
        tx.link_insert(&edge, at(5)).await?;
        tx.link_insert(&again, at(6)).await?;
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
    drop(snapshot);
    let (repository, digest, object) = (row.uid, stored.digest, stored.uid);
    let swept = commit!(store, |tx| {
        let leased = tx.link_lease(repository, &digest, at(150), None).await?;
        let early = tx.link_sweep(at(149)).await?;
        let none = tx.blob_condemn(at(149), 10).await?.into_iter().any(|(_, found)| found == object);
        let late = tx.link_sweep(at(151)).await?;
        let condemned = tx.blob_condemn(at(151), 10).await?.into_iter().any(|(_, found)| found == object);
        (leased, early, none, late >= 1, condemned)
    });
    assert_eq!(swept, (true, 0, false, true, true));
    let edge = link(&row, &stored, None, 500);
    let linked = commit!(store, |tx| {
        let linked = tx.link_insert(&edge, at(152)).await?;
        tx.blob_forget(object).await?;
        tx.link_delete(repository, &digest).await?;
        linked
    });
    assert!(!linked, "a condemned object takes no link");
}

fn manifest(row: &RepositoryRow, content: &str, subject: Option<Digest>) -> ManifestRow {
    ManifestRow {
        repository: row.uid,
        digest: Digest::of(content.as_bytes()),
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
    assert_eq!(tx.referrer_list(row.uid, &index.digest).await.unwrap(), std::slice::from_ref(&signature));
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
    assert_eq!((found.size, found.hash_state.len(), found.expires_at), (5, 60, at(200)));
    assert_eq!(tx.upload(uid(), id).await.unwrap(), None);
    assert_eq!(tx.upload_of_digest(row.uid, "AIDA1", &Digest::of(b"x")).await.unwrap(), Some(found));
    assert_eq!(tx.upload_count(row.uid, "AIDA1").await.unwrap(), 1);
    assert!(tx.upload_exists(id).await.unwrap());
    assert!(tx.object_known(upload.blob).await.unwrap());
    assert!(!tx.object_known(uid()).await.unwrap());
    drop(snapshot);
    let ended = commit!(store, |tx| {
        let expired = tx.upload_expired(at(201), 1_000).await?.into_iter().any(|(found, _, _)| found == id);
        (expired, tx.upload_delete(id).await?, tx.upload_delete(id).await?)
    });
    assert_eq!(ended, (true, true, false));
}

async fn grants_are_in_force_between_their_ends(store: &Store) {
    let grant = GrantRow {
        id: uid(),
        account: account(60),
        grantee: "111122223333".to_owned(),
        grantee_id: None,
        repository_pattern: "team/*".to_owned(),
        tag_pattern: TagPattern::parse("v*").unwrap(),
        actions: vec![GrantAction::Pull, GrantAction::Push],
        not_before: at(10),
        not_after: Some(at(20)),
        reason: "release".to_owned(),
        creator: "arn".to_owned(),
        created_at: at(1),
        revoked_at: None,
        version: 1,
    };
    let kept = grant.clone();
    commit!(store, |tx| { tx.grant_insert(&kept).await? });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!(tx.grant(grant.account, grant.id).await.unwrap(), Some(grant.clone()));
    assert_eq!(tx.grant(account(61), grant.id).await.unwrap(), None);
    assert_eq!(tx.grant_list(grant.account, None, page()).await.unwrap(), std::slice::from_ref(&grant));
    assert_eq!(tx.grant_list(grant.account, Some(grant.id), page()).await.unwrap(), []);
    for (moment, count) in [(9, 0), (10, 1), (19, 1), (20, 0)] {
        assert_eq!(tx.grants_in_force(grant.account, at(moment)).await.unwrap().len(), count, "at {moment}");
    }
    drop(snapshot);
    let (owner, id) = (grant.account, grant.id);
    commit!(store, |tx| {
        tx.grant_revoke(owner, id, at(15)).await?;
        tx.grant_revoke(owner, id, at(16)).await?;
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    let ended = tx.grant(owner, id).await.unwrap().unwrap();
    assert_eq!((ended.revoked_at, ended.version), (Some(at(15)), 2));
    assert_eq!(tx.grants_in_force(owner, at(15)).await.unwrap(), []);
}

async fn rules_open_routes_and_slots_are_held_by_one(store: &Store) {
    let destination = Destination { region: region(), account: account(71) };
    let rule = RuleRow {
        id: uid(),
        account: account(70),
        repository_prefix: "team/".to_owned(),
        tag_pattern: "v*".to_owned(),
        destinations: vec![destination.clone()],
        created_at: at(1),
        version: 1,
    };
    let (kept, there, owner) = (rule.clone(), destination.clone(), rule.account);
    let (node, other) = (uid(), uid());
    let leases = commit!(store, |tx| {
        tx.rule_insert(&kept).await?;
        tx.slot_insert(owner, &there, at(1)).await?;
        tx.slot_insert(owner, &there, at(1)).await?;
        let first = tx.slot_lease(owner, &there, node, None, (at(10), at(20))).await?;
        let stranger = tx.slot_lease(owner, &there, other, None, (at(15), at(25))).await?;
        let renewed = tx.slot_lease(owner, &there, node, first, (at(16), at(26))).await?;
        let again = tx.slot_lease(owner, &there, node, None, (at(17), at(27))).await?;
        let stale = tx.slot_lease(owner, &there, node, first, (at(18), at(28))).await?;
        let taken = tx.slot_lease(owner, &there, other, None, (at(30), at(40))).await?;
        [first, stranger, renewed, again, stale, taken]
    });
    assert_eq!(leases, [Some(1), None, Some(1), Some(2), None, Some(3)]);
    let letter = DeadLetter { shard: 0, seq: 4, reason: "DATA_LOSS".to_owned(), message: "damaged".to_owned() };
    let (kept, there) = (letter.clone(), destination.clone());
    commit!(store, |tx| {
        tx.slot_success(owner, &there, at(41)).await?;
        tx.slot_error(owner, &there, "refused", at(42)).await?;
        tx.dead_letter_insert(owner, &there, &kept, at(42)).await?;
        tx.dead_letter_insert(owner, &there, &kept, at(43)).await?;
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!(tx.rule(owner, rule.id).await.unwrap(), Some(rule.clone()));
    assert_eq!(tx.rule_list(owner, None, page()).await.unwrap(), std::slice::from_ref(&rule));
    assert!(tx.rule_routes().await.unwrap().contains(&(owner, destination.clone())));
    let slot = tx.slot(owner, &destination).await.unwrap().unwrap();
    assert_eq!(
        (slot.epoch, slot.last_error, slot.last_success_at),
        (3, Some(("refused".to_owned(), at(42))), Some(at(41)))
    );
    assert_eq!(tx.dead_letter_list(owner, &destination, 10).await.unwrap(), [letter]);
    drop(snapshot);
    let id = rule.id;
    let deleted = commit!(store, |tx| { (tx.rule_delete(owner, id).await?, tx.rule_delete(owner, id).await?) });
    assert_eq!(deleted, (true, false));
}

async fn receipts_and_positions_of_replication_are_kept(store: &Store) {
    let receipt = ReceiptRow {
        repository: uid(),
        digest: Digest::of(b"image"),
        destination: Destination { region: region(), account: account(81) },
        tag: "v1".to_owned(),
        body: vec![1],
        signature: vec![2],
        certificate: vec![3],
        at: at(1),
    };
    let inbound = Inbound { source_region: region(), source: account(80), destination: account(81) };
    let (kept, from) = (receipt.clone(), inbound.clone());
    let fences = commit!(store, |tx| {
        tx.receipt_put(&kept).await?;
        tx.receipt_put(&kept).await?;
        let fences =
            [tx.inbound_fence(&from, 2).await?, tx.inbound_fence(&from, 2).await?, tx.inbound_fence(&from, 1).await?];
        tx.inbound_advance(&from, 1, 5).await?;
        tx.inbound_advance(&from, 1, 4).await?;
        fences
    });
    assert_eq!(fences, [true, true, false], "a lower epoch is fenced");
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!(tx.receipt_list(receipt.repository, "", page()).await.unwrap(), std::slice::from_ref(&receipt));
    let last = format!("{}/{}/{}/v1", receipt.digest, receipt.destination.region, receipt.destination.account);
    assert_eq!(tx.receipt_list(receipt.repository, &last, page()).await.unwrap(), []);
    assert_eq!(
        (tx.inbound_applied(&inbound, 1).await.unwrap(), tx.inbound_applied(&inbound, 2).await.unwrap()),
        (5, 0)
    );
    assert_eq!(tx.inbound_list(&inbound).await.unwrap(), [(1, 5)]);
}

async fn audit_rows_and_answers_are_kept(store: &Store) {
    let row = AuditRow {
        id: uid(),
        at: at(1),
        request: uid(),
        op: "PutImage",
        caller: "arn".to_owned(),
        account: Some(account(90)),
        resource: "*".to_owned(),
        outcome: "allowed",
        detail: String::new(),
        source_ip: None,
    };
    let answer = Answer { fingerprint: vec![1], result: vec![2] };
    let kept = answer.clone();
    commit!(store, |tx| {
        tx.audit_insert(&row).await?;
        tx.answer_insert("caller", "request", "PutImage", &kept, at(1)).await?;
    });
    let found = store.snapshot().await.unwrap().tx().answer("caller", "request").await.unwrap();
    assert_eq!(found, Some(answer));
    let swept = commit!(store, |tx| { tx.answer_sweep(at(2)).await? });
    assert_eq!(swept, 1);
}

async fn the_keyring_keeps_every_version(store: &Store) {
    let key = KeyRow {
        arn: key_arn(95),
        state: KeyState::Enabled,
        description: "a key".to_owned(),
        created_at: at(1),
        materials: [1, 2].map(|version| Material { version, sealed: vec![7; 60] }).to_vec(),
    };
    store.insert(key.clone()).await.unwrap();
    store.set_state(&key.arn, KeyState::Disabled).await.unwrap();
    let key = KeyRow { state: KeyState::Disabled, ..key };
    assert_eq!(store.load(&key.arn).await.unwrap(), Some(key.clone()));
    assert_eq!(store.list(account(95)).await.unwrap(), [key]);
    assert_eq!(store.load(&key_arn(96)).await.unwrap(), None);
}

async fn a_node_claims_its_store(store: &Store) {
    let node = uid();
    commit!(store, |tx| { tx.node_insert(node, &region(), at(1)).await? });
    assert_eq!(store.snapshot().await.unwrap().tx().node().await.unwrap(), Some((node, region())));
}
