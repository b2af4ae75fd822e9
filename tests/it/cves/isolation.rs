//! Advisories about one tenant and another's things.

use crate::harness::{Http, Region};
use crate::tenants::{self, allow, asking, books, code, grant, http_of, repository, trust, user};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;
use transship::domain::repositories::NewRepositorySettings;
use transship::error::Reason;
use transship::names::{Digest, PageSize, Protected, RepositoryName, RoleName, Tag, UserName};
use transship::store::grants::GrantAction;

#[tokio::test(flavor = "multi_thread")]
async fn cve_2019_16097_no_field_that_an_operation_does_not_know_gives_anything() {
    let region = Region::start().await;
    let key = crate::aws::things(&region).await;
    let before = books(&region);
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    let sts = |more: &str| crate::aws::Call {
        service: "sts",
        operation: "GetSessionToken",
        body: format!("Action=GetSessionToken&Version=2011-06-15{more}"),
    };
    for call in [sts("&Admin=true"), sts("&Policy=%7B%7D")] {
        let answer = call.to(&region, Some(&key)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}: {}", call.body, answer.text());
    }
    before.unchanged(&books(&region), "a field nobody knows");
    // The JSON of ECR skips what it does not know, as Amazon's does; so what it skips must give nothing.
    let privileged = json!({"repositoryName": "fresh", "owner": "root", "public": true, "visibility": "PUBLIC",
        "policyText": allow(&["*"], "*"), "account": prod.to_string(), "registryIds": [prod.to_string()]});
    let call = crate::aws::Call { service: "ecr", operation: "CreateRepository", body: privileged.to_string() };
    let made = call.to(&region, Some(&key)).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text());
    assert!(made.text().contains(&format!("\"registryId\":\"{dev}\"")), "{}", made.text());
    let (admin, address) = (region.admin("dev").await, repository(&region, "dev", "fresh"));
    assert!(!region.app().get_repository(&admin, &address).await.unwrap().public);
    assert!(region.app().repository_policy(&admin, &address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2022_31667_cve_2022_31668_cve_2022_31670_cve_2024_22278_an_id_of_another_account_is_none_of_ones_own() {
    let region = Region::start().await;
    let (app, dev, prod) = (region.app(), region.account("dev"), region.account("prod"));
    let (admin, other) = (region.admin("dev").await, region.admin("prod").await);
    region.http("dev").await.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let given = app.create_grant(&admin, dev, grant(prod.as_str(), "app", "*", &[GrantAction::Pull])).await.unwrap();
    let me = format!("arn:aws:iam::{dev}:user/admin");
    let role = tenants::role(&region, "dev", "builder", &trust(&me, None), &allow(&["*"], "*")).await;
    let session = app.assume_role(&admin, asking(&role)).await.unwrap().id;
    let victim = user(&region, "dev", "victim", &allow(&["*"], "*")).await;
    let key = app.create_access_key(&admin, victim.clone()).await.unwrap().id;
    let own = user(&region, "prod", "victim", &allow(&["*"], "*")).await;
    let before = books(&region);
    // Under the other's own account the ids name nothing; under theirs they are not its to touch.
    for (account, reason) in [(prod, Reason::NotFound), (dev, Reason::AccessDenied)] {
        let named = transship::names::PrincipalName { account, ..victim.clone() };
        let told = [
            app.revoke_grant(&other, account, given.id).await.map(drop).unwrap_err().reason,
            app.get_grant(&other, account, given.id).await.map(drop).unwrap_err().reason,
            app.revoke_session(&other, account, session).await.map(drop).unwrap_err().reason,
            app.delete_access_key(&other, named, &key).await.map(drop).unwrap_err().reason,
        ];
        assert_eq!(told, [reason; 4], "{account}");
    }
    before.unchanged(&books(&region), "another account");
    drop(own);
    assert!(app.revoke_session(&admin, dev, session).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_39897_a_blob_is_reached_through_a_repository_that_has_it_and_no_other() {
    let region = Region::start().await;
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    let (owner, foreign) = (region.http("dev").await, region.http("prod").await);
    let secret = owner.push_blob(&format!("{dev}/secret"), b"a layer of dev's").await;
    owner.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    foreign.push_image(&format!("{prod}/app"), "v1", &[b"layer"]).await;
    let reader =
        user(&region, "dev", "reader", &allow(&["ecr:*"], &format!("arn:aws:ecr:*:{dev}:repository/app"))).await;
    let rights = allow(&["ecr:GetAuthorizationToken"], "*");
    region.app().put_principal_policy(&region.admin("dev").await, reader.clone(), "login", &rights).await.unwrap();
    let reader = http_of(&region, &reader).await;
    for (http, repository) in [(&reader, format!("{dev}/app")), (&foreign, format!("{prod}/app"))] {
        let blob = format!("/v2/{repository}/blobs/{secret}");
        assert_eq!(http.get(&blob).await.status, StatusCode::NOT_FOUND, "{repository}");
        assert_eq!(http.call(Method::HEAD, &blob, &[], "").await.status, StatusCode::NOT_FOUND, "{repository}");
        for from in [format!("&from={dev}/secret"), String::new()] {
            let mount = format!("/v2/{repository}/blobs/uploads/?mount={secret}{from}");
            let answer = http.call(Method::POST, &mount, &[], "").await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "the bytes are asked for: {}", answer.text());
        }
        assert_eq!(http.get(&blob).await.status, StatusCode::NOT_FOUND, "{repository}");
    }
    let mount = format!("/v2/{dev}/app/blobs/uploads/?mount={secret}&from={dev}/secret");
    assert_eq!(owner.call(Method::POST, &mount, &[], "").await.status, StatusCode::CREATED, "who may read both");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_31801_cve_2026_41888_latest_is_a_tag_and_every_way_to_a_tag_meets_the_same_switch() {
    let region = Region::start().await;
    let (app, dev, http) = (region.app(), region.account("dev"), region.http("dev").await);
    let (admin, address) = (region.admin("dev").await, repository(&region, "dev", "app"));
    app.create_repository(&admin, &address, NewRepositorySettings::default()).await.unwrap();
    let first = http.push_image(&format!("{dev}/app"), "latest", &[b"first"]).await;
    let mutability = transship::names::TagMutability::parse("IMMUTABLE").unwrap();
    app.set_tag_mutability(&admin, &address, mutability).await.unwrap();
    let second = http.push_image(&format!("{dev}/app"), "second", &[b"second"]).await;
    let text = http.get(&format!("/v2/{dev}/app/manifests/{second}")).await.body;
    let typed = [("content-type", crate::harness::MANIFEST)];
    for path in [format!("/v2/{dev}/app/manifests/latest"), format!("/v2/{dev}/app/manifests/{second}?tag=latest")] {
        let refused = http.call(Method::PUT, &path, &typed, text.clone()).await;
        assert_eq!((refused.status, code(&refused).as_str()), (StatusCode::BAD_REQUEST, "TAG_INVALID"), "{path}");
    }
    // A lock holds whichever way its image is to be deleted.
    app.create_lock(&admin, &address, Protected::parse("latest").unwrap(), String::new()).await.unwrap();
    for reference in ["latest", &first] {
        let refused = http.call(Method::DELETE, &format!("/v2/{dev}/app/manifests/{reference}"), &[], "").await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{reference}: {}", refused.text());
    }
    assert!(app.delete_repository(&admin, &address, true).await.is_err());
    let now = http.get(&format!("/v2/{dev}/app/manifests/latest")).await;
    assert_eq!(now.header("docker-content-digest"), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_35172_a_deleted_blob_does_not_come_back_through_another_repository() {
    let region = Region::start().await;
    let (dev, http) = (region.account("dev"), region.http("dev").await);
    let layer = http.push_blob(&format!("{dev}/app"), b"shared").await;
    http.push_blob(&format!("{dev}/other"), b"shared").await;
    let (here, there) = (format!("/v2/{dev}/app/blobs/{layer}"), format!("/v2/{dev}/other/blobs/{layer}"));
    assert_eq!(http.call(Method::DELETE, &here, &[], "").await.status, StatusCode::ACCEPTED);
    for path in [&there, &here, &there] {
        let status = http.get(path).await.status;
        assert_eq!(status, if *path == here { StatusCode::NOT_FOUND } else { StatusCode::OK }, "{path}");
        let head = http.call(Method::HEAD, path, &[], "").await.status;
        assert_eq!(head, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_32589_an_uploads_id_is_worth_nothing_to_anybody_else() {
    let region = Region::start().await;
    let (dev, prod) = (region.account("dev"), region.account("prod"));
    let (owner, foreign) = (region.http("dev").await, region.http("prod").await);
    let colleague = http_of(&region, &user(&region, "dev", "colleague", &allow(&["ecr:*"], "*")).await).await;
    for (http, repository) in
        [(&owner, format!("{dev}/app")), (&owner, format!("{dev}/base")), (&foreign, format!("{prod}/app"))]
    {
        http.push_blob(&repository, b"layer").await;
    }
    let began = owner.call(Method::POST, &format!("/v2/{dev}/app/blobs/uploads/"), &[], "").await;
    let location = began.header("location").to_owned();
    let finish = |path: &str| format!("{path}?digest={}", Digest::of(b"bytes"));
    for (http, path, status) in [
        (&colleague, location.clone(), 404),
        (&foreign, location.clone(), 403),
        (&foreign, location.replace(&format!("{dev}/app"), &format!("{prod}/app")), 404),
        (&owner, location.replace("/app/", "/base/"), 404),
    ] {
        for (method, path) in [
            (Method::GET, path.clone()),
            (Method::PATCH, path.clone()),
            (Method::PUT, finish(&path)),
            (Method::DELETE, path.clone()),
        ] {
            let answer = http.call(method.clone(), &path, &[], "bytes").await;
            assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.text());
        }
    }
    assert_eq!(owner.call(Method::PUT, &finish(&location), &[], "bytes").await.status, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_4374_who_makes_a_repository_by_a_push_has_no_rights_in_it_but_its_own() {
    let region = Region::start().await;
    let (app, dev) = (region.app(), region.account("dev"));
    let push = [
        "ecr:GetAuthorizationToken",
        "ecr:CreateRepository",
        "ecr:InitiateLayerUpload",
        "ecr:UploadLayerPart",
        "ecr:CompleteLayerUpload",
        "ecr:PutImage",
        "ecr:BatchCheckLayerAvailability",
    ];
    let pusher = user(&region, "dev", "pusher", &allow(&push, "*")).await;
    let http = http_of(&region, &pusher).await;
    http.push_image(&format!("{dev}/made"), "v1", &[b"layer"]).await;
    let (ctx, address) = (region.caller(pusher).await, repository(&region, "dev", "made"));
    let open = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}});
    let denied = [
        app.set_repository_policy(&ctx, &address, &open.to_string(), false).await.map(drop).unwrap_err().reason,
        app.set_visibility(&ctx, &address, true).await.map(drop).unwrap_err().reason,
        app.delete_repository(&ctx, &address, true).await.map(drop).unwrap_err().reason,
    ];
    assert_eq!(denied, [Reason::AccessDenied; 3]);
    assert_eq!(http.get(&format!("/v2/{dev}/made/manifests/v1")).await.status, StatusCode::FORBIDDEN);
    let none = app.repository_policy(&region.admin("dev").await, &address).await.map(drop).unwrap_err();
    assert_eq!(none.reason, Reason::NotFound, "it was made without a policy");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_18255_who_may_read_everything_reads_no_secret() {
    let region = Region::start().await;
    let (app, dev, admin) = (region.app(), region.account("dev"), region.admin("dev").await);
    let me = format!("arn:aws:iam::{dev}:user/admin");
    let role = tenants::role(&region, "dev", "builder", &trust(&me, None), &allow(&["*"], "*")).await;
    let issued = app.assume_role(&admin, asking(&role)).await.unwrap();
    let robot = user(&region, "dev", "robot", &allow(&["*"], "*")).await;
    let key = app.create_access_key(&admin, robot).await.unwrap();
    let reads = allow(&["*:List*", "*:Get*", "*:Describe*", "iam:List*", "transship:List*", "transship:Get*"], "*");
    let refused = app.put_principal_policy(&admin, role.clone(), "bad", &reads).await;
    assert!(refused.is_err(), "no service is a pattern");
    let reads =
        allow(&["iam:List*", "ecr:List*", "ecr:Get*", "ecr:Describe*", "transship:List*", "transship:Get*"], "*");
    let auditor = region.caller(user(&region, "dev", "auditor", &reads).await).await;
    let principals = format!("{:?}", app.list_principals(&auditor, dev, "", PageSize::clamp(100)).await.unwrap());
    let sessions = format!("{:?}", app.list_sessions(&auditor, dev, None, PageSize::clamp(100)).await.unwrap());
    assert!(principals.contains("robot") && sessions.contains(&issued.id.to_string()), "{principals}{sessions}");
    for secret in [key.secret.expose(), issued.credentials.secret.expose(), issued.credentials.session_token.expose()] {
        assert!(!principals.contains(secret.as_str()) && !sessions.contains(secret.as_str()));
    }
    assert!(app.create_access_key(&auditor, tenants::user(&region, "dev", "x", &reads).await).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2020_29662_no_spelling_of_a_path_leads_past_the_question_who_asks() {
    let region = Region::start().await;
    let (dev, owner) = (region.account("dev"), region.http("dev").await);
    owner.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let nobody = Http::new(&region.base, None);
    let app = format!("{dev}/app");
    for path in [
        "/v2/_catalog".to_owned(),
        "/v2//_catalog".to_owned(),
        "/v2/_catalog/".to_owned(),
        "/V2/_catalog".to_owned(),
        "/v2/%5fcatalog".to_owned(),
        "/v2/./_catalog".to_owned(),
        "/v2/x/../_catalog".to_owned(),
        format!("/v2//{app}/tags/list"),
        format!("/v2/{app}//tags/list"),
        format!("/v2/{app}/tags/list/"),
        format!("/v2/{app}/tags/list?x=/v2/"),
        format!("/v2/../v2/{app}/tags/list"),
        format!("/v2/{app}%2ftags/list"),
        format!("/v2/{app}/manifests/v1/"),
        format!("/token/../v2/{app}/manifests/v1"),
        format!("/livez/../v2/{app}/manifests/v1"),
    ] {
        let answer = nobody.get(&path).await;
        assert!(matches!(answer.status.as_u16(), 400 | 401 | 404 | 405), "{path}: {} {}", answer.status, answer.text());
        assert!(!answer.text().contains("v1\"") && !answer.text().contains("sha256:"), "{path}: {}", answer.text());
    }
    assert_eq!(owner.get(&format!("/v2/{app}/tags/list")).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_55774_cve_2026_45808_cve_2026_40264_a_session_is_ended_by_its_own_account_by_whatever_name() {
    let region = Region::start().await;
    let (app, dev, prod) = (region.app(), region.account("dev"), region.account("prod"));
    let me = format!("arn:aws:iam::{dev}:user/admin");
    let role = tenants::role(&region, "dev", "builder", &trust(&me, None), &allow(&["*"], "*")).await;
    let issued = app.assume_role(&region.admin("dev").await, asking(&role)).await.unwrap();
    let (bearer, _) = tenants::bearer(&region, &issued).await;
    let session = issued.id;
    let alive = async || Http::new(&region.base, Some(bearer.clone())).get("/v2/").await.status == StatusCode::OK;
    for name in [
        format!("accounts/{dev}/sessions/{session}"),
        format!("accounts/{prod}/sessions/{session}"),
        format!("accounts/{prod}/sessions/{dev}/{session}"),
        format!("accounts/{prod}/../{dev}/sessions/{session}"),
        format!("sessions/{session}"),
        session.to_string(),
    ] {
        let output = tenants::command(&region, "prod", &["session", "revoke", &name]).await;
        assert!(!output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
        assert!(alive().await, "{name}");
    }
    let name = format!("accounts/{dev}/sessions/{session}");
    let output = tenants::command(&region, "dev", &["session", "revoke", &name]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!alive().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2019_19029_cve_2019_19026_cve_2024_22261_cve_2026_39946_text_is_never_a_part_of_a_statement() {
    let region = Region::start().await;
    let (app, dev, admin) = (region.app(), region.account("dev"), region.admin("dev").await);
    let http = region.http("dev").await;
    http.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let before = books(&region);
    for text in
        ["' OR '1'='1", "x'; DROP TABLE sessions; --", "\"; --", "%' OR 1=1", "$1", "v1' UNION SELECT secret", "\0"]
    {
        // What is a name cannot be written so; what is free text is kept as it was given.
        assert!(RepositoryName::parse(text).is_err() && Tag::parse(text).is_err());
        assert!(UserName::parse(text).is_err() && RoleName::parse(text).is_err());
        let listed = app.list_principals(&admin, dev, text, PageSize::clamp(100)).await;
        if let Ok(rows) = listed {
            assert!(rows.len() <= 1, "{text}: {rows:?}");
        }
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for path in [
            format!("/v2/{dev}/app/manifests/{encoded}"),
            format!("/v2/{dev}/app/tags/list?last={encoded}"),
            format!("/v2/{dev}/app/referrers/{}?artifactType={encoded}", Digest::of(b"layer")),
        ] {
            let status = http.call(Method::GET, &path, &[], Bytes::new()).await.status.as_u16();
            assert!(matches!(status, 200 | 400 | 404), "{path}: {status}");
        }
    }
    before.unchanged(&books(&region), "what was asked");
}
