//! How fast a signature is verified, and how many roles are taken a second: `cargo bench --bench trust`.
//!
//! Verifying is one thread and no I/O: a signed POST as an AWS client sends it, read, checked and verified; its body is
//! hashed each time. Roles are taken over the AWS wire, HTTP/1.1 without TLS, by `CLIENTS` (16) connections for `SECONDS`
//! (5), `RUNS` (5) times; client and server share this process and its cores, metadata is SQLite with synced commits.
//! Medians are printed, nothing is judged.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

#[path = "../tests/it/harness.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "it is the tests' own, and they use all of it")]
mod harness;

use harness::{Http, Region};
use http::{HeaderMap, HeaderValue, Method, Uri};
use std::hint::black_box;
use std::time::{Duration, Instant};
use transship::clock::{Clock, Timestamp};
use transship::identity::canonical::sha256;
use transship::identity::sign::{Credentials, headers};
use transship::identity::sigv4::{Presented, Request, Target};
use transship::names::{Region as RegionName, RoleName};
use transship::secret::Secret;

const FORM: &str = "application/x-www-form-urlencoded";

fn main() {
    let setting = |name: &str, usual: u64| std::env::var(name).ok().and_then(|t| t.parse().ok()).unwrap_or(usual);
    let (clients, seconds, runs) = (setting("CLIENTS", 16), setting("SECONDS", 5), setting("RUNS", 5));
    tell("SigV4 verified, one thread", (0..runs).map(|_| verified(Duration::from_secs(seconds))).collect());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let taken = runtime.block_on(async {
        let region = Region::start().await;
        let body = role(&region).await;
        let mut taken = Vec::new();
        for _ in 0..runs {
            taken.push(assumed(&region, &body, clients, Duration::from_secs(seconds)).await);
        }
        taken
    });
    tell(&format!("AssumeRole, {clients} connections"), taken);
}

fn tell(what: &str, mut rates: Vec<f64>) {
    rates.sort_by(f64::total_cmp);
    let (least, median, most) = (rates[0], rates[rates.len() / 2], rates[rates.len() - 1]);
    println!("{what}: {median:.0} a second ({least:.0} to {most:.0})");
}

/// A signed request's headers, for a service of the region.
fn signed(host: &str, body: &str, id: &str, secret: &Secret<String>, now: Timestamp) -> HeaderMap {
    let (uri, region): (Uri, _) = ("/".parse().expect("a path"), RegionName::parse("us-east-1").expect("a region"));
    let mut all = HeaderMap::new();
    all.insert("host", HeaderValue::from_str(host).expect("a host"));
    all.insert("content-type", HeaderValue::from_static(FORM));
    let request = Request { method: &Method::POST, uri: &uri, headers: &all, payload: sha256(body.as_bytes()).into() };
    let by = Credentials { access_key_id: id, secret, session_token: None };
    let added = headers(&request, &by, &Target { region: &region, service: "sts" }, now).expect("a signature");
    all.extend(added);
    all
}

/// Signatures that one thread verifies a second.
fn verified(time: Duration) -> f64 {
    let (secret, now) = (Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()), Clock::system().now());
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    let all = signed("127.0.0.1:5000", body, "AKIAIOSFODNN7EXAMPLE", &secret, now);
    let (uri, region): (Uri, _) = ("/".parse().expect("a path"), RegionName::parse("us-east-1").expect("a region"));
    let (began, mut count) = (Instant::now(), 0_u32);
    while began.elapsed() < time {
        for _ in 0..100 {
            let request =
                Request { method: &Method::POST, uri: &uri, headers: &all, payload: sha256(body.as_bytes()).into() };
            let presented = Presented::parse(black_box(&request)).expect("a signature");
            presented.check_target(&Target { region: &region, service: "sts" }).expect("the target");
            presented.check_time(now).expect("the time");
            presented.verify(&secret).expect("the signature");
        }
        count += 100;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

/// A role that dev's admin may take, and the form that asks for it.
async fn role(region: &Region) -> String {
    let (dev, admin) = (region.account("dev"), region.admin("dev").await);
    let trust = format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{dev}:user/admin"}},"Action":"sts:AssumeRole"}}}}"#
    );
    let name = RoleName::parse("ci").expect("a name");
    region.app().create_role(&admin, dev, &name, &trust, 3_600).await.expect("a role");
    format!("Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A{dev}%3Arole%2Fci&RoleSessionName=night")
}

/// Roles that so many connections take a second.
async fn assumed(region: &Region, body: &str, clients: u64, time: Duration) -> f64 {
    let (id, secret) = region.access_key("dev");
    let host = region.base.trim_start_matches("http://");
    let all = signed(host, body, &id, &Secret::new(secret), region.app().clock().now());
    let sent: Vec<(String, String)> = all
        .iter()
        .filter(|(name, _)| *name != "host")
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
        .collect();
    let began = Instant::now();
    let each = (0..clients).map(|_| {
        let (http, sent, body) = (Http::new(&region.base, None), sent.clone(), body.to_owned());
        tokio::spawn(async move {
            let sent: Vec<(&str, &str)> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let mut count = 0_u32;
            while began.elapsed() < time {
                let answer = http.call(Method::POST, "/", &sent, body.clone()).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                count += 1;
            }
            count
        })
    });
    let mut all = 0;
    for client in each.collect::<Vec<_>>() {
        all += client.await.expect("a client");
    }
    f64::from(all) / began.elapsed().as_secs_f64()
}
