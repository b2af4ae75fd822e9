//! Sessions: who may take one, within which bounds, and how one ends, everywhere.

use crate::harness::{Http, Organization, Region, eventually};
use crate::tenants::{self, Slow, allow, asking, code, now, repository, trust};
use bytes::Bytes;
use http::{Method, StatusCode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Code;
use transship::ctx::{Caller, Ctx};
use transship::domain::sessions::{AssumeRole, Issued};
use transship::error::Reason;
use transship::names::{Digest, PrincipalName, SessionName, SessionTag, Uid};
use transship::pb::trust as pb;
use transship::pb::trust::trust_service_client::TrustServiceClient;

async fn assume(region: &Region, ctx: &Ctx, request: AssumeRole) -> Result<Issued, Reason> {
    region.app().assume_role(&now(region, ctx), request).await.map_err(|error| error.reason)
}

/// A role of prod that prod's admin may take, and that may pull.
async fn runner(region: &Region) -> PrincipalName {
    let admin = format!("arn:aws:iam::{}:user/admin", region.account("prod"));
    tenants::role(region, "prod", "runner", &trust(&admin, None), &allow(tenants::PULL, "*")).await
}

/// A session of a role by its account's admin, as a caller of the registry, with its bearer token and context.
async fn session(region: &Region, request: AssumeRole) -> (Http, String, Ctx, Uid) {
    let assumed = assume(region, &region.admin("prod").await, request).await.unwrap();
    let (token, ctx) = tenants::bearer(region, &assumed).await;
    (Http::new(&region.base, Some(token.clone())), token, ctx, assumed.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_taken_by_whom_its_trust_policy_names_and_looks_missing_to_all_others() {
    let region = Region::start().await;
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    let deploy = allow(&["sts:AssumeRole"], "*");
    let ci = tenants::user(&region, "dev", "ci", &deploy).await;
    let other = tenants::user(&region, "dev", "other", &deploy).await;
    let weak = tenants::user(&region, "dev", "weak", &allow(tenants::PULL, "*")).await;
    let trusting = serde_json::json!([ci.arn().as_str(), weak.arn().as_str()]);
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement":
        {"Effect": "Allow", "Principal": {"AWS": trusting}, "Action": "sts:AssumeRole"}});
    let role = tenants::role(&region, "prod", "runner", &policy.to_string(), &allow(tenants::PULL, "*")).await;
    let assumed = assume(&region, &region.caller(ci.clone()).await, asking(&role)).await.unwrap();
    assert_eq!(assumed.principal.arn().as_str(), format!("arn:aws:sts::{prod}:assumed-role/runner/night"));
    // Trusted without permission, permitted without trust, and the account's own admin without either.
    for name in [weak, other] {
        let refused = assume(&region, &region.caller(name).await, asking(&role)).await;
        assert_eq!(refused.map(drop), Err(Reason::AccessDenied));
    }
    assert_eq!(assume(&region, &region.admin("prod").await, asking(&role)).await.map(drop), Err(Reason::AccessDenied));
    let mut absent = asking(&role);
    absent.role.name = "absent".into();
    let ctx = region.caller(ci.clone()).await;
    let missing = region.app().assume_role(&ctx, absent).await.map(drop).unwrap_err();
    let other = PrincipalName { name: "other".into(), ..ci.clone() };
    let ctx = region.caller(other).await;
    let refused = region.app().assume_role(&ctx, asking(&role)).await.map(drop).unwrap_err();
    let text =
        |error: &transship::error::Error| error.message.replace("absent", "runner").replace("user/other", "user/ci");
    assert_eq!((missing.reason, text(&missing)), (refused.reason, text(&refused)), "a refusal tells no role from none");
    // A user made again under a trusted name is another.
    region.app().delete_principal(&region.admin("dev").await, ci.clone()).await.unwrap();
    let again = tenants::user(&region, "dev", "ci", &deploy).await;
    assert_eq!(again.account, dev);
    let refused = assume(&region, &region.caller(again).await, asking(&role)).await;
    assert_eq!(refused.map(drop), Err(Reason::AccessDenied));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trust_policy_may_ask_for_an_external_id() {
    let region = Region::start().await;
    let dev = format!("arn:aws:iam::{}:user/admin", region.account("dev"));
    let condition = serde_json::json!({"StringEquals": {"sts:ExternalId": "ticket-7"}});
    let role =
        tenants::role(&region, "prod", "vendor", &trust(&dev, Some(condition)), &allow(tenants::PULL, "*")).await;
    let ctx = region.admin("dev").await;
    for (id, outcome) in [
        (None, Err(Reason::AccessDenied)),
        (Some("ticket-8"), Err(Reason::AccessDenied)),
        (Some("TICKET-7"), Err(Reason::AccessDenied)),
        (Some("ticket-7"), Ok(())),
    ] {
        let request = AssumeRole { external_id: id.map(ToOwned::to_owned), ..asking(&role) };
        assert_eq!(assume(&region, &ctx, request).await.map(drop), outcome, "{id:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_policy_takes_away_and_never_gives() {
    let region = Region::start().await;
    let prod = region.account("prod");
    let role = runner(&region).await;
    let owner = region.http("prod").await;
    owner.push_image(&format!("{prod}/app"), "v1", &[b"layer"]).await;
    owner.push_image(&format!("{prod}/other"), "v1", &[b"layer"]).await;
    let ask = async |http: &Http| {
        let mut all = Vec::new();
        for below in ["app/manifests/v1", "other/manifests/v1", "app/tags/list"] {
            all.push(http.get(&format!("/v2/{prod}/{below}")).await.status.as_u16());
        }
        all.push(http.call(Method::POST, &format!("/v2/{prod}/app/blobs/uploads/"), &[], "").await.status.as_u16());
        all
    };
    let (free, ..) = session(&region, asking(&role)).await;
    assert_eq!(ask(&free).await, [200, 200, 200, 403], "without a session policy the role's own");
    let app = format!("arn:aws:ecr:us-east-1:{prod}:repository/app");
    let narrow = allow(&["ecr:BatchGetImage", "ecr:InitiateLayerUpload"], &app);
    let policies = vec![narrow, allow(&["ecr:DescribeImages"], "*")];
    let (bound, _, ctx, _) = session(&region, AssumeRole { policies, ..asking(&role) }).await;
    assert_eq!(ask(&bound).await, [200, 403, 403, 403], "only what both allow");
    let told = bound.get(&format!("/v2/{prod}/other/manifests/v1")).await.text();
    assert!(told.contains("because no session policy allows the ecr:BatchGetImage action"), "{told}");
    // A password made from the session is bound too; here it is not even given.
    let password = region.app().authorization_token(&ctx).await.map(drop).unwrap_err();
    assert_eq!(password.reason, Reason::AccessDenied);
    let policies = vec![allow(&["ecr:GetAuthorizationToken", "ecr:BatchGetImage"], "*")];
    let (.., ctx, _) = session(&region, AssumeRole { policies, ..asking(&role) }).await;
    let password = region.app().authorization_token(&ctx).await.unwrap();
    let derived = Http::new(&region.base, Some(password.text.expose().clone()));
    assert_eq!(ask(&derived).await, [200, 200, 403, 403]);
    for bad in [r#"{"Version":"2012-10-17"}"#.to_owned(), format!("{:>2049}", "{}")] {
        let request = AssumeRole { policies: vec![bad], ..asking(&role) };
        assert!(assume(&region, &region.admin("prod").await, request).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lasts_as_long_as_caller_and_role_may_have_it() {
    let region = Region::start().await;
    let role = runner(&region).await;
    let chained = trust(role.arn().as_str(), None);
    let next = tenants::role(&region, "prod", "next", &chained, &allow(tenants::PULL, "*")).await;
    let rights = allow(&["sts:AssumeRole"], "*");
    region.app().put_principal_policy(&region.admin("prod").await, role.clone(), "chain", &rights).await.unwrap();
    let (.., in_session, _) = session(&region, asking(&role)).await;
    let by_key = region.admin("prod").await;
    let signed_in = tenants::signed_in(&region, "prod").await;
    let invalid = Err(Reason::InvalidArgument);
    // The role's own maximum is two hours.
    for (ctx, role, secs, outcome) in [
        (&by_key, &role, 899, invalid),
        (&by_key, &role, 900, Ok(900)),
        (&by_key, &role, 7_200, Ok(7_200)),
        (&by_key, &role, 7_201, invalid),
        // A user is a user by its bearer token as well.
        (&signed_in, &role, 7_200, Ok(7_200)),
        (&in_session, &next, 3_600, Ok(3_600)),
        (&in_session, &next, 3_601, invalid),
    ] {
        let request = AssumeRole { duration: Some(Duration::from_secs(secs)), ..asking(role) };
        let begun = region.app().clock().now();
        let lasts = assume(&region, ctx, request).await.map(|assumed| assumed.expires_at.since(begun).as_secs());
        assert_eq!(lasts, outcome, "{} for {secs} s", ctx.caller.display());
    }
    let plain = assume(&region, &by_key, asking(&role)).await.unwrap();
    let (token, _) = tenants::bearer(&region, &plain).await;
    let status = async || Http::new(&region.base, Some(token.clone())).get("/v2/").await;
    assert_eq!(status().await.status, StatusCode::OK);
    region.app().clock().advance(Duration::from_secs(3_601));
    let ended = status().await;
    assert_eq!(ended.status, StatusCode::UNAUTHORIZED, "an hour unless asked otherwise");
    assert!(ended.text().contains("Your authorization token has expired"), "{}", ended.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_changed_or_made_for_another_door_opens_nothing() {
    let region = Region::start().await;
    let role = runner(&region).await;
    let assumed = assume(&region, &region.admin("prod").await, asking(&role)).await.unwrap();
    let (token, _) = tenants::bearer(&region, &assumed).await;
    let ping = async |token: &str| Http::new(&region.base, Some(token.to_owned())).get("/v2/").await.status;
    assert_eq!(ping(&token).await, StatusCode::OK);
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        // The last character of base64 may hold bits that mean nothing; then it is not read at all.
        assert_eq!(ping(&changed).await, StatusCode::UNAUTHORIZED, "changed at {at} of {}", token.len());
    }
    for wrong in [&token[..token.len() - 4], &format!("{token}AAAA"), "", "ts1.", "x"] {
        assert_eq!(ping(wrong).await, StatusCode::UNAUTHORIZED, "{wrong:?}");
    }
    let session_token = assumed.credentials.session_token.expose();
    assert_eq!(ping(session_token).await, StatusCode::UNAUTHORIZED, "a session token is no password");
    let password = region.password("prod").await;
    let mut grpc = TrustServiceClient::new(crate::grpc::channel(&region).await);
    for token in [&password, session_token] {
        let asked = crate::grpc::under(token, pb::GetCallerIdentityRequest {});
        assert_eq!(grpc.get_caller_identity(asked).await.unwrap_err().code(), Code::Unauthenticated);
    }
    let another = Region::start().await;
    let foreign = another.password("prod").await;
    assert_eq!(ping(&foreign).await, StatusCode::UNAUTHORIZED, "another organization's token, for the same names");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_from_a_principal_ends_with_it() {
    let region = Region::start().await;
    let role = runner(&region).await;
    let (http, token, ..) = session(&region, asking(&role)).await;
    let user = tenants::user(&region, "prod", "leaver", &allow(tenants::PULL, "*")).await;
    let leaver = tenants::http_of(&region, &user).await;
    assert_eq!((http.get("/v2/").await.status, leaver.get("/v2/").await.status), (StatusCode::OK, StatusCode::OK));
    for name in [role, user] {
        region.app().delete_principal(&region.admin("prod").await, name).await.unwrap();
    }
    let gone = StatusCode::UNAUTHORIZED;
    assert_eq!((http.get("/v2/").await.status, leaver.get("/v2/").await.status), (gone, gone));
    let mut grpc = TrustServiceClient::new(crate::grpc::channel(&region).await);
    let asked = crate::grpc::under(&token, pb::GetCallerIdentityRequest {});
    assert_eq!(grpc.get_caller_identity(asked).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_is_refused_at_the_next_request_and_cut_in_the_middle_of_a_pull() {
    let region = Region::start().await;
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    let layer = vec![3; 96 << 20];
    region.http("prod").await.push_image(&format!("{prod}/app"), "v1", &[&layer]).await;
    let role = runner(&region).await;
    let (http, token, ctx, id) = session(&region, asking(&role)).await;
    let (spared, ..) = session(&region, asking(&role)).await;
    let password = region.app().authorization_token(&ctx).await.unwrap().text.expose().clone();
    let derived = Http::new(&region.base, Some(password.clone()));
    let path = format!("/v2/{prod}/app/blobs/{}", Digest::of(&layer));
    let mut pull = Slow::open(&region, &path, &password).await;
    assert!(pull.until(2 << 20).await);
    let foreign = region.app().revoke_session(&region.admin("dev").await, prod, id).await.unwrap_err();
    assert_eq!(foreign.reason, Reason::AccessDenied);
    let elsewhere = region.app().revoke_session(&region.admin("dev").await, dev, id).await.unwrap_err();
    assert_eq!(elsewhere.reason, Reason::NotFound, "under its own name another account revokes nothing");
    assert_eq!(http.get(&format!("/v2/{prod}/app/manifests/v1")).await.status, StatusCode::OK);

    region.app().revoke_session(&region.admin("prod").await, prod, id).await.unwrap();
    for http in [&http, &derived] {
        let refused = http.get(&format!("/v2/{prod}/app/manifests/v1")).await;
        assert_eq!((refused.status, code(&refused).as_str()), (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"));
    }
    let mut grpc = TrustServiceClient::new(crate::grpc::channel(&region).await);
    let asked = crate::grpc::under(&token, pb::GetCallerIdentityRequest {});
    assert_eq!(grpc.get_caller_identity(asked).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(spared.get(&format!("/v2/{prod}/app/manifests/v1")).await.status, StatusCode::OK, "another session");
    pull.breaks_within_five_seconds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_honoured_in_every_region_and_revoked_in_any_it_is_refused_in_all() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let prod = home.account("prod");
    for region in [home, away] {
        region.http("prod").await.push_image(&format!("{prod}/app"), "v1", &[b"layer"]).await;
    }
    let role = runner(home).await;
    eventually("the role and its policy in the other region", async || {
        let known = away.app().unique_id(&role).await.unwrap()?;
        let ctx = away.caller(role.clone()).await;
        let allowed = away.app().authorization_token(&ctx).await.is_ok();
        allowed.then_some(known)
    })
    .await;
    let assumed = assume(home, &home.admin("prod").await, asking(&role)).await.unwrap();
    let (here, _) = tenants::bearer(home, &assumed).await;
    let (there, _) = tenants::bearer(away, &assumed).await;
    let pull = async |region: &Region, token: &str| {
        Http::new(&region.base, Some(token.to_owned())).get(&format!("/v2/{prod}/app/manifests/v1")).await.status
    };
    for (region, token) in [(home, &here), (away, &there), (home, &there), (away, &here)] {
        assert_eq!(pull(region, token).await, StatusCode::OK);
    }
    away.app().revoke_session(&away.admin("prod").await, prod, assumed.id).await.unwrap();
    let revoked = Instant::now();
    assert_eq!(pull(away, &there).await, StatusCode::UNAUTHORIZED);
    assert_eq!(pull(away, &here).await, StatusCode::UNAUTHORIZED);
    eventually("the refusal at home", async || (pull(home, &here).await == StatusCode::UNAUTHORIZED).then_some(()))
        .await;
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
    assert_eq!(pull(home, &there).await, StatusCode::UNAUTHORIZED);
}

/// A registry token for these scopes, from the token service.
async fn scoped(http: &Http, scopes: &[&str]) -> String {
    let query: Vec<String> = scopes.iter().map(|scope| format!("scope={scope}")).collect();
    let answer = http.call(Method::GET, &format!("/token?service=here&{}", query.join("&")), &[], Bytes::new()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    document["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_token_is_good_for_its_scope_and_its_holder_cannot_widen_it() {
    let region = Region::start().await;
    let prod = region.account("prod");
    let owner = region.http("prod").await;
    for name in ["app", "other"] {
        owner.push_image(&format!("{prod}/{name}"), "v1", &[b"layer"]).await;
    }
    let ask = async |token: &str| {
        let http = Http::new(&region.base, Some(token.to_owned()));
        let mut all = Vec::new();
        for (method, below) in [
            (Method::GET, "app/manifests/v1"),
            (Method::POST, "app/blobs/uploads/"),
            (Method::DELETE, "app/manifests/v9"),
            (Method::GET, "other/manifests/v1"),
            (Method::POST, "other/blobs/uploads/"),
        ] {
            all.push(http.call(method, &format!("/v2/{prod}/{below}"), &[], Bytes::new()).await.status.as_u16());
        }
        all
    };
    let (app, other) = (format!("repository:{prod}/app"), format!("repository:{prod}/other"));
    let pull = scoped(&owner, &[&format!("{app}:pull")]).await;
    assert_eq!(ask(&pull).await, [200, 401, 401, 401, 401]);
    // It is told what to ask for, not that it may not.
    let holder = Http::new(&region.base, Some(pull.clone()));
    let wanting = holder.call(Method::POST, &format!("/v2/{prod}/app/blobs/uploads/"), &[], Bytes::new()).await;
    let challenge = wanting.header("www-authenticate").to_owned();
    assert!(challenge.contains(&format!("scope=\"{app}:pull,push\",error=\"insufficient_scope\"")), "{challenge}");
    let push = scoped(&owner, &[&format!("{app}:pull,push"), &format!("{other}:pull")]).await;
    assert_eq!(ask(&push).await, [200, 202, 401, 200, 401]);
    let delete = scoped(&owner, &[&format!("{app}:delete")]).await;
    assert_eq!(ask(&delete).await, [401, 401, 404, 401, 401]);
    let none = scoped(&owner, &["registry:catalog:*"]).await;
    assert_eq!(ask(&none).await, [401, 401, 401, 401, 401]);
    for wider in [format!("{app}:pull,push"), format!("{other}:pull"), format!("{app}:delete")] {
        let widened = scoped(&holder, &[&wider]).await;
        assert!(ask(&widened).await.iter().skip(1).all(|status| *status == 401), "{wider}");
    }
    let same = scoped(&holder, &[&format!("{app}:pull")]).await;
    assert_eq!(ask(&same).await, [200, 401, 401, 401, 401]);
    // What a scope names is not thereby allowed.
    let idle = tenants::user(&region, "prod", "idle", &allow(&["ecr:GetAuthorizationToken"], "*")).await;
    let idle = scoped(&tenants::http_of(&region, &idle).await, &[&format!("{app}:*")]).await;
    assert_eq!(ask(&idle).await, [403, 403, 403, 403, 403]);
    // It ends after five minutes, and no domain call widens it.
    let address = repository(&region, "prod", "app");
    let caller = region.app().caller_of_token(&pull, transship::identity::Kind::ON_REGISTRY).await.unwrap();
    let ctx = Ctx { caller, ..region.app().system("test") };
    assert!(region.app().delete_repository(&ctx, &address, true).await.is_err());
    assert!(region.app().list_principals(&ctx, prod, "", transship::names::PageSize::clamp(10)).await.is_err());
    region.app().clock().advance(Duration::from_secs(301));
    assert_eq!(ask(&same).await, [401, 401, 401, 401, 401]);
}

/// A trust policy that lets a principal take the role, tag its session and say who is behind it.
fn trust_with_tags(principal: &str) -> String {
    serde_json::json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": principal},
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]}})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sessions_tags_are_what_policies_ask_for_and_go_on_only_if_they_are_transitive() {
    let region = Region::start().await;
    let dev = region.account("dev");
    let root = format!("arn:aws:iam::{dev}:root");
    let by_tag = serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sts:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "ecr:DescribeRepositories", "Resource": "*",
            "Condition": {"StringEquals": {"aws:PrincipalTag/Team": "blue"}}}]})
    .to_string();
    let first = tenants::role(&region, "dev", "first", &trust_with_tags(&root), &by_tag).await;
    let second = tenants::role(&region, "dev", "second", &trust_with_tags(&root), &by_tag).await;
    region.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let (admin, address) = (region.admin("dev").await, repository(&region, "dev", "app"));
    let tag = |key: &str, value: &str, transitive| SessionTag::new(key, value, transitive).unwrap();
    let take = async |ctx: &Ctx, role: &PrincipalName, tags: Vec<SessionTag>| {
        region.app().assume_role(ctx, AssumeRole { tags, ..asking(role) }).await
    };
    let calling =
        |issued: Issued| Ctx { caller: Caller::Principal(Arc::new(issued.principal)), ..region.app().system("test") };
    let sees = async |ctx: &Ctx| region.app().get_repository(ctx, &address).await.is_ok();
    for (value, transitive) in [("blue", false), ("blue", true), ("red", true)] {
        let session = calling(take(&admin, &first, vec![tag("team", value, transitive)]).await.unwrap());
        assert_eq!(sees(&session).await, value == "blue", "the keys of tags ignore case");
        let next = calling(take(&session, &second, Vec::new()).await.unwrap());
        assert_eq!(sees(&next).await, value == "blue" && transitive, "{value} {transitive}");
        let overwritten = take(&session, &second, vec![tag("TEAM", "blue", false)]).await.map(drop);
        assert_eq!(overwritten.is_ok(), !transitive, "an inherited tag is not overwritten");
    }
    let twice = take(&admin, &first, vec![tag("team", "a", false), tag("Team", "b", false)]).await.map(drop);
    assert_eq!(twice.unwrap_err().reason, Reason::InvalidArgument);
    let many = (0..51).map(|at| tag(&at.to_string(), "", false)).collect();
    assert_eq!(take(&admin, &first, many).await.map(drop).unwrap_err().reason, Reason::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_behind_a_session_stays_so_along_a_chain_of_roles() {
    let region = Region::start().await;
    let root = format!("arn:aws:iam::{}:root", region.account("dev"));
    let first = tenants::role(&region, "dev", "first", &trust_with_tags(&root), &allow(&["sts:*"], "*")).await;
    let plain = tenants::trust(&root, None);
    let second = tenants::role(&region, "dev", "second", &trust_with_tags(&root), &allow(&["sts:*"], "*")).await;
    let strict = tenants::role(&region, "dev", "strict", &plain, &allow(&["sts:*"], "*")).await;
    let admin = region.admin("dev").await;
    let name = |text: &str| Some(SessionName::parse(text).unwrap());
    let take = async |ctx: &Ctx, role: &PrincipalName, source_identity| {
        region.app().assume_role(ctx, AssumeRole { source_identity, ..asking(role) }).await
    };
    let issued = take(&admin, &first, name("alice")).await.unwrap();
    let ctx = Ctx { caller: Caller::Principal(Arc::new(issued.principal)), ..region.app().system("test") };
    let kept = take(&ctx, &second, None).await.unwrap().principal.session.unwrap();
    assert_eq!(kept.source_identity.as_deref(), Some("alice"));
    assert!(take(&ctx, &second, name("alice")).await.is_ok());
    assert_eq!(take(&ctx, &second, name("bob")).await.map(drop).unwrap_err().reason, Reason::AccessDenied);
    // A role whose trust policy does not let it be said is not taken by who is known to be behind another.
    assert_eq!(take(&ctx, &strict, None).await.map(drop).unwrap_err().reason, Reason::AccessDenied);
    assert!(take(&admin, &strict, None).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_federated_user_has_what_its_maker_and_its_policy_both_allow_and_never_more() {
    use transship::domain::federated_users::GetFederationToken;
    use transship::names::FederatedName;
    let region = Region::start().await;
    let dev = region.account("dev");
    region.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let maker = tenants::user(
        &region,
        "dev",
        "maker",
        &allow(
            &["sts:GetFederationToken", "sts:TagSession", "ecr:BatchGetImage", "ecr:GetAuthorizationToken", "iam:*"],
            "*",
        ),
    )
    .await;
    let ctx = region.caller(maker.clone()).await;
    let make = async |policies: Vec<String>, tags: Vec<SessionTag>| {
        let name = FederatedName::parse("carol").unwrap();
        let request = GetFederationToken { name, policies, managed: Vec::new(), duration: None, tags };
        region.app().federation_token(&now(&region, &ctx), request).await
    };
    let image = format!("/v2/{dev}/app/manifests/v1");
    let pulls = async |issued: &Issued| {
        let (token, ctx) = tenants::bearer(&region, issued).await;
        (Http::new(&region.base, Some(token)).get(&image).await.status, ctx)
    };
    let all = allow(&["*"], "*");
    let issued = make(vec![all.clone()], Vec::new()).await.unwrap();
    assert_eq!(issued.principal.arn().as_str(), format!("arn:aws:sts::{dev}:federated-user/carol"));
    assert_eq!(issued.principal.user_id(), format!("{dev}:carol"));
    let (status, carol) = pulls(&issued).await;
    assert_eq!(status, StatusCode::OK);
    // Neither IAM nor STS, though its maker may, and nothing beyond its maker.
    let admin = region.app().create_user(&carol, dev, &transship::names::UserName::parse("mallory").unwrap()).await;
    assert_eq!(admin.map(drop).map_err(|e| e.reason), Err(Reason::AccessDenied));
    let me = trust(&format!("arn:aws:iam::{dev}:root"), None);
    let role = tenants::role(&region, "dev", "open", &me, &all).await;
    assert_eq!(assume(&region, &carol, asking(&role)).await.map(drop), Err(Reason::AccessDenied));
    let refused = region.app().federation_token(
        &carol,
        GetFederationToken {
            name: FederatedName::parse("eve").unwrap(),
            policies: vec![],
            managed: vec![],
            duration: None,
            tags: vec![],
        },
    );
    assert_eq!(refused.await.map(drop).map_err(|e| e.reason), Err(Reason::AccessDenied));
    // Without a policy of its own it has nothing, and a narrower token of nothing is nothing.
    let bare = make(Vec::new(), Vec::new()).await.unwrap();
    assert_eq!(pulls(&bare).await.0, StatusCode::FORBIDDEN);
    // Unless a repository names it.
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ecr:BatchGetImage",
        "Principal": {"AWS": format!("arn:aws:sts::{dev}:federated-user/carol")}}});
    let address = repository(&region, "dev", "app");
    let owner = region.admin("dev").await;
    region.app().set_repository_policy(&owner, &address, &policy.to_string(), false).await.unwrap();
    assert_eq!(pulls(&bare).await.0, StatusCode::OK);
    region.app().delete_repository_policy(&owner, &address).await.unwrap();
    // Tags are its own, and its end is its maker's.
    let tagged = serde_json::json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalTag/team": "blue", "aws:PrincipalType": "FederatedUser"}}}});
    let tag = SessionTag::new("team", "blue", false).unwrap();
    let blue = make(vec![tagged.to_string()], vec![tag]).await.unwrap();
    assert_eq!(pulls(&blue).await.0, StatusCode::OK);
    assert_eq!(pulls(&make(vec![tagged.to_string()], Vec::new()).await.unwrap()).await.0, StatusCode::FORBIDDEN);
    let (token, _) = tenants::bearer(&region, &blue).await;
    region.app().delete_principal(&owner, maker).await.unwrap();
    assert_eq!(Http::new(&region.base, Some(token)).get(&image).await.status, StatusCode::UNAUTHORIZED);
}
