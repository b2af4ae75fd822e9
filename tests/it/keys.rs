//! KMS keys of accounts: who may enable and disable which.

use crate::audit::{all, rows};
use crate::harness::{Http, Region};
use crate::tenants::{self, allow};
use http::StatusCode;
use transship::error::Reason;
use transship::names::{Arn, PrincipalName};

/// A user of dev that may do this to one key.
async fn may(region: &Region, name: &str, action: &str, key: &Arn) -> transship::ctx::Ctx {
    let user: PrincipalName = tenants::user(region, "dev", name, &allow(&[action], key.as_str())).await;
    region.caller(user).await
}

#[tokio::test(flavor = "multi_thread")]
async fn enabling_and_disabling_a_key_are_two_rights_on_that_key() {
    let region = Region::start().await;
    let (app, dev) = (region.app(), region.account("dev"));
    let admin = region.admin("dev").await;
    let (key, other) =
        (app.create_key(&admin, dev, "one").await.unwrap().arn, app.create_key(&admin, dev, "two").await.unwrap().arn);
    let enabler = may(&region, "enabler", "kms:EnableKey", &key).await;
    let disabler = may(&region, "disabler", "kms:DisableKey", &key).await;
    let denied = async |ctx, key, enabled| app.set_key_enabled(ctx, dev, key, enabled).await.unwrap_err().reason;
    assert_eq!(denied(&enabler, &key, false).await, Reason::AccessDenied);
    assert_eq!(denied(&disabler, &key, true).await, Reason::AccessDenied);
    assert_eq!(denied(&disabler, &other, false).await, Reason::AccessDenied);
    app.set_key_enabled(&disabler, dev, &key, false).await.unwrap();
    app.set_key_enabled(&enabler, dev, &key, true).await.unwrap();
    app.flush_audit().await;
    let allowed = |op| {
        let found = all(&region).into_iter().filter(|row| row.op == op && row.outcome == "allowed");
        found.map(|row| row.caller).collect::<Vec<_>>()
    };
    assert_eq!(allowed("EnableKey"), [enabler.caller.display()]);
    assert_eq!(allowed("DisableKey"), [disabler.caller.display()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_account_reads_as_one_that_is_missing_and_leaves_no_row_of_a_change() {
    let region = Region::start().await;
    let (app, dev, prod) = (region.app(), region.account("dev"), region.account("prod"));
    let admin = region.admin("dev").await;
    let theirs = app.create_key(&region.admin("prod").await, prod, "theirs").await.unwrap().arn;
    let none = theirs.as_str().replace(theirs.resource(), "key/00000000-0000-4000-8000-000000000000");
    let none = Arn::parse(&none.replace(prod.as_str(), dev.as_str())).unwrap();
    let mut told = Vec::new();
    for key in [&theirs, &none] {
        let error = app.set_key_enabled(&admin, dev, key, false).await.unwrap_err();
        assert_eq!(error.reason, Reason::NotFound, "{error}");
        told.push(error.message.replace(key.as_str(), "<key>"));
    }
    assert_eq!(told[0], told[1]);
    let denied = app.set_key_enabled(&admin, prod, &theirs, false).await.unwrap_err();
    assert_eq!(denied.reason, Reason::AccessDenied);
    app.flush_audit().await;
    let outcomes: Vec<String> =
        rows(&region, "DisableKey", &admin.caller.display()).into_iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, ["failed", "failed", "denied"], "each attempt has its row");
    // It still opens what it opened.
    let http: Http = region.http("prod").await;
    http.push_image(&format!("{prod}/app"), "v1", &[b"layer"]).await;
    assert_eq!(http.get(&format!("/v2/{prod}/app/manifests/v1")).await.status, StatusCode::OK);
}
