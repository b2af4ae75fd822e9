//! Identity tokens of other issuers: the attacks that are known by a number. What else is refused is in `federation`.

use crate::federation::{LOCAL, attacks, code, now, releases, shown};
use crate::harness::Region;
use http::StatusCode;

/// Shows every forged token of an advisory, as itself and as a password.
async fn refused(advisory: &str) {
    let region = Region::configured(LOCAL).await;
    let (issuer, role) = releases(&region).await;
    let good = issuer.token(&issuer.github("main", now(&region)));
    assert_eq!(code(&region, &role, &good).await, "ok", "the token from which the attacks are made is good");
    let forged: Vec<_> =
        attacks(&issuer, now(&region)).into_iter().filter(|(attack, ..)| attack.starts_with(advisory)).collect();
    assert!(forged.len() >= 4, "{advisory} has {} attacks", forged.len());
    let before = crate::tenants::books(&region);
    for (attack, token, expected) in forged {
        assert_eq!(code(&region, &role, &token).await, expected, "{attack}");
        assert_eq!(shown(&region, &role, &token, "/v2/").await, StatusCode::UNAUTHORIZED, "{attack} as a password");
    }
    before.unchanged(&crate::tenants::books(&region), advisory);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_33322_a_tokens_algorithm_is_its_keys() {
    refused("CVE-2026-33322").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_24976_a_key_in_a_tokens_header_is_not_a_key() {
    refused("CVE-2025-24976").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_5798_a_token_is_for_its_audience() {
    refused("CVE-2024-5798").await;
}
