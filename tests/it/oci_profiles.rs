//! What a registry's owner chooses for it: whose answers it gives, and whether manifests may be incomplete.

use crate::harness::Region;
use crate::tenants::code;
use http::{Method, StatusCode};
use transship::domain::registries::NewSettings;
use transship::names::{Digest, Profile};

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_the_ecr_profile_deletes_no_blob_and_the_rest_of_its_settings_stay() {
    let region = Region::start().await;
    let (dev, http) = (region.account("dev"), region.http("dev").await);
    let (admin, repository) = (region.admin("dev").await, format!("{dev}/app"));
    let digest = http.push_blob(&repository, b"a layer").await;
    let path = format!("/v2/{repository}/blobs/{digest}");
    let missing = format!("/v2/{repository}/blobs/{}", Digest::of(b"none"));
    let choose = async |profile| {
        let wanted = NewSettings { profile: Some(profile), ..NewSettings::default() };
        region.app().set_registry_settings(&admin, dev, wanted).await.unwrap()
    };
    let chosen = choose(Profile::Ecr).await;
    assert_eq!((chosen.profile, chosen.create_on_push, chosen.sparse_manifests), (Profile::Ecr, true, false));
    for path in [&path, &missing] {
        let refused = http.call(Method::DELETE, path, &[], "").await;
        assert_eq!((refused.status, code(&refused).as_str()), (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"));
        assert_eq!(refused.header("allow"), "GET, HEAD");
    }
    assert_eq!(http.get(&path).await.body, "a layer");
    choose(Profile::Oci).await;
    assert_eq!(http.call(Method::DELETE, &missing, &[], "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(http.call(Method::DELETE, &path, &[], "").await.status, StatusCode::ACCEPTED);
    assert_eq!(http.get(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_takes_incomplete_manifests_if_it_says_so_or_leaves_it_to_a_registry_that_does() {
    let region = Region::start().await;
    let (dev, http) = (region.account("dev"), region.http("dev").await);
    let (admin, repository) = (region.admin("dev").await, format!("{dev}/app"));
    http.push_blob(&repository, b"{}").await;
    let address = crate::tenants::repository(&region, "dev", "app");
    let taken = async |at: usize| {
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{"mediaType": crate::harness::MANIFEST, "digest": Digest::of(&at.to_le_bytes()), "size": 9}]});
        let headers = [("content-type", "application/vnd.oci.image.index.v1+json")];
        let path = format!("/v2/{repository}/manifests/v{at}");
        let put = http.call(Method::PUT, &path, &headers, index.to_string()).await;
        assert!(put.status == StatusCode::CREATED || code(&put) == "MANIFEST_BLOB_UNKNOWN", "{}", put.text());
        put.status == StatusCode::CREATED
    };
    let cases = [(false, None, false), (false, Some(true), true), (true, None, true), (true, Some(false), false)];
    for (at, (registry, own, expected)) in cases.into_iter().enumerate() {
        let wanted = NewSettings { sparse_manifests: Some(registry), ..NewSettings::default() };
        region.app().set_registry_settings(&admin, dev, wanted).await.unwrap();
        region.app().set_sparse_manifests(&admin, &address, own).await.unwrap();
        assert_eq!(taken(at).await, expected, "registry {registry}, repository {own:?}");
    }
}
