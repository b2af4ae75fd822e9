use super::{Action, Call, Error, MAX_TAGS, Reference, Route, Start, parse};
use crate::api::oci::address::Repository;
use crate::error::{Error as Envelope, Reason};
use crate::names::{AccountId, Algorithm, Digest, MediaType, RepositoryName, Tag, Uid};
use http::{Method, Uri};
use proptest::prelude::*;

const ECR: &str = "111122223333.dkr.ecr.eu-west-1.example.com";
const PLAIN: &str = "localhost:5000";
const UPLOAD: &str = "6fa459ea-ee8a-4ca4-894e-db77e160355e";

fn read(method: &str, host: &str, uri: &str) -> Result<Route, Error> {
    parse(&method.parse::<Method>().unwrap(), &uri.parse::<Uri>().unwrap(), host)
}

fn digest() -> Digest {
    Digest::of(b"")
}

fn repository(name: &str) -> Repository {
    Repository { account: AccountId::parse("111122223333").unwrap(), name: RepositoryName::parse(name).unwrap() }
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

/// Every action with the method and path behind the repository that ask for it.
fn actions() -> Vec<(&'static str, String, Action)> {
    let (digest, upload) = (digest(), Uid::parse(UPLOAD).unwrap());
    let escaped = digest.to_string().replace(':', "%3A");
    let by_tag = Reference::Tag(tag("v1"));
    let by_digest = Reference::Digest(digest);
    let from = Some(repository("base"));
    let uploads = |query: &str| format!("blobs/uploads/{query}");
    let this = |query: &str| format!("blobs/uploads/{UPLOAD}{query}");
    vec![
        ("GET", format!("blobs/{digest}"), Action::BlobGet { digest }),
        ("GET", format!("blobs/{escaped}"), Action::BlobGet { digest }),
        ("HEAD", format!("blobs/{digest}"), Action::BlobHead { digest }),
        ("DELETE", format!("blobs/{digest}"), Action::BlobDelete { digest }),
        ("POST", uploads(""), Action::UploadStart(Start::Session { algorithm: None })),
        ("POST", "blobs/uploads".to_owned(), Action::UploadStart(Start::Session { algorithm: None })),
        (
            "POST",
            uploads("?digest-algorithm=sha512"),
            Action::UploadStart(Start::Session { algorithm: Some(Algorithm::Sha512) }),
        ),
        ("POST", uploads(&format!("?digest={escaped}")), Action::UploadStart(Start::Whole { digest })),
        ("POST", uploads(&format!("?mount={escaped}")), Action::UploadStart(Start::Mount { digest, from: None })),
        ("POST", uploads(&format!("?mount={digest}&from=FROM")), Action::UploadStart(Start::Mount { digest, from })),
        (
            "POST",
            uploads(&format!("?mount={digest}&from=No%2FName")),
            Action::UploadStart(Start::Session { algorithm: Some(Algorithm::Sha256) }),
        ),
        ("GET", this(""), Action::UploadStatus { upload }),
        ("PATCH", this(""), Action::UploadPatch { upload }),
        ("PUT", this(&format!("?digest={escaped}")), Action::UploadPut { upload, digest }),
        ("DELETE", this(""), Action::UploadCancel { upload }),
        ("GET", "manifests/v1".to_owned(), Action::ManifestGet { reference: by_tag.clone() }),
        ("HEAD", format!("manifests/{digest}"), Action::ManifestHead { reference: by_digest.clone() }),
        ("PUT", "manifests/v1".to_owned(), Action::ManifestPut { reference: by_tag.clone(), tags: vec![] }),
        (
            "PUT",
            format!("manifests/{digest}?tag=a&tag=b"),
            Action::ManifestPut { reference: by_digest.clone(), tags: vec![tag("a"), tag("b")] },
        ),
        ("DELETE", "manifests/v1".to_owned(), Action::ManifestDelete { reference: by_tag }),
        ("DELETE", format!("manifests/{escaped}"), Action::ManifestDelete { reference: by_digest }),
        ("GET", "tags/list".to_owned(), Action::Tags { n: None, last: None }),
        ("GET", "tags/list?n=0".to_owned(), Action::Tags { n: Some(0), last: None }),
        ("GET", "tags/list?n=5&last=v1&ns=x".to_owned(), Action::Tags { n: Some(5), last: Some(tag("v1")) }),
        ("GET", "tags/list?n=99999999999999&last=".to_owned(), Action::Tags { n: Some(1_000), last: None }),
        ("GET", format!("referrers/{digest}"), Action::Referrers { digest, artifact_type: None, n: None, last: None }),
        (
            "GET",
            format!("referrers/{digest}?artifactType=application%2Fvnd.example%2Bjson&n=2&last={digest}"),
            Action::Referrers {
                digest,
                artifact_type: Some(MediaType::parse("application/vnd.example+json").unwrap()),
                n: Some(2),
                last: Some(digest),
            },
        ),
    ]
}

#[test]
fn every_action_is_found_under_both_forms_of_address_and_any_repository_name() {
    for name in ["app", "team/app", "a/blobs/uploads", "a/manifests/b", "tags/list", "blobs", "x/referrers/v2/y"] {
        let parsed = RepositoryName::parse(name).unwrap();
        for (method, path, action) in actions() {
            let plain = format!("/v2/111122223333/{name}/{}", path.replace("FROM", "111122223333%2Fbase"));
            let ecr = format!("/v2/{name}/{}", path.replace("FROM", "base"));
            for (host, uri) in [(PLAIN, plain), (ECR, ecr)] {
                let route = read(method, host, &uri).unwrap_or_else(|error| panic!("{method} {uri}: {error}"));
                let repository = Repository { account: repository("app").account, name: parsed.clone() };
                assert_eq!(route.call, Call::Repository(repository, action.clone()), "{method} {uri}");
                assert_eq!(route.host.is_some(), host == ECR);
            }
        }
    }
}

#[test]
fn paths_without_a_repository_are_found() {
    assert_eq!(read("GET", PLAIN, "/v2/").unwrap().call, Call::Ping);
    assert_eq!(read("HEAD", PLAIN, "/v2").unwrap().call, Call::Ping);
    assert_eq!(read("GET", PLAIN, "/v2/_catalog?n=5").unwrap().call, Call::Catalog);
    assert_eq!(read("GET", ECR, "/token?account=AWS&service=x&scope=").unwrap().call, Call::Token { scopes: vec![] });
    let uri = "/token?scope=repository%3A111122223333%2Fapp%3Apull&scope=repository:111122223333/b1:push";
    match read("GET", PLAIN, uri).unwrap().call {
        Call::Token { scopes } => assert_eq!(scopes.iter().map(|s| s.push).collect::<Vec<_>>(), [false, true]),
        other => panic!("{other:?}"),
    }
    let region = read("GET", ECR, "/v2/").unwrap().host.unwrap().region;
    assert_eq!(region.as_str(), "eu-west-1");
}

#[test]
fn what_is_no_route_says_why() {
    let app = "/v2/111122223333/app";
    let good = digest();
    let many = format!("{app}/manifests/{good}?{}", "tag=a&".repeat(MAX_TAGS + 1));
    let cases = [
        // An unknown path is a 404, whatever the method.
        ("GET", "/".to_owned(), Reason::NotFound, ""),
        ("GET", "/v1/search".to_owned(), Reason::NotFound, ""),
        ("PUT", format!("{app}/nothing/here"), Reason::NotFound, ""),
        ("GET", format!("{app}/tags/other"), Reason::NotFound, ""),
        ("GET", "/v2/manifests".to_owned(), Reason::NotFound, ""),
        ("GET", format!("{app}/uploads/{UPLOAD}"), Reason::NotFound, ""),
        // A known path with another method is a 405.
        ("DELETE", "/v2/".to_owned(), Reason::Unsupported, "GET, HEAD"),
        ("POST", "/token".to_owned(), Reason::Unsupported, "GET"),
        ("POST", "/v2/_catalog".to_owned(), Reason::Unsupported, "GET"),
        ("POST", format!("{app}/blobs/{good}"), Reason::Unsupported, "GET, HEAD, DELETE"),
        ("GET", format!("{app}/blobs/uploads/"), Reason::Unsupported, "POST"),
        ("POST", format!("{app}/blobs/uploads/{UPLOAD}"), Reason::Unsupported, "GET, PATCH, PUT, DELETE"),
        ("POST", format!("{app}/manifests/v1"), Reason::Unsupported, "GET, HEAD, PUT, DELETE"),
        ("HEAD", format!("{app}/tags/list"), Reason::Unsupported, "GET"),
        ("PUT", format!("{app}/referrers/{good}"), Reason::Unsupported, "GET"),
        // Names.
        ("GET", "/v2/team/app/manifests/v1".to_owned(), Reason::InvalidArgument, "repository name"),
        ("GET", "/v2/111122223333/manifests/v1".to_owned(), Reason::InvalidArgument, "repository name"),
        ("GET", "/v2/111122223333/App/manifests/v1".to_owned(), Reason::InvalidArgument, "repository name"),
        ("GET", "/v2/111122223333/a%2Fb/manifests/v1".to_owned(), Reason::InvalidArgument, "repository name"),
        ("GET", "/v2/111122223333/../b/manifests/v1".to_owned(), Reason::InvalidArgument, "repository name"),
        ("GET", "/v2/111122223333//b/manifests/v1".to_owned(), Reason::InvalidArgument, "repository name"),
        ("GET", "/v2//manifests/v1".to_owned(), Reason::InvalidArgument, "repository name"),
        // Digests, tags and uploads.
        ("GET", format!("{app}/blobs/sha256:baddigeststring"), Reason::InvalidArgument, "digest"),
        ("GET", format!("{app}/blobs/uploads"), Reason::Unsupported, "POST"),
        ("PUT", format!("{app}/manifests/sha256:baddigeststring"), Reason::InvalidArgument, "digest"),
        ("GET", format!("{app}/manifests/sha256:baddigeststring"), Reason::InvalidArgument, "digest"),
        ("PUT", format!("{app}/manifests/.v1"), Reason::InvalidArgument, "tag"),
        ("DELETE", format!("{app}/manifests/.v1"), Reason::InvalidArgument, "tag"),
        ("GET", format!("{app}/manifests/.INVALID_MANIFEST_NAME"), Reason::ImageNotFound, ""),
        ("HEAD", format!("{app}/manifests/"), Reason::ImageNotFound, ""),
        ("PUT", format!("{app}/manifests/v1?tag=v2"), Reason::InvalidArgument, "tag"),
        ("PUT", many, Reason::InvalidArgument, "tag"),
        ("GET", format!("{app}/referrers/latest"), Reason::InvalidArgument, "digest"),
        ("PATCH", format!("{app}/blobs/uploads/nothing"), Reason::UploadNotFound, ""),
        ("PUT", format!("{app}/blobs/uploads/{UPLOAD}"), Reason::InvalidArgument, "digest"),
        ("PUT", format!("{app}/blobs/uploads/{UPLOAD}?digest=sha256:0"), Reason::InvalidArgument, "digest"),
        ("POST", format!("{app}/blobs/uploads/?digest="), Reason::InvalidArgument, "digest"),
        ("POST", format!("{app}/blobs/uploads/?mount=x"), Reason::InvalidArgument, "digest"),
        ("POST", format!("{app}/blobs/uploads/?digest-algorithm=md5"), Reason::InvalidArgument, "digest-algorithm"),
        // Queries.
        ("GET", format!("{app}/tags/list?n=-1"), Reason::InvalidArgument, "n"),
        ("GET", format!("{app}/tags/list?n="), Reason::InvalidArgument, "n"),
        ("GET", format!("{app}/tags/list?n=1x"), Reason::InvalidArgument, "n"),
        ("GET", format!("{app}/tags/list?n=1&n=2"), Reason::InvalidArgument, "query"),
        ("GET", format!("{app}/tags/list?last=.x"), Reason::InvalidArgument, "last"),
        ("GET", format!("{app}/tags/list?last=%zz"), Reason::InvalidArgument, "query"),
        ("GET", format!("{app}/referrers/{good}?artifactType=x"), Reason::InvalidArgument, "artifactType"),
        ("GET", "/token?scope=repository:app:pull".to_owned(), Reason::InvalidArgument, "repository name"),
        ("GET", "/token?scope=app".to_owned(), Reason::InvalidArgument, "scope"),
    ];
    for (method, uri, reason, about) in cases {
        let error = Envelope::from(read(method, PLAIN, &uri).expect_err(&uri));
        assert_eq!(error.reason, reason, "{method} {uri}: {error}");
        let said = error.metadata.get("allow").or_else(|| error.metadata.get("field"));
        assert_eq!(said.map_or("", String::as_str), about, "{method} {uri}: {error}");
    }
}

#[test]
fn a_challenge_asks_for_the_scope_the_call_needs() {
    let app = "/v2/111122223333/app";
    let good = digest();
    let cases = [
        ("GET", "/v2/".to_owned(), None),
        ("GET", format!("{app}/manifests/v1"), Some("repository:111122223333/app:pull")),
        ("PUT", format!("{app}/manifests/v1"), Some("repository:111122223333/app:pull,push")),
        ("DELETE", format!("{app}/blobs/{good}"), Some("repository:111122223333/app:delete")),
        (
            "POST",
            format!("{app}/blobs/uploads/?mount={good}&from=444455556666/base"),
            Some("repository:111122223333/app:pull,push repository:444455556666/base:pull"),
        ),
    ];
    for (method, uri, scope) in cases {
        assert_eq!(read(method, PLAIN, &uri).unwrap().scope().as_deref(), scope, "{method} {uri}");
    }
    assert_eq!(read("GET", ECR, "/v2/app/tags/list").unwrap().scope().as_deref(), Some("repository:app:pull"));
}

proptest! {
    #[test]
    fn any_path_is_read_without_panic(
        method in "GET|HEAD|PUT|POST|PATCH|DELETE|OPTIONS|BREW",
        path in "/(v2|token)?/?[!-~]{0,80}",
        host in "\\PC{0,60}",
    ) {
        if let Ok(uri) = path.parse::<Uri>() {
            let _ = parse(&method.parse().unwrap(), &uri, &host);
        }
    }

    #[test]
    fn paths_made_of_known_pieces_are_read_without_panic(
        method in "GET|HEAD|PUT|POST|PATCH|DELETE",
        pieces in prop::collection::vec(
            "v2|blobs|uploads|manifests|tags|list|referrers|111122223333|app|%3A|%|\\.\\.|sha256:[0-9a-f]{64}|", 0..8,
        ),
        query in "((n|last|digest|mount|from|tag|scope|artifactType)=[!-~&&[^&#]]{0,20}&){0,4}",
    ) {
        if let Ok(uri) = format!("/{}?{query}", pieces.join("/")).parse::<Uri>() {
            for host in [PLAIN, ECR] {
                if let Ok(route) = parse(&method.parse().unwrap(), &uri, host) {
                    let _ = route.scope();
                }
            }
        }
    }
}
