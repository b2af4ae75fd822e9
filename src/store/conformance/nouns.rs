//! Every noun of the schema, written and read back: each statement of the store runs here or in `content` on each engine.

use super::super::audit::{Answer, AuditRow};
use super::super::directory::{AccessKeyRow, Account, Organization, Policy, PrincipalRow, TokenKeyRow};
use super::super::grants::{GrantAction, GrantRow};
use super::super::oidc_providers::OidcProviderRow;
use super::super::receipts::{Inbound, ReceiptRow};
use super::super::rules::{DeadLetter, Destination, RuleRow};
use super::super::sessions::{Cut, Revocation, SessionRow};
use super::super::streams::{ImageRef, NewChange};
use super::super::{Apply, Done, Error, Store, Tx};
use super::{Case, cases};
use crate::clock::{Clock, Timestamp};
use crate::keys::{KeyRow, KeyRows, KeyState, Material};
use crate::names::{
    AccountId, Arn, Digest, Issuer, PageSize, PrincipalKind, PrincipalName, Region, Tag, TagPattern, Uid,
};
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub(super) const CASES: &[Case] = cases![
    the_directory_keeps_what_it_is_given,
    identity_providers_are_kept_by_account_and_issuer,
    sessions_and_revocations_last_as_long_as_they_can_matter,
    streams_are_gapless_and_cursors_never_move_back,
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

pub(super) use commit;

/// A change out of a closure that runs once.
pub(super) struct Once<F>(Mutex<Option<F>>);

pub(super) fn once<T, F>(apply: F) -> Arc<Once<F>>
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

pub(super) fn account(seed: u64) -> AccountId {
    AccountId::from_seed(seed)
}

pub(super) fn region() -> Region {
    Region::parse("us-east-1").unwrap()
}

pub(super) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

pub(super) fn uid() -> Uid {
    Clock::system().uid()
}

pub(super) fn page() -> PageSize {
    PageSize::clamp(100)
}

pub(super) fn key_arn(seed: u64) -> Arn {
    Arn::new("kms", "us-east-1", Some(account(seed)), "key/k")
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

async fn identity_providers_are_kept_by_account_and_issuer(store: &Store) {
    let issuer = Issuer::parse("https://issuer.example/a").unwrap();
    let row = OidcProviderRow {
        account: account(1),
        issuer: issuer.clone(),
        client_ids: vec!["sts.amazonaws.com".to_owned(), "b\"c".to_owned()],
        ca_pem: None,
        created_at: at(1),
    };
    let foreign = OidcProviderRow { account: account(2), ..row.clone() };
    let changed = OidcProviderRow { ca_pem: Some("pem".to_owned()), created_at: at(9), ..row.clone() };
    let (first, second, third) = (row.clone(), foreign.clone(), changed.clone());
    commit!(store, |tx| {
        for row in [&first, &second, &third] {
            tx.oidc_provider_put(row).await?;
        }
    });
    let kept = OidcProviderRow { created_at: at(1), ..changed };
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!(tx.oidc_provider(account(1), &issuer).await.unwrap(), Some(kept.clone()));
    assert_eq!(tx.oidc_provider_list(account(1), "", page()).await.unwrap(), [kept]);
    assert_eq!(tx.oidc_provider_list(account(1), issuer.as_str(), page()).await.unwrap(), []);
    drop(snapshot);
    let gone = issuer.clone();
    let removed = commit!(store, |tx| {
        (tx.oidc_provider_delete(account(1), &gone).await?, tx.oidc_provider_delete(account(1), &gone).await?)
    });
    assert_eq!(removed, (true, false));
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(
        snapshot.tx().oidc_provider(account(2), &issuer).await.unwrap(),
        Some(foreign),
        "another account's stays"
    );
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
    let given = uid();
    let subject = super::super::sessions::grant_subject(account(10), given);
    let grant = Revocation { id: uid(), cut: Cut::Grant, subject, ..cut.clone() };
    let twin = SessionRow { id: uid(), ..session.clone() };
    let role = |account, unique_id: &str| PrincipalRow {
        name: PrincipalName { account, kind: PrincipalKind::Role, name: "night".into() },
        unique_id: unique_id.into(),
        trust_policy: None,
        trust_bindings: BTreeMap::new(),
        max_session_secs: 3_600,
        created_at: at(1),
    };
    let policy = |name: &str| Policy { name: name.to_owned(), document: format!("{{\"{name}\":1}}") };
    let policies = [policy("a"), policy("b")];
    let roles = (role(account(10), "AROA1"), role(account(11), "AROA9"), policies.clone());
    commit!(store, |tx| {
        tx.principal_put(&roles.0).await?;
        tx.principal_put(&roles.1).await?;
        tx.policy_replace_all("AROA1", &roles.2).await?;
    });
    let kept = (session.clone(), cut.clone(), all.clone(), twin.clone(), grant.clone());
    commit!(store, |tx| {
        tx.session_insert(&kept.0).await?;
        tx.session_insert(&kept.3).await?;
        tx.revocation_insert(&kept.1, at(150)).await?;
        tx.revocation_insert(&kept.1, at(150)).await?;
        tx.revocation_insert(&kept.2, at(150)).await?;
        tx.revocation_insert(&kept.4, at(150)).await?;
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!(tx.session(session.id).await.unwrap(), Some(session.clone()));
    // Two of one moment, a page each.
    let mut both = [&session, &twin];
    both.sort_by_key(|session| std::cmp::Reverse(*session.id.bytes()));
    let mut before = (at(101), session.id);
    for expected in both {
        let found = tx.session_list(account(10), before, PageSize::clamp(1)).await.unwrap();
        assert_eq!(found, std::slice::from_ref(expected));
        before = (expected.issued_at, expected.id);
    }
    assert_eq!(tx.session_list(account(10), before, page()).await.unwrap(), []);
    assert_eq!(tx.revocation(cut.id).await.unwrap(), Some(cut.clone()));
    let ours = PrincipalName { account: account(10), kind: PrincipalKind::Role, name: "night".into() };
    let theirs = PrincipalName { account: account(11), ..ours.clone() };
    for (name, unique_id, session, issued_at, stands, why) in [
        (&ours, "AROA1", session.id, at(100), false, "its session was cut off"),
        (&ours, "AROA1", twin.id, at(100), true, "another session was cut off"),
        (&ours, "AROA7", twin.id, at(100), false, "the role has another id"),
        (&theirs, "AROA9", session.id, at(150), true, "another account's session was cut off"),
        (&theirs, "AROA9", uid(), at(149), false, "all its sessions until then were cut off"),
        (&theirs, "AROA9", uid(), at(150), true, "issued after the cut"),
    ] {
        let standing = tx.standing(name, Some((session, issued_at))).await.unwrap().unwrap();
        assert_eq!(!standing.revoked && *standing.unique_id == *unique_id, stands, "{why}");
    }
    let without = tx.standing(&ours, None).await.unwrap().unwrap();
    assert_eq!((without.revoked, without.policies.as_slice()), (false, policies.as_slice()));
    let nobody = PrincipalName { kind: PrincipalKind::User, ..ours.clone() };
    assert_eq!(tx.standing(&nobody, None).await.unwrap(), None);
    assert_eq!(tx.revocation(grant.id).await.unwrap(), Some(grant.clone()));
    assert!(tx.is_grant_cut(account(10), given, at(149)).await.unwrap());
    assert!(!tx.is_grant_cut(account(10), given, at(150)).await.unwrap(), "issued after the cut");
    assert!(!tx.is_grant_cut(account(11), given, at(149)).await.unwrap(), "another account's");
    let standing = tx.standing(&ours, Some((given, at(100)))).await.unwrap().unwrap();
    assert!(!standing.revoked, "a grant is no session");
    assert_eq!(tx.stream_head(super::super::streams::REVOCATIONS, 0).await.unwrap(), 3);
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
