//! Managed policies, what they are attached to, the organization's control policies; second factors.

use super::super::aws_roles::AwsRoleRow;
use super::super::control_policies::{ControlPolicyKey, ControlPolicyRow, ControlTarget, Controlled};
use super::super::directory::PrincipalRow;
use super::super::managed_policies::{Attached, Attachment, ManagedPolicyRow, Purpose};
use super::super::mfa_devices::MfaDeviceRow;
use super::super::{Done, Error, Store};
use super::nouns::{account, at, commit, once, page};
use super::{Case, cases};
use crate::names::{
    AwsRoleName, AwsRoleRef, MfaDeviceName, MfaDeviceRef, PolicyName, PolicyRef, PrincipalKind, PrincipalName, RoleArn,
};
use std::collections::BTreeMap;

pub(super) const CASES: &[Case] = cases![
    managed_policies_are_kept_by_account_and_name,
    policies_are_attached_for_a_purpose_and_go_with_their_principal,
    control_policies_are_kept_by_target_kind_and_name,
    second_factors_are_kept_and_their_codes_used_once,
    roles_of_aws_are_kept_by_account_and_name,
];

fn name(text: &str) -> PolicyName {
    PolicyName::parse(text).unwrap()
}

fn managed(seed: u64, text: &str) -> ManagedPolicyRow {
    let policy = PolicyRef { account: account(seed), name: name(text) };
    ManagedPolicyRow { policy, document: "{}".to_owned(), created_at: at(1), updated_at: at(1) }
}

async fn managed_policies_are_kept_by_account_and_name(store: &Store) {
    let (row, foreign) = (managed(200, "a"), managed(201, "a"));
    let changed = ManagedPolicyRow { document: "[]".to_owned(), created_at: at(5), updated_at: at(5), ..row.clone() };
    let (first, second, third) = (row.clone(), foreign.clone(), changed.clone());
    commit!(store, |tx| {
        for row in [&first, &second, &third] {
            tx.managed_policy_put(row).await?;
        }
    });
    let kept = ManagedPolicyRow { created_at: at(1), ..changed };
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!(tx.managed_policy(&row.policy).await.unwrap(), Some(kept.clone()));
    assert_eq!(tx.managed_policy_list(account(200), "", page()).await.unwrap(), [kept]);
    assert_eq!(tx.managed_policy_list(account(200), "a", page()).await.unwrap(), []);
    assert_eq!(tx.managed_policy_count(account(200)).await.unwrap(), 1);
    drop(snapshot);
    let gone = row.policy.clone();
    let removed =
        commit!(store, |tx| { (tx.managed_policy_delete(&gone).await?, tx.managed_policy_delete(&gone).await?) });
    assert_eq!(removed, (true, false));
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.tx().managed_policy(&foreign.policy).await.unwrap(), Some(foreign), "another account's stays");
}

async fn policies_are_attached_for_a_purpose_and_go_with_their_principal(store: &Store) {
    let (row, foreign) = (managed(210, "a"), managed(211, "b"));
    let principal = PrincipalRow {
        name: PrincipalName { account: account(210), kind: PrincipalKind::Role, name: "night".into() },
        unique_id: "AROA210".into(),
        trust_policy: None,
        trust_bindings: BTreeMap::new(),
        max_session_secs: 3_600,
        created_at: at(1),
    };
    let attachment = |purpose, text: &str| Attachment { purpose, policy: name(text) };
    let (gives, bounds) = (attachment(Purpose::Permissions, "a"), attachment(Purpose::Boundary, "b"));
    let earlier = attachment(Purpose::Boundary, "a");
    let kept = (row.clone(), foreign, principal.clone(), gives.clone(), bounds.clone(), earlier);
    commit!(store, |tx| {
        tx.managed_policy_put(&kept.0).await?;
        tx.managed_policy_put(&kept.1).await?;
        tx.principal_put(&kept.2).await?;
        for attachment in [&kept.3, &kept.3, &kept.5, &kept.4] {
            tx.attachment_put("AROA210", attachment).await?;
        }
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!(tx.attachment_list("AROA210").await.unwrap(), [bounds.clone(), gives.clone()], "one boundary, the last");
    let found = tx.attached(account(210), "AROA210").await.unwrap();
    let unheard = Attached { attachment: bounds.clone(), document: None };
    let heard = Attached { attachment: gives.clone(), document: Some("{}".to_owned()) };
    assert_eq!(found, [unheard, heard], "another account's policy of the name is none");
    assert_eq!(tx.managed_policy_uses(&row.policy).await.unwrap(), 1);
    let map = tx.attachment_map(account(210), "", "role/night").await.unwrap();
    assert_eq!(map, BTreeMap::from([("AROA210".to_owned(), vec![bounds.clone(), gives.clone()])]));
    assert!(tx.attachment_map(account(210), "role/night", "role/z").await.unwrap().is_empty());
    let standing = tx.standing(&principal.name, None).await.unwrap().unwrap();
    assert!(standing.attached);
    drop(snapshot);
    let kept = gives.clone();
    let removed = commit!(store, |tx| {
        let first = tx.attachment_delete("AROA210", Purpose::Permissions, Some(&kept.policy)).await?;
        let second = tx.attachment_delete("AROA210", Purpose::Permissions, Some(&kept.policy)).await?;
        let third = tx.attachment_delete("AROA210", Purpose::Boundary, None).await?;
        tx.attachment_replace_all("AROA210", std::slice::from_ref(&kept)).await?;
        (first, second, third)
    });
    assert_eq!(removed, (true, false, true));
    commit!(store, |tx| { tx.principal_delete("AROA210").await? });
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.tx().attachment_list("AROA210").await.unwrap(), []);
    assert_eq!(snapshot.tx().managed_policy_uses(&row.policy).await.unwrap(), 0);
}

async fn control_policies_are_kept_by_target_kind_and_name(store: &Store) {
    let row = |target, controlled| ControlPolicyRow {
        key: ControlPolicyKey { target, controlled, name: name("bound") },
        document: "{}".to_owned(),
        created_at: at(1),
    };
    let (one, other) = (ControlTarget::Account(account(220)), ControlTarget::Account(account(221)));
    let all = [
        row(one, Controlled::Resources),
        row(one, Controlled::Principals),
        row(other, Controlled::Principals),
        row(ControlTarget::Organization, Controlled::Principals),
    ];
    let kept = all.clone();
    commit!(store, |tx| {
        for row in &kept {
            tx.control_policy_put(row).await?;
            assert_eq!(ControlPolicyKey::of_subject(&row.key.subject()), Some(row.key.clone()));
        }
        tx.control_policy_put(&ControlPolicyRow { created_at: at(9), ..kept[0].clone() }).await?;
    });
    let mut snapshot = store.snapshot().await.unwrap();
    let mut tx = snapshot.tx();
    assert_eq!(tx.control_policy(&all[0].key).await.unwrap(), Some(all[0].clone()));
    assert_eq!(tx.control_policies_on(Some(account(220)), None).await.unwrap().len(), 3);
    assert_eq!(tx.control_policies_on(Some(account(220)), Some(account(221))).await.unwrap().len(), 4);
    assert_eq!(tx.control_policies_on(None, None).await.unwrap(), [all[3].clone()]);
    assert_eq!(tx.control_policy_count(&all[0].key).await.unwrap(), 1);
    assert_eq!(tx.control_policy_list("", page()).await.unwrap().len(), 4);
    assert_eq!(tx.control_policy_list(&all[3].key.subject(), page()).await.unwrap(), []);
    drop(snapshot);
    let removed = commit!(store, |tx| {
        let mut removed = Vec::new();
        for row in all.iter().chain([&all[0]]) {
            removed.push(tx.control_policy_delete(&row.key).await?);
        }
        removed
    });
    assert_eq!(removed, [true, true, true, true, false]);
}

async fn second_factors_are_kept_and_their_codes_used_once(store: &Store) {
    let device = MfaDeviceRef { account: account(230), name: MfaDeviceName::parse("phone").unwrap() };
    let row = MfaDeviceRow {
        device: device.clone(),
        unique_id: "AIDA230".to_owned(),
        sealed_secret: vec![1, 2],
        enabled: false,
        created_at: at(1),
    };
    let kept = row.clone();
    let used = commit!(store, |tx| {
        tx.mfa_device_put(&kept).await?;
        tx.mfa_device_put(&MfaDeviceRow { enabled: true, ..kept.clone() }).await?;
        let mut used = Vec::new();
        for step in [5, 5, 4, 6] {
            used.push(tx.mfa_step_use(&kept.device, step).await?);
        }
        used
    });
    assert_eq!(used, [true, false, false, true]);
    let enabled = MfaDeviceRow { enabled: true, ..row };
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.tx().mfa_device(&device).await.unwrap(), Some(enabled.clone()));
    assert_eq!(snapshot.tx().mfa_device_list("AIDA230").await.unwrap(), [enabled]);
    drop(snapshot);
    let gone = device.clone();
    let removed = commit!(store, |tx| { (tx.mfa_device_delete(&gone).await?, tx.mfa_device_delete(&gone).await?) });
    assert_eq!(removed, (true, false));
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.tx().mfa_device_list("AIDA230").await.unwrap(), []);
}

async fn roles_of_aws_are_kept_by_account_and_name(store: &Store) {
    let row = AwsRoleRow {
        role: AwsRoleRef { account: account(240), name: AwsRoleName::parse("logs").unwrap() },
        arn: RoleArn::parse("arn:aws:iam::210987654321:role/path/logs").unwrap(),
        external_id: "e".to_owned(),
        policy: "{}".to_owned(),
        duration_secs: 900,
        verified_at: None,
        created_at: at(1),
    };
    let verified = AwsRoleRow { verified_at: Some(at(2)), ..row.clone() };
    let kept = (row.clone(), verified.clone());
    commit!(store, |tx| {
        tx.aws_role_put(&kept.0).await?;
        tx.aws_role_put(&kept.1).await?;
    });
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.tx().aws_role(&row.role).await.unwrap(), Some(verified.clone()));
    assert_eq!(snapshot.tx().aws_role_list(account(240), "", page()).await.unwrap(), [verified]);
    assert_eq!(snapshot.tx().aws_role_list(account(240), "logs", page()).await.unwrap(), []);
    assert_eq!(snapshot.tx().aws_role_list(account(241), "", page()).await.unwrap(), []);
    drop(snapshot);
    let gone = row.role.clone();
    let removed = commit!(store, |tx| { (tx.aws_role_delete(&gone).await?, tx.aws_role_delete(&gone).await?) });
    assert_eq!(removed, (true, false));
}
