use super::{PREFIX, TOKEN_BYTES_MAX, TokenKey, TokenKeys};
use crate::clock::{Clock, Timestamp};
use crate::ctx::{Bound, Scope, Session};
use crate::identity::claims::{CONSTRAINTS_BYTES_MAX, Claims, Kind, PACKED_BYTES_MAX};
use crate::identity::error::Error;
use crate::names::{
    AccountId, Network, PrincipalKind, PrincipalName, RepositoryName, RepositoryPattern, SessionName, SessionTag,
    TagPattern, Uid,
};
use crate::secret::Secret;
use proptest::prelude::*;
use std::sync::Arc;

fn key(id: u32) -> TokenKey {
    TokenKey { id, secret: Secret::new([u8::try_from(id).unwrap(); 32]) }
}

fn keys(organization: u8, current: u32, older: &[u32]) -> TokenKeys {
    let older = older.iter().map(|id| key(*id)).collect();
    TokenKeys::new(Uid::from_bytes([organization; 16]), key(current), older, Clock::system())
}

fn claims(kind: Kind) -> Claims {
    Claims {
        kind,
        principal: PrincipalName {
            account: AccountId::from_seed(1),
            kind: PrincipalKind::Role,
            name: Arc::from("deployer"),
        },
        unique_id: Arc::from("AROAAAAAAAAAAAAAAAAAA"),
        session: Session {
            id: Uid::from_bytes([3; 16]),
            name: Some(SessionName::parse("ci-run").unwrap()),
            issued_at: Timestamp::from_secs(1_000),
            expires_at: Timestamp::from_secs(4_600),
            policies: None,
            scope: None,
            bounds: Vec::new(),
            source_identity: None,
            tags: Vec::new(),
            provider: None,
            mfa: crate::ctx::Mfa::Unasked,
        },
    }
}

fn now() -> Timestamp {
    Timestamp::from_secs(2_000)
}

/// Incompressible text of a policy's alphabet.
fn noise(length: usize) -> Arc<str> {
    let mut state = 1u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + u8::try_from(state >> 24).unwrap() % 90)
    };
    (0..length).map(next).collect::<String>().into()
}

fn arbitrary_claims() -> impl Strategy<Value = Claims> {
    let kind = prop_oneof![Just(Kind::Session), Just(Kind::Registry), Just(Kind::Bearer)];
    let principal_kind = prop_oneof![Just(PrincipalKind::User), Just(PrincipalKind::Role)];
    let principal = (any::<u64>(), principal_kind, "[A-Za-z0-9_+=,.@-]{1,64}")
        .prop_map(|(seed, kind, name)| PrincipalName { account: AccountId::from_seed(seed), kind, name: name.into() });
    let scope = (any::<u64>(), prop::option::of("[a-z]{2,9}(/[a-z0-9]{1,9}){0,2}"), any::<[bool; 3]>()).prop_map(
        |(seed, name, [pull, push, delete])| Scope {
            account: AccountId::from_seed(seed),
            repository: name.map(|name| RepositoryName::parse(&name).unwrap()),
            pull,
            push,
            delete,
        },
    );
    let policies = prop::option::of(prop::collection::vec("\\PC{0,80}".prop_map(Arc::from), 0..4));
    let scope = prop::option::of(prop::collection::vec(scope, 0..4));
    let tag = ("[A-Za-z0-9]{1,9}", "[a-z é]{0,9}", any::<bool>())
        .prop_map(|(key, value, transitive)| SessionTag::new(&key, &value, transitive).unwrap());
    let networks = prop::sample::subsequence(vec!["10.0.0.0/8", "::1", "2001:db8::/32"], 0..=3);
    let bound = ("[a-z*?/]{1,9}", "[a-z*?]{1,9}", any::<[bool; 3]>(), networks).prop_map(
        |(repository, tag, [pull, push, delete], sources)| {
            Arc::new(Bound {
                repositories: vec![(AccountId::from_seed(7), RepositoryPattern::parse(&repository).unwrap())],
                tags: vec![TagPattern::parse(&tag).unwrap()],
                pull,
                push,
                delete,
                sources: sources.into_iter().map(|text| Network::parse(text).unwrap()).collect(),
            })
        },
    );
    let session = (
        any::<[u8; 16]>(),
        prop::option::of("[A-Za-z0-9_+=,.@-]{2,64}"),
        any::<i64>(),
        now().micros() + 1..i64::MAX,
        policies,
        scope,
        prop::option::of("[A-Za-z0-9_+=,.@-]{2,64}".prop_map(Arc::from)),
        (prop::collection::vec(tag, 0..4), prop::collection::vec(bound, 0..3)),
        prop::option::of("[a-z:/]{1,64}".prop_map(Arc::from)),
    )
        .prop_map(
            |(id, name, issued_at, expires_at, policies, scope, source_identity, (tags, bounds), provider)| Session {
                id: Uid::from_bytes(id),
                name: name.map(|name| SessionName::parse(&name).unwrap()),
                issued_at: Timestamp::from_micros(issued_at),
                expires_at: Timestamp::from_micros(expires_at),
                policies,
                scope,
                bounds,
                source_identity,
                tags,
                provider,
                mfa: crate::ctx::Mfa::Unasked,
            },
        );
    (kind, principal, "[A-Z0-9]{0,21}", session).prop_map(|(kind, principal, unique_id, session)| Claims {
        kind,
        principal,
        unique_id: unique_id.into(),
        session,
    })
}

proptest! {
    #[test]
    fn claims_survive_the_round_trip(claims in arbitrary_claims()) {
        let keys = keys(1, 1, &[]);
        let text = keys.seal(&claims).unwrap();
        prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "no colon: {}", text);
        let opened = keys.open(&text, now()).unwrap();
        prop_assert_eq!(format!("{opened:?}"), format!("{claims:?}"));
    }

    #[test]
    fn no_text_opens_or_panics(text in "(ts1\\.)?[A-Za-z0-9_-]{0,120}") {
        prop_assert_eq!(keys(1, 1, &[]).open(&text, now()).err(), Some(Error::InvalidClientTokenId));
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused_alike() {
    let keys = keys(1, 1, &[2]);
    let text = keys.seal(&claims(Kind::Bearer)).unwrap();
    let refused = |text: &str| assert_eq!(keys.open(text, now()).err(), Some(Error::InvalidClientTokenId), "{text}");
    for at in 0..text.len() {
        for bit in 0..7 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            refused(&String::from_utf8(bytes).unwrap());
        }
        refused(&text[..at]);
        refused(&text[at + 1..]);
    }
    refused(&format!("{text}A"));
    refused(&format!("{text}="));
    refused(&format!(" {text}"));
    assert!(keys.open(&text, now()).is_ok());
}

#[test]
fn other_organizations_and_unknown_keys_look_like_tampering() {
    let text = keys(1, 1, &[]).seal(&claims(Kind::Bearer)).unwrap();
    assert!(keys(1, 2, &[1]).open(&text, now()).is_ok(), "an older key still opens");
    for (what, keys) in [
        ("another organization", keys(2, 1, &[])),
        ("no such key", keys(1, 2, &[3])),
        (
            "another key of that id",
            TokenKeys::new(
                Uid::from_bytes([1; 16]),
                TokenKey { id: 1, secret: Secret::new([9; 32]) },
                Vec::new(),
                Clock::system(),
            ),
        ),
    ] {
        assert_eq!(keys.open(&text, now()).err(), Some(Error::InvalidClientTokenId), "{what}");
    }
}

#[test]
fn a_token_ends_at_its_end() {
    let keys = keys(1, 1, &[]);
    let text = keys.seal(&claims(Kind::Registry)).unwrap();
    let end = Timestamp::from_secs(4_600);
    assert!(keys.open(&text, Timestamp::from_micros(end.micros() - 1)).is_ok());
    assert_eq!(keys.open(&text, end).err(), Some(Error::ExpiredToken));
    assert_eq!(
        crate::error::Error::from(Error::ExpiredToken).to_string(),
        "Your authorization token has expired. Reauthenticate and try again."
    );
}

#[test]
fn no_two_seals_are_equal() {
    let keys = keys(1, 1, &[]);
    assert_ne!(keys.seal(&claims(Kind::Bearer)).unwrap(), keys.seal(&claims(Kind::Bearer)).unwrap());
}

#[test]
fn what_does_not_pack_is_refused() {
    let keys = keys(1, 1, &[]);
    let with = |policies: Vec<Arc<str>>| {
        let mut claims = claims(Kind::Session);
        claims.session.policies = Some(policies);
        keys.seal(&claims)
    };
    let largest = (1..8_192).rev().find(|length| with(vec![noise(*length)]).is_ok()).unwrap();
    assert!(largest > 3_000, "a session policy of 2048 characters always fits: {largest}");
    let text = with(vec![noise(largest)]).unwrap();
    assert!(text.len() < TOKEN_BYTES_MAX && keys.open(&text, now()).is_ok());
    let refused = with(vec![noise(largest + 64)]);
    assert!(
        matches!(refused, Err(Error::PackedPolicyTooLarge { bytes, limit: PACKED_BYTES_MAX })
        if bytes > PACKED_BYTES_MAX && bytes < PACKED_BYTES_MAX + 128),
        "{refused:?}"
    );
    // What compresses well is bounded before it is compressed.
    let zeros = |length| with(vec!["0".repeat(length).into()]);
    assert!(zeros(CONSTRAINTS_BYTES_MAX - 16).is_ok());
    assert!(matches!(
        zeros(CONSTRAINTS_BYTES_MAX),
        Err(Error::PackedPolicyTooLarge { limit: CONSTRAINTS_BYTES_MAX, .. })
    ));
}

#[test]
fn long_texts_are_refused_before_they_are_decoded() {
    let text = format!("{PREFIX}{}", "A".repeat(TOKEN_BYTES_MAX));
    assert_eq!(keys(1, 1, &[]).open(&text, now()).err(), Some(Error::InvalidClientTokenId));
}

#[test]
fn temporary_credentials_are_derived_from_the_session() {
    let old = keys(1, 1, &[]);
    let issued = old.temporary_credentials(&claims(Kind::Session)).unwrap();
    assert!(issued.access_key_id.starts_with("ASIA") && issued.access_key_id.len() == 20);
    assert_eq!(issued.secret.expose().len(), 40);
    // Another region, after rotation, finds the same key pair.
    let opened = keys(1, 2, &[1]).open_session(issued.session_token.expose(), now()).unwrap();
    assert_eq!(opened.secret, issued.secret);
    assert!(opened.belongs_to(&issued.access_key_id));

    let mut other = claims(Kind::Session);
    other.session.id = Uid::from_bytes([4; 16]);
    let other = old.temporary_credentials(&other).unwrap();
    assert_ne!(other.access_key_id, issued.access_key_id);
    assert_ne!(other.secret, issued.secret);
    assert!(!opened.belongs_to(&other.access_key_id));
    let foreign = keys(2, 1, &[]).temporary_credentials(&claims(Kind::Session)).unwrap();
    assert_ne!(foreign.secret, issued.secret, "organizations that share a key by mistake share no secret");
}

#[test]
fn only_session_tokens_have_key_pairs() {
    let keys = keys(1, 1, &[]);
    for kind in [Kind::Registry, Kind::Bearer] {
        assert_eq!(keys.temporary_credentials(&claims(kind)).err(), Some(Error::InvalidClientTokenId));
        let text = keys.seal(&claims(kind)).unwrap();
        assert_eq!(keys.open_session(&text, now()).err(), Some(Error::InvalidClientTokenId));
    }
}
