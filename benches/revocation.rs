//! From the call that revokes a session to the moment when every node refuses it: `cargo bench --bench revocation`.
//!
//! One region of three nodes on PostgreSQL and S3, which are those of the tests (`tests/postgres`, `tests/s3`, and
//! `TRANSSHIP_TEST_POSTGRES`, `TRANSSHIP_TEST_S3` that name them), and one other region, which at last is cut off. All run
//! in this process. A poller for each node asks for `/v2/` without a pause until it is refused; the time is that of the
//! last, taken when its answer has come. `RUNS` (100) revocations of each kind; percentiles are printed, nothing is judged.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

#[path = "../tests/it/harness.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "it is the tests' own, and they use all of it")]
mod harness;

use harness::{Http, Organization, Region, eventually};
use std::time::{Duration, Instant};
use transship::ctx::{Caller, Ctx};
use transship::domain::revocations::Of;
use transship::domain::sessions::AssumeRole;
use transship::identity::{Endpoint, sign};
use transship::names::{PrincipalKind, PrincipalName, RoleName, SessionName, Uid};

/// How long a node may take to refuse before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let (Ok(postgres), Ok(bucket)) = (std::env::var("TRANSSHIP_TEST_POSTGRES"), std::env::var("TRANSSHIP_TEST_S3"))
    else {
        return println!(
            "TRANSSHIP_TEST_POSTGRES and TRANSSHIP_TEST_S3 name no servers; tests/postgres and tests/s3 start some"
        );
    };
    let runs = std::env::var("RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    tokio::runtime::Runtime::new().expect("a runtime").block_on(measure(&postgres, &bucket, runs));
}

async fn measure(postgres: &str, bucket: &str, runs: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = folder.path().join("url");
    std::fs::write(&url, database(postgres).await).expect("the URL is written");
    let prefix = transship::clock::Clock::system().uid();
    let first = format!(
        "[store]\nkind = \"postgres\"\nurl = \"file:{}\"\n[blobs]\nkind = \"s3\"\nbucket = \"transship\"\n\
         prefix = \"{prefix}\"\nendpoint = {bucket:?}",
        url.display()
    );
    let organization = Organization::with_nodes(&["us-east-1", "eu-west-1"], &first, 3).await;
    let [one, other, two, three] = &organization.regions[..] else { panic!("two regions, one of three nodes") };
    let role = role(one).await;
    eventually("the role in the other region", async || other.app().unique_id(&role).await.expect("an answer")).await;
    let (nodes, all) = ([one, two, three], [one, two, three, other]);
    println!("{runs} revocations each; milliseconds from the call to the last refusal: p50, p99, most");
    for (what, by, kind) in [
        ("a session, by a node of the region", one, What::Session),
        ("all of a role, by a node of the region", one, What::Role),
        ("a session, by the other region", other, What::Session),
    ] {
        let (mut near, mut every) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let taken = refused(&role, by, one, kind, &all).await;
            near.push(*taken[..3].iter().max().expect("three nodes"));
            every.push(*taken.iter().max().expect("four nodes"));
        }
        tell(&format!("{what}: its three nodes"), near);
        tell(&format!("{what}: all four"), every);
    }
    organization.cuts.iter().for_each(harness::Cut::cut);
    let (mut near, mut last) = (Vec::new(), String::new());
    for _ in 0..runs {
        let (token, session) = issue(one, &role).await;
        near.push(
            *revoked(&role, one, What::Session, &token, session, &nodes).await.iter().max().expect("three nodes"),
        );
        last = token;
    }
    tell("a session, the other region cut off: the three nodes", near);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let honoured = status(other, &last).await == 200;
    println!("6 s after the last, the region that is cut off {}", if honoured { "honours it" } else { "refuses it" });
    let mended = Instant::now();
    organization.cuts.iter().for_each(harness::Cut::mend);
    while status(other, &last).await != 401 {
        assert!(mended.elapsed() < PATIENCE, "the other region never heard of it");
    }
    println!("reached again, it refuses it after {} ms", mended.elapsed().as_millis());
}

/// A database of its own on the server; its URL.
async fn database(server: &str) -> String {
    let (client, connection) =
        tokio_postgres::connect(server, tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    let name = format!("bench_{}", transship::clock::Clock::system().uid().to_string().replace('-', ""));
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
    format!("{}/{name}", server.rsplit_once('/').expect("the URL names a database").0)
}

/// What is revoked.
#[derive(Clone, Copy)]
enum What {
    Session,
    Role,
}

/// A role of dev's that dev's admin may take.
async fn role(region: &Region) -> PrincipalName {
    let (admin, dev, name) =
        (region.admin("dev").await, region.account("dev"), RoleName::parse("runner").expect("a name"));
    let trust = format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{dev}:user/admin"}},"Action":"sts:AssumeRole"}}}}"#
    );
    region.app().create_role(&admin, dev, &name, &trust, 3_600).await.expect("a role");
    PrincipalName { account: dev, kind: PrincipalKind::Role, name: name.as_str().into() }
}

/// The bearer token of a new session, and its id.
async fn issue(region: &Region, role: &PrincipalName) -> (String, Uid) {
    let request = AssumeRole {
        role: role.clone(),
        session_name: SessionName::parse("bench").expect("a name"),
        duration: None,
        policies: Vec::new(),
        managed: Vec::new(),
        external_id: None,
        tags: Vec::new(),
        source_identity: None,
        mfa: None,
    };
    let issued = region.app().assume_role(&region.admin("dev").await, request).await.expect("a session");
    let (app, endpoint) = (region.app(), Endpoint::parse(&region.base).expect("an endpoint"));
    let given = &issued.credentials;
    let credentials = sign::Credentials {
        access_key_id: &given.access_key_id,
        secret: &given.secret,
        session_token: Some(&given.session_token),
    };
    let organization = app.token_keys().expect("keys").organization();
    let (name, now, lasting) = (app.settings().region.clone(), app.clock().now(), Duration::from_secs(60));
    let nonce = app.clock().uid();
    let url =
        sign::presign_get_caller_identity(&endpoint, &name, &credentials, now, lasting, organization, Some(nonce));
    let (token, _) = app.exchange_token(&app.system("bench"), &url, &[endpoint]).await.expect("a token");
    (token.text.expose().clone(), issued.id)
}

async fn status(region: &Region, token: &str) -> u16 {
    Http::new(&region.base, Some(token.to_owned())).get("/v2/").await.status.as_u16()
}

/// Issues a session in one region, revokes it in another, and measures.
async fn refused(role: &PrincipalName, by: &Region, issuer: &Region, what: What, nodes: &[&Region]) -> Vec<Duration> {
    let (token, session) = issue(issuer, role).await;
    revoked(role, by, what, &token, session, nodes).await
}

/// How long after the call each node first refuses; each had let it in before.
async fn revoked(
    role: &PrincipalName,
    by: &Region,
    what: What,
    token: &str,
    session: Uid,
    nodes: &[&Region],
) -> Vec<Duration> {
    let clients: Vec<Http> = nodes.iter().map(|node| Http::new(&node.base, Some(token.to_owned()))).collect();
    for client in &clients {
        assert_eq!(client.get("/v2/").await.status, 200, "it is good before");
    }
    let (admin, app) = (by.admin("dev").await, by.app());
    let ctx = Ctx { caller: Caller::clone(&admin.caller), ..app.system("bench") };
    let began = Instant::now();
    let polls = clients.into_iter().map(|client| {
        tokio::spawn(async move {
            while client.get("/v2/").await.status != 401 {
                assert!(began.elapsed() < PATIENCE, "a node never refused it");
            }
            began.elapsed()
        })
    });
    let polls: Vec<_> = polls.collect();
    match what {
        What::Session => app.revoke_session(&ctx, role.account, session).await.expect("it is revoked"),
        What::Role => {
            app.revoke_sessions(&ctx, role.account, Of::Principal(role.clone())).await.expect("they are revoked");
        }
    }
    let mut taken = Vec::new();
    for poll in polls {
        taken.push(poll.await.expect("a node refuses"));
    }
    taken
}

fn tell(what: &str, mut taken: Vec<Duration>) {
    taken.sort_unstable();
    let at = |percent: usize| taken[(taken.len() * percent).div_ceil(100).saturating_sub(1)].as_secs_f64() * 1_000.0;
    println!("{what:<60} {:>8.1} {:>8.1} {:>8.1}", at(50), at(99), at(100));
}
