//! Every operation of every surface, asked for by each kind of caller that may not: what each is told, as one table
//! (`tests/golden/authorization-matrix.txt`), and that nothing has changed.
//!
//! The rows are checked against the product's own lists of methods, routes and operations, and each call is at last made
//! by the owner of what it is about, who is served: so a refusal is one of the caller, never of a malformed call. A cell
//! that is no refusal is an [`Exception`] with its reason, or the test fails. `UPDATE=1` rewrites the table.

mod aws;
mod grpc;
mod oci;

use crate::aws::Key;
use crate::harness::Region;
use crate::operations::golden;
use crate::tenants::{self, allow, asking, books, code, repository, trust};
use http::{Method, StatusCode};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;
use transship::domain::sessions::{AssumeRole, Issued};
use transship::domain::uploads::Started;
use transship::names::{Algorithm, Digest, UserName};
use transship::secret::Secret;

/// What somebody shows: a bearer token over gRPC and to the registry, an access key to the AWS wire.
#[derive(Clone)]
struct Shown {
    bearer: Option<String>,
    key: Option<Key>,
}

/// Those who ask, in the order of the columns, and the owner of what they ask about.
struct Callers {
    columns: Vec<(&'static str, Shown)>,
    owner: Shown,
}

/// The columns and what they mean.
const COLUMNS: [(&str, &str); 8] = [
    ("nobody", "shows no credentials"),
    ("forged", "dev's admin by a token with a changed character, or with a wrong secret"),
    ("elsewhere", "dev's admin by a token or an access key of another organization"),
    ("stranger", "a user of dev without any policy"),
    ("foreign", "the admin of another account, who may do everything there"),
    ("expired", "dev's admin in a session that has expired"),
    ("revoked", "dev's admin in a session that was revoked"),
    ("forbidden", "a role of dev that may do everything, in a session whose policy denies everything"),
];

/// What a cell may say, and what it is on the wire.
const WORDS: [(&str, &str); 8] = [
    (
        "unknown",
        "gRPC UNAUTHENTICATED, CALLER_UNKNOWN; registry 401 UNAUTHORIZED; AWS UnrecognizedClientException, InvalidClientTokenId, InvalidIdentityToken",
    ),
    (
        "expired",
        "gRPC UNAUTHENTICATED, CREDENTIALS_EXPIRED; registry 401 UNAUTHORIZED and its sentence; AWS ExpiredToken(Exception)",
    ),
    ("unsigned", "AWS MissingAuthenticationToken(Exception)"),
    ("signature", "AWS InvalidSignatureException, SignatureDoesNotMatch"),
    ("denied", "gRPC PERMISSION_DENIED, ACCESS_DENIED; registry 403 DENIED; AWS AccessDenied(Exception)"),
    ("401", "the registry to a HEAD, which has no body that says more"),
    ("403", "the same"),
    ("[n]", "no refusal, and note n says why"),
];
const REFUSALS: [&str; 7] = ["unknown", "expired", "unsigned", "signature", "denied", "401", "403"];

/// Cells that are no refusals.
struct Exception {
    surface: &'static str,
    /// What the rows begin with.
    rows: &'static [&'static str],
    columns: &'static [&'static str],
    told: &'static str,
    /// Tables that the call changes; such calls are made after the comparison.
    writes: &'static [&'static str],
    why: &'static str,
}

const KNOWN: &[&str] = &["stranger", "foreign", "forbidden"];
const ALL: &[&str] = &["nobody", "forged", "elsewhere", "stranger", "foreign", "expired", "revoked", "forbidden"];

const EXCEPTIONS: &[Exception] = &[
    Exception {
        surface: "grpc",
        rows: &["TrustService/GetCallerIdentity"],
        columns: KNOWN,
        told: "ok",
        writes: &[],
        why: "who is believed may ask who it is, whatever policies say, as in AWS",
    },
    Exception {
        surface: "grpc",
        rows: &["TrustService/GetAuthorizationToken"],
        columns: &["foreign"],
        told: "ok",
        writes: &[],
        why: "names no account but the caller's own, where its policy allows it",
    },
    Exception {
        surface: "grpc",
        rows: &["TrustService/DecodeAuthorizationMessage"],
        columns: &["foreign"],
        told: "ok",
        writes: &[],
        why: "the message is of a refusal that concerns its account too, where its policy allows to ask",
    },
    Exception {
        surface: "grpc",
        rows: &["TrustService/GetFederationToken"],
        columns: &["foreign"],
        told: "ok",
        writes: &["sessions"],
        why: "names no account but the caller's own, where its policy allows it",
    },
    Exception {
        surface: "grpc",
        rows: &["TrustService/GetAccessKeyInfo"],
        columns: &["foreign"],
        told: "ok",
        writes: &[],
        why: "whose a key is may be asked by whom a policy allows it, as in AWS; the answer is an account's number",
    },
    Exception {
        surface: "grpc",
        rows: &["TrustService/GetSessionToken"],
        columns: &["stranger", "foreign"],
        told: "ok",
        writes: &["sessions"],
        why: "needs no permission, as in AWS, and gives a user no more than it has",
    },
    Exception {
        surface: "grpc",
        rows: &["TransportService/"],
        columns: ALL,
        told: "absent",
        writes: &[],
        why: "served to other regions on a port of their own, which asks for a certificate; UNIMPLEMENTED here",
    },
    Exception {
        surface: "registry",
        rows: &["GET /v2/"],
        columns: KNOWN,
        told: "ok",
        writes: &[],
        why: "who is believed may ask whether it is let in; it is told nothing else",
    },
    Exception {
        surface: "registry",
        rows: &["GET /token"],
        columns: &["nobody", "stranger", "foreign", "forbidden"],
        told: "ok",
        writes: &[],
        why: "a token of the registry only bounds what its holder may do, which is judged at every use; nobody's opens what is public",
    },
    Exception {
        surface: "registry",
        rows: &["GET /v2/_catalog"],
        columns: &["nobody", "stranger", "foreign", "forbidden"],
        told: "absent",
        writes: &[],
        why: "the catalog is offered to nobody: 405",
    },
    Exception {
        surface: "aws",
        rows: &["sts GetCallerIdentity"],
        columns: KNOWN,
        told: "ok",
        writes: &[],
        why: "who is believed may ask who it is, whatever policies say, as in AWS",
    },
    Exception {
        surface: "aws",
        rows: &["ecr GetAuthorizationToken"],
        columns: &["foreign"],
        told: "ok",
        writes: &[],
        why: "names no account but the caller's own, where its policy allows it",
    },
    Exception {
        surface: "aws",
        rows: &["ecr PutRegistryPolicy", "ecr GetRegistryPolicy", "ecr DeleteRegistryPolicy"],
        columns: &["foreign"],
        told: "ok",
        writes: &["registries"],
        why: "the wire has no account here: it is the caller's own registry, where its policy allows it",
    },
    Exception {
        surface: "aws",
        rows: &["sts GetFederationToken"],
        columns: &["foreign"],
        told: "ok",
        writes: &["sessions"],
        why: "names no account but the caller's own, where its policy allows it",
    },
    Exception {
        surface: "aws",
        rows: &["sts GetAccessKeyInfo"],
        columns: &["foreign"],
        told: "ok",
        writes: &[],
        why: "whose a key is may be asked by whom a policy allows it, as in AWS; the answer is an account's number",
    },
    Exception {
        surface: "aws",
        rows: &["sts DecodeAuthorizationMessage"],
        columns: &["foreign"],
        told: "ok",
        writes: &[],
        why: "the message is of a refusal that concerns its account too, where its policy allows to ask",
    },
    Exception {
        surface: "aws",
        rows: &["sts GetSessionToken"],
        columns: &["stranger", "foreign"],
        told: "ok",
        writes: &["sessions"],
        why: "needs no permission, as in AWS, and gives a user no more than it has",
    },
];

/// The exception that a cell is, with the number of its note.
fn exception(surface: &str, row: &str, column: &str) -> Option<(usize, &'static Exception)> {
    let begins = |exception: &Exception| {
        exception.rows.iter().any(|begin| row == *begin || (*begin != "GET /v2/" && row.starts_with(begin)))
    };
    let found = EXCEPTIONS
        .iter()
        .position(|known| known.surface == surface && known.columns.contains(&column) && begins(known));
    found.map(|at| (at + 1, &EXCEPTIONS[at]))
}

/// The rows of one surface, and which notes they needed.
struct Section {
    surface: &'static str,
    rows: Vec<(String, Vec<String>)>,
    notes: BTreeSet<usize>,
}

/// Has every caller ask for everything, and compares the region's state before and after each.
async fn walk<C>(
    region: &Region,
    callers: &Callers,
    surface: &'static str,
    calls: &[(String, C)],
    ask: impl AsyncFn(&C, &Shown) -> String,
) -> Section {
    let mut cells = vec![vec![String::new(); callers.columns.len()]; calls.len()];
    let (mut notes, mut writing, before) = (BTreeSet::new(), Vec::new(), books(region));
    for (at, (column, shown)) in callers.columns.iter().enumerate() {
        for (row, (name, call)) in calls.iter().enumerate() {
            let exception = exception(surface, name, column);
            if exception.is_some_and(|(_, exception)| !exception.writes.is_empty()) {
                writing.push((row, at));
                continue;
            }
            let told = ask(call, shown).await;
            cells[row][at] = cell(&told, exception, &format!("{surface}: {column}: {name}"), &mut notes);
        }
        before.unchanged(&books(region), column);
    }
    let mut allowed = BTreeSet::new();
    for (row, at) in writing {
        let ((name, call), (column, shown)) = (&calls[row], &callers.columns[at]);
        let exception = exception(surface, name, column);
        allowed.extend(exception.iter().flat_map(|(_, exception)| exception.writes.iter().copied()));
        let told = ask(call, shown).await;
        cells[row][at] = cell(&told, exception, &format!("{surface}: {column}: {name}"), &mut notes);
    }
    before.changed_only(&books(region), &allowed, surface);
    let rows = calls.iter().map(|(name, _)| name.clone()).zip(cells).collect();
    Section { surface, rows, notes }
}

fn cell(told: &str, exception: Option<(usize, &Exception)>, what: &str, notes: &mut BTreeSet<usize>) -> String {
    match exception {
        Some((note, exception)) => {
            assert_eq!(told, exception.told, "{what}");
            notes.insert(note);
            format!("{told} [{note}]")
        }
        None => {
            assert!(REFUSALS.contains(&told), "{what} was told {told:?}, which is no refusal");
            told.to_owned()
        }
    }
}

/// Somebody of each kind, for things of dev's.
async fn callers(region: &Region) -> Callers {
    let (app, dev) = (region.app(), region.account("dev"));
    let held = |(id, secret): (String, String)| Key { id, secret: Secret::new(secret), token: None };
    let session = async |issued: &Issued| {
        let given = &issued.credentials;
        let (id, secret) = (given.access_key_id.clone(), given.secret.clone());
        let key = Key { id, secret, token: Some(given.session_token.clone()) };
        Shown { bearer: Some(tenants::bearer(region, issued).await.0), key: Some(key) }
    };
    let admin = region.admin("dev").await;
    let short = app.session_token(&admin, Some(Duration::from_secs(900)), None).await.unwrap();
    let expired = session(&short).await;
    app.clock().advance(Duration::from_secs(901));
    let admin = region.admin("dev").await;
    let long = app.session_token(&admin, None, None).await.unwrap();
    let revoked = session(&long).await;
    app.revoke_session(&admin, dev, long.id).await.unwrap();
    let me = trust(&format!("arn:aws:iam::{dev}:user/admin"), None);
    let role = tenants::role(region, "dev", "everything", &me, &allow(&["*"], "*")).await;
    let deny = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;
    let request = AssumeRole { policies: vec![deny.to_owned()], ..asking(&role) };
    let forbidden = session(&app.assume_role(&admin, request).await.unwrap()).await;
    let stranger = app.create_user(&admin, dev, &UserName::parse("stranger").unwrap()).await.unwrap().name;
    let key = app.create_access_key(&admin, stranger).await.unwrap();
    let key = Key { id: key.id, secret: key.secret, token: None };
    let bearer = crate::grpc::log_in_with(region, &key.id, key.secret.expose().clone()).await;
    let stranger = Shown { bearer: Some(bearer), key: Some(key) };
    let of = async |region: &Region, account: &str| Shown {
        bearer: Some(crate::grpc::log_in(region, account).await),
        key: Some(held(region.access_key(account))),
    };
    let owner = of(region, "dev").await;
    let another = Region::start().await;
    let elsewhere = of(&another, "dev").await;
    let wrong = Secret::new("not the secret of this key at all......".to_owned());
    let forged = Shown {
        bearer: owner.bearer.as_deref().map(tampered),
        key: owner.key.clone().map(|key| Key { secret: wrong, ..key }),
    };
    let nobody = Shown { bearer: None, key: None };
    let foreign = of(region, "prod").await;
    let shown = [nobody, forged, elsewhere, stranger, foreign, expired, revoked, forbidden];
    Callers { columns: COLUMNS.iter().map(|(name, _)| *name).zip(shown).collect(), owner }
}

fn tampered(token: &str) -> String {
    let mut bytes = token.to_owned().into_bytes();
    let middle = bytes.len() / 2;
    bytes[middle] = if bytes[middle] == b'x' { b'y' } else { b'x' };
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_refuses_every_kind_of_caller_that_may_not_and_changes_nothing() {
    let sections = [Box::pin(grpc::section()).await, oci::section().await, aws::section().await];
    let noted: BTreeSet<usize> = sections.iter().flat_map(|section| section.notes.iter().copied()).collect();
    assert_eq!(noted, (1..=EXCEPTIONS.len()).collect(), "an exception is of no cell");
    golden("tests/golden/authorization-matrix.txt", &written(&sections));
}

/// The whole table as text.
fn written(sections: &[Section]) -> String {
    let mut text = String::from(
        "What each kind of caller is told that may not do what it asks for. Made by tests/it/refusals.rs, which fails when\n\
         a cell is another, when an operation is missing, and when anything but audit and counters has changed.\n\n",
    );
    for (name, meaning) in COLUMNS {
        writeln!(text, "{name:<10} {meaning}").unwrap();
    }
    text.push('\n');
    for (word, meaning) in WORDS {
        writeln!(text, "{word:<10} {meaning}").unwrap();
    }
    for Section { surface, rows, .. } in sections {
        let widest = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        write!(text, "\n{surface:<widest$}").unwrap();
        for (name, _) in COLUMNS {
            write!(text, "  {name:<10}").unwrap();
        }
        text = text.trim_end().to_owned() + "\n";
        let mut last = None;
        for row in rows.iter().filter(|row| last.replace(*row) != Some(*row)) {
            let (name, cells) = row;
            write!(text, "{name:<widest$}").unwrap();
            for cell in cells {
                write!(text, "  {cell:<10}").unwrap();
            }
            text = text.trim_end().to_owned() + "\n";
        }
    }
    text.push('\n');
    for (at, exception) in EXCEPTIONS.iter().enumerate() {
        writeln!(text, "[{}] {}", at + 1, exception.why).unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_belongs_to_who_began_it() {
    let region = Region::start().await;
    let dev = region.account("dev");
    let http = region.http("dev").await;
    http.push_image(&format!("{dev}/app"), "v1", &[b"layer"]).await;
    let colleague = tenants::user(&region, "dev", "colleague", &allow(&["ecr:*"], "*")).await;
    let other = tenants::http_of(&region, &colleague).await;
    let address = repository(&region, "dev", "app");
    let started =
        region.app().start_upload(&region.admin("dev").await, &address, Algorithm::Sha256, None).await.unwrap();
    let Started::Upload(upload) = started else { panic!("an upload was expected") };
    let path = format!("/v2/{dev}/app/blobs/uploads/{upload}");
    let before = books(&region);
    let finish = format!("{path}?digest={}", Digest::of(b"bytes"));
    for (method, path) in
        [(Method::GET, &path), (Method::PATCH, &path), (Method::PUT, &finish), (Method::DELETE, &path)]
    {
        let refused = other.call(method.clone(), path, &[], "bytes").await;
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            "{method}"
        );
    }
    // Nor does it belong to another repository of its owner.
    http.push_image(&format!("{dev}/base"), "v1", &[b"layer"]).await;
    let elsewhere = finish.replace("/app/", "/base/");
    assert_eq!(http.call(Method::PUT, &elsewhere, &[], "bytes").await.status, StatusCode::NOT_FOUND);
    assert_eq!(before.rows("uploads"), books(&region).rows("uploads"));
    assert_eq!(http.call(Method::PUT, &finish, &[], "bytes").await.status, StatusCode::CREATED);
}
