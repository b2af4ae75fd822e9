//! The product against `tests/vectors/envelope.json`, which other code made: Google's Tink and a script.
//!
//! The last test goes the other way: it writes a blob with everything needed to open it for that script to open.

use super::conformance::MemoryRows;
use super::stream::PartCipher;
use super::{
    BranchKey, Context, DataKey, EmbeddedKms, Envelope, Error, Hashes, Header, KeyRow, KeyRows, KeyState, Kms, Link,
    Material, Opener, Part, Result, RootKey, Sealer, Sealing, UploadWrap, insecure, open_bytes, unwrap_link,
    unwrap_upload, wrap_link, wrap_upload,
};
use crate::clock::{Clock, Timestamp};
use crate::error::Reason;
use crate::names::{AccountId, Algorithm, Arn, Digest, Region, RepositoryName, RepositoryRef, Uid};
use crate::secret::Secret;
use bytes::BytesMut;
use serde_json::{Value, json};
use std::sync::Arc;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/envelope.json")).unwrap()
}

fn pattern(len: u64) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((7 * i + 3) % 251).unwrap()).collect()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} of {value}"))
}

fn bytes(value: &Value, name: &str) -> Vec<u8> {
    hex::decode(text(value, name)).unwrap()
}

fn array<const N: usize>(value: &Value, name: &str) -> [u8; N] {
    bytes(value, name).try_into().unwrap()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap()
}

fn uid(value: &Value, name: &str) -> Uid {
    Uid::parse(text(value, name)).unwrap()
}

fn arn(value: &Value, name: &str) -> Arn {
    Arn::parse(text(value, name)).unwrap()
}

fn data_key(value: &Value) -> DataKey {
    DataKey::from_bytes(array(value, "data_key"))
}

fn envelope(value: &Value) -> Envelope {
    let part = |part: &Value| Part {
        header: Header::parse(array(part, "header")).unwrap(),
        plain_len: number(part, "plain_len").try_into().unwrap(),
    };
    Envelope {
        account: AccountId::parse(text(value, "account")).unwrap(),
        blob: uid(value, "blob"),
        hashes: match value["sha512"].is_null() {
            true => Hashes::of_name(Digest::sha256(array(value, "sha256")), None),
            false => {
                Hashes::of_name(Digest::sha512(array(value, "sha512")), Some(Digest::sha256(array(value, "sha256"))))
            }
        }
        .unwrap(),
        size: number(value, "size"),
        css: number(value, "css").try_into().unwrap(),
        parts: list(value, "parts").iter().map(part).collect(),
        commit: array(value, "commit"),
    }
}

/// Seals the pattern under the headers that Tink chose for the case.
fn seal_as(case: &Value) -> (Vec<u8>, Sealing) {
    let expected = envelope(&case["envelope"]);
    let mut sealer = Sealer::new(&data_key(case), expected.account, expected.blob, expected.hashes.name().algorithm());
    let (plain, mut object) = (pattern(expected.size), Vec::new());
    let mut rest = plain.as_slice();
    for part in &expected.parts {
        sealer.begin_part_under(part.header, &mut object).unwrap();
        sealer.write(rest.split_off(..part.plain_len as usize).unwrap(), &mut object).unwrap();
        assert_eq!(sealer.end_part(&mut object).unwrap(), *part);
    }
    (object, sealer.finish().unwrap())
}

/// Reads as a blob store does, chunk by chunk, and looks at the object's length last.
fn stream(key: &DataKey, envelope: Envelope, object: &[u8]) -> Result<Vec<u8>> {
    let opener = Opener::new(key, envelope)?;
    let mut plain = Vec::new();
    for chunk in opener.plan(0..opener.envelope().size)? {
        let start = object.len().min(chunk.file_offset() as usize);
        let end = object.len().min(start + chunk.file_len());
        plain.extend(opener.open_chunk(&chunk, BytesMut::from(&object[start..end]))?.iter().flatten());
    }
    if opener.stored_len() != object.len() as u64 {
        return Err(Error::Tampered { what: "the length of the object" });
    }
    Ok(plain)
}

#[test]
fn blobs_are_sealed_byte_for_byte_as_tink_does() {
    for case in list(&vectors(), "blobs") {
        let name = text(case, "name");
        let (object, sealing) = seal_as(case);
        let hash = Digest::of(&object).to_string();
        assert_eq!(hash.strip_prefix("sha256:"), case["object_sha256"].as_str(), "{name}");
        assert!(case["object"].is_null() || object == bytes(case, "object"), "{name}");
        assert_eq!(*sealing.envelope(), envelope(&case["envelope"]), "{name}");
        let plain = open_bytes(&data_key(case), envelope(&case["envelope"]), &object).unwrap();
        assert!(plain == pattern(sealing.size()), "{name}");
        assert!(stream(&data_key(case), envelope(&case["envelope"]), &object).unwrap() == plain, "{name}");
    }
}

#[test]
fn every_tampering_is_refused_as_data_loss() {
    let vectors = vectors();
    let cases = list(&vectors, "tampered");
    assert!(cases.len() >= 10);
    for case in cases {
        let name = text(case, "name");
        assert_eq!(text(case, "outcome"), "refused");
        let base = list(&vectors, "blobs").iter().find(|base| base["name"] == case["blob"]).unwrap();
        let (key, changed, object) = edit(base, &case["edit"]);
        for refused in [open_bytes(&key, changed.clone(), &object), stream(&key, changed.clone(), &object)] {
            let error = refused.err().unwrap_or_else(|| panic!("{name} was not noticed"));
            assert_eq!(crate::error::Error::from(error).reason, Reason::DataLoss, "{name}");
        }
    }
}

fn edit(base: &Value, edit: &Value) -> (DataKey, Envelope, Vec<u8>) {
    let (mut object, _) = seal_as(base);
    if let Some(pieces) = edit["pieces"].as_array() {
        let piece = |piece: &Value| {
            let [from, to] = [0, 1].map(|end| piece[end].as_u64().unwrap() as usize);
            object[from..to].to_vec()
        };
        object = pieces.iter().flat_map(piece).collect();
    }
    if let Some(at) = edit["flip"].as_u64() {
        object[at as usize] ^= 1;
    }
    if edit["append"].is_string() {
        object.extend(bytes(edit, "append"));
    }
    let mut changed = base["envelope"].clone();
    for (name, value) in edit["envelope"].as_object().into_iter().flatten() {
        changed[name] = value.clone();
    }
    let key = if edit["data_key"].is_string() { edit } else { base };
    (data_key(key), envelope(&changed), object)
}

#[test]
fn one_ciphertext_under_two_keys_is_refused_by_the_commitment() {
    let salamander = &vectors()["salamander"];
    let (object, committed) = (bytes(salamander, "object"), envelope(&salamander["envelope"]));
    let keys = list(salamander, "data_keys").iter().map(|key| data_key(&json!({ "data_key": key })));
    for (number, key) in keys.enumerate() {
        // The stream alone opens under both keys: to the image that was scanned, and to another one.
        let header = committed.parts[0].header;
        let cipher = PartCipher::new(key.material(), committed.account, committed.blob, 0, header).unwrap();
        let mut segment = object[40..].to_vec();
        cipher.open(0, true, &mut segment).unwrap();
        let plain = hex::decode(salamander["plains"][number].as_str().unwrap()).unwrap();
        assert_eq!(segment[..64], plain);

        let claimed = Envelope { hashes: Hashes::of_name(Digest::of(&plain), None).unwrap(), ..committed.clone() };
        let outcome = open_bytes(&key, claimed, &object);
        match salamander["outcomes"][number].as_str() {
            Some("opens") => assert_eq!(outcome.unwrap(), plain),
            _ => assert!(matches!(outcome, Err(Error::Tampered { what: "the commitment of the blob" }))),
        }
        assert_eq!(Opener::new(&key, committed.clone()).is_ok(), number == 0);
    }
}

#[test]
fn wraps_open_in_their_own_place_only() {
    let vectors = vectors();
    for kind in ["links", "uploads"] {
        for case in list(&vectors, kind) {
            let branch = BranchKey::new(Secret::new(array(case, "branch_key")));
            let (salt, wrapped) = (array(case, "salt"), array(case, "wrapped"));
            let (repository, uids) = (arn(case, "repository_arn"), [uid(case, "repository_uid"), uid(case, "blob")]);
            let opened = if kind == "links" {
                let link = Link { salt, wrapped };
                unwrap_link(&branch, &link, &repository, uids[0], uids[1], &array(case, "commit"))
            } else {
                unwrap_upload(&branch, &UploadWrap { salt, wrapped }, &repository, uids[0], uids[1])
            };
            match (text(case, "outcome"), opened) {
                ("opens", Ok(key)) => assert_eq!(insecure::expose(&key), &array(case, "data_key")),
                ("refused", Err(Error::Tampered { .. })) => {}
                (_, other) => panic!("{}: {other:?}", text(case, "name")),
            }
        }
    }
}

#[tokio::test]
async fn the_embedded_keyring_reads_ciphertexts_made_elsewhere() {
    let vectors = &vectors()["kms"];
    let root = RootKey::from_bytes(array(vectors, "root_key"));
    let secret = &vectors["secret"];
    let opened = root.open(text(secret, "purpose"), &bytes(secret, "aad"), &bytes(secret, "sealed")).unwrap();
    assert_eq!(*opened.expose(), bytes(secret, "plain"));

    let material =
        |m: &Value| Material { version: number(m, "version").try_into().unwrap(), sealed: bytes(m, "sealed") };
    let row = KeyRow {
        arn: arn(&vectors["row"], "arn"),
        state: KeyState::Enabled,
        description: String::new(),
        created_at: Timestamp::from_secs(0),
        materials: list(&vectors["row"], "materials").iter().map(material).collect(),
    };
    let (key, rows) = (row.arn.clone(), MemoryRows::default());
    rows.insert(row).await.unwrap();
    let kms = EmbeddedKms::new(Arc::new(rows), Arc::new(root), Clock::system());
    for case in list(vectors, "cases") {
        let pairs = case["context"].as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap()));
        let outcome = kms.decrypt(&key, &bytes(case, "ciphertext"), &Context::new(pairs).unwrap()).await;
        match (text(case, "outcome"), outcome) {
            ("opens", Ok(plain)) => assert_eq!(plain.expose(), &array(case, "plain")),
            ("refused", Err(Error::Kms { refusal, .. })) => {
                assert_eq!(refusal.name(), text(case, "kms_error"), "{}", text(case, "name"));
            }
            (_, other) => panic!("{}: {other:?}", text(case, "name")),
        }
    }
}

/// `tests/vectors/envelope.py open FILE` opens what this writes to the file that `TRANSSHIP_ENVELOPE_OUT` names.
#[tokio::test]
async fn a_sealed_blob_is_handed_to_an_independent_program() {
    let account = AccountId::from_seed(7);
    let repository = RepositoryRef {
        account,
        region: Region::parse("eu-west-1").unwrap(),
        name: RepositoryName::parse("team/app").unwrap(),
    };
    let (clock, rows) = (Clock::system(), Arc::new(MemoryRows::default()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("root.key");
    let root = Arc::new(RootKey::load_or_create(&file).unwrap());
    let kms = EmbeddedKms::new(rows.clone(), root.clone(), clock.clone());
    let key = kms.create_key(account, &repository.region, "").await.unwrap().arn;
    let context = Context::repository(&repository.arn());
    let (branch, wrapped) = kms.generate_data_key(&key, &context).await.unwrap();
    let (branch, data_key) = (BranchKey::new(branch), DataKey::random().unwrap());
    let (repository_uid, blob) = (clock.uid(), clock.uid());

    let (plain, mut object) = (pattern(400_000), Vec::new());
    let mut sealer = Sealer::new(&data_key, account, blob, Algorithm::Sha256);
    for part in [&plain[..130_000], &plain[130_000..130_001], &plain[130_001..]] {
        sealer.begin_part(&mut object).unwrap();
        sealer.write(part, &mut object).unwrap();
        sealer.end_part(&mut object).unwrap();
    }
    let sealing = sealer.finish().unwrap();
    assert!(open_bytes(&data_key, sealing.envelope().clone(), &object).unwrap() == plain);
    let link = wrap_link(&branch, &data_key, &repository.arn(), repository_uid, blob, sealing.commit()).unwrap();
    let upload = wrap_upload(&branch, &data_key, &repository.arn(), repository_uid, blob).unwrap();

    let row = rows.load(&key).await.unwrap().unwrap();
    let materials: Vec<_> =
        row.materials.iter().map(|m| json!({ "version": m.version, "sealed": hex::encode(&m.sealed) })).collect();
    let handed = json!({
        "root_key": hex::encode(std::fs::read(&file).unwrap()),
        "kms_key": { "arn": key.as_str(), "materials": materials },
        "wrapped_branch_key": hex::encode(wrapped),
        "repository": { "repository_arn": repository.arn().as_str(), "repository_uid": repository_uid.to_string() },
        "link": { "salt": hex::encode(link.salt), "wrapped": hex::encode(link.wrapped) },
        "upload": { "salt": hex::encode(upload.salt), "wrapped": hex::encode(upload.wrapped) },
        "data_key": hex::encode(insecure::expose(&data_key)),
        "secret": hex::encode(root.seal("access-key", b"AKIAEXAMPLE", b"wJalrXUtnFEMI").unwrap()),
        "envelope": {
            "account": account.as_str(), "blob": blob.to_string(), "sha256": hex::encode(sealing.digest().bytes()),
            "size": sealing.size(), "css": sealing.envelope().css,
            "parts": hex::encode(Part::encode_table(sealing.parts())), "commit": hex::encode(sealing.commit()),
        },
        "object": hex::encode(object),
    });
    if let Ok(path) = std::env::var("TRANSSHIP_ENVELOPE_OUT") {
        std::fs::write(path, handed.to_string()).unwrap();
    }
}
