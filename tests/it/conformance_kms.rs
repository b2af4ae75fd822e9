//! What every KMS has to do, as cases over `&dyn Kms`: run on the embedded keyring, and on AWS's client against a
//! server that speaks its wire when `TRANSSHIP_TEST_KMS_ENDPOINT` names one.
//!
//! A deviation is a case that an implementation is known to fail; when it no longer fails, the run says so.

use async_trait::async_trait;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use transship::clock::Clock;
use transship::error::{Error as Envelope, Reason};
use transship::keys::{Context, EmbeddedKms, Error, KeyRow, KeyRows, KeyState, Kms, Refusal, RootKey};
use transship::names::{AccountId, Arn, Region};
use transship::secret::Secret;
use transship::upstream::{AwsKms, Credentials, Settings};

/// The KMS under test, and where its keys are to live.
pub(crate) struct Fixture<'a> {
    pub(crate) kms: &'a dyn Kms,
    pub(crate) account: AccountId,
    pub(crate) other_account: AccountId,
    pub(crate) region: Region,
}

/// Cases that an implementation is known to fail, each with a part of the failure's text: one that fails otherwise
/// than declared is a finding too.
pub(crate) type Deviations = &'static [(&'static str, &'static str)];

type Outcome = Result<(), String>;
type Case = (&'static str, for<'a> fn(&'a Fixture<'a>) -> BoxFuture<'a, Outcome>);

macro_rules! cases {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), |fixture| Box::pin($name(fixture)))),*] };
}

/// The contract.
pub(crate) const CASES: &[Case] = cases![
    a_data_key_opens_with_its_key_and_context,
    data_keys_and_ciphertexts_never_repeat,
    another_context_is_refused,
    a_changed_ciphertext_is_refused,
    another_key_is_refused,
    a_key_that_is_not_there_is_not_found,
    a_disabled_key_refuses_until_it_is_enabled,
    a_key_is_described_as_it_was_made,
    each_account_sees_its_own_keys,
    re_encryption_moves_a_data_key_and_shows_nothing,
    re_encryption_checks_the_source_context,
    re_encryption_checks_the_source_key,
    re_encryption_refuses_a_disabled_destination,
];

/// Runs all cases and says how many held and which deviated; panics with all that went otherwise than declared.
pub(crate) async fn run(of: &str, fixture: &Fixture<'_>, deviations: Deviations) {
    let (mut held, mut deviated, mut wrong) = (0, Vec::new(), Vec::new());
    for (name, case) in CASES {
        let known = deviations.iter().find(|(deviant, _)| deviant == name);
        match (case(fixture).await, known) {
            (Ok(()), None) => held += 1,
            (Err(why), Some((_, declared))) if why.contains(declared) => deviated.push(*name),
            (Err(why), None | Some(_)) => wrong.push(format!("{name}: {why}")),
            (Ok(()), Some(_)) => wrong.push(format!("{name} holds: remove its deviation")),
        }
    }
    let named = |name: &&str| CASES.iter().any(|(case, _)| case == name);
    wrong.extend(deviations.iter().filter(|(name, _)| !named(name)).map(|(name, _)| format!("{name}: no such case")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("kms {of}: {held} cases held, {} deviated as named: {}", deviated.len(), deviated.join(" "));
}

impl Fixture<'_> {
    async fn key(&self) -> Result<Arn, String> {
        self.kms.create_key(self.account, &self.region, "a key").await.map(|key| key.arn).map_err(text)
    }

    async fn data_key(&self, arn: &Arn, context: &Context) -> Result<(Secret<[u8; 32]>, Vec<u8>), String> {
        self.kms.generate_data_key(arn, context).await.map_err(text)
    }

    async fn refuses(&self, arn: &Arn, sealed: &[u8], context: &Context, refusal: Refusal) -> Outcome {
        expect(self.kms.decrypt(arn, sealed, context).await, refusal)
    }
}

async fn a_data_key_opens_with_its_key_and_context(fixture: &Fixture<'_>) -> Outcome {
    let arn = fixture.key().await?;
    let (plain, sealed) = fixture.data_key(&arn, &context("app")).await?;
    let opened = fixture.kms.decrypt(&arn, &sealed, &context("app")).await.map_err(text)?;
    ensure(opened == plain, "another key came back")?;
    ensure(!sealed.windows(32).any(|window| window == plain.expose()), "the ciphertext shows the key")
}

async fn data_keys_and_ciphertexts_never_repeat(fixture: &Fixture<'_>) -> Outcome {
    let arn = fixture.key().await?;
    let (a, sealed_a) = fixture.data_key(&arn, &context("app")).await?;
    let (b, sealed_b) = fixture.data_key(&arn, &context("app")).await?;
    ensure(a != b && sealed_a != sealed_b, "two calls gave one key")
}

async fn another_context_is_refused(fixture: &Fixture<'_>) -> Outcome {
    let arn = fixture.key().await?;
    let (_, sealed) = fixture.data_key(&arn, &pairs(&[("aws:ecr:arn", "app"), ("b", "c")])).await?;
    let others: [&[(&str, &str)]; 6] = [
        &[],
        &[("aws:ecr:arn", "app")],
        &[("aws:ecr:arn", "App"), ("b", "c")],
        &[("AWS:ecr:arn", "app"), ("b", "c")],
        &[("aws:ecr:arn", "c"), ("b", "app")],
        &[("aws:ecr:arn", "app"), ("b", "c"), ("d", "")],
    ];
    for other in others {
        let refused = fixture.refuses(&arn, &sealed, &pairs(other), Refusal::InvalidCiphertext).await;
        refused.map_err(|why| format!("{other:?}: {why}"))?;
    }
    let reordered = pairs(&[("b", "c"), ("aws:ecr:arn", "app")]);
    fixture.kms.decrypt(&arn, &sealed, &reordered).await.map(drop).map_err(text)
}

async fn a_changed_ciphertext_is_refused(fixture: &Fixture<'_>) -> Outcome {
    let arn = fixture.key().await?;
    let (_, sealed) = fixture.data_key(&arn, &context("app")).await?;
    let mut changed = vec![sealed[..sealed.len() - 1].to_vec(), sealed[..1].to_vec()];
    // The salt or nonce, the body and the tag; where the key's id stands is the implementation's business.
    for from_end in [1, 16, 17, 48, 49, 60] {
        let mut bad = sealed.clone();
        let at = bad.len() - from_end;
        bad[at] ^= 0x80;
        changed.push(bad);
    }
    for (number, bad) in changed.iter().enumerate() {
        let refused = fixture.refuses(&arn, bad, &context("app"), Refusal::InvalidCiphertext).await;
        refused.map_err(|why| format!("change {number}: {why}"))?;
    }
    Ok(())
}

async fn another_key_is_refused(fixture: &Fixture<'_>) -> Outcome {
    let (arn, other) = (fixture.key().await?, fixture.key().await?);
    let (_, sealed) = fixture.data_key(&arn, &context("app")).await?;
    fixture.refuses(&other, &sealed, &context("app"), Refusal::IncorrectKey).await
}

async fn a_key_that_is_not_there_is_not_found(fixture: &Fixture<'_>) -> Outcome {
    let resource = "key/00000000-0000-4000-8000-000000000000";
    let arn = Arn::new("kms", fixture.region.as_str(), fixture.key().await?.account(), resource);
    expect(fixture.kms.describe_key(&arn).await, Refusal::NotFound)?;
    expect(fixture.kms.generate_data_key(&arn, &context("app")).await, Refusal::NotFound)?;
    expect(fixture.kms.set_enabled(&arn, false).await, Refusal::NotFound)
}

async fn a_disabled_key_refuses_until_it_is_enabled(fixture: &Fixture<'_>) -> Outcome {
    let arn = fixture.key().await?;
    let (plain, sealed) = fixture.data_key(&arn, &context("app")).await?;
    for _ in 0..2 {
        fixture.kms.set_enabled(&arn, false).await.map_err(text)?;
    }
    let info = fixture.kms.describe_key(&arn).await.map_err(text)?;
    ensure(info.state == KeyState::Disabled, "the key does not say that it is disabled")?;
    fixture.refuses(&arn, &sealed, &context("app"), Refusal::Disabled).await?;
    expect(fixture.kms.generate_data_key(&arn, &context("app")).await, Refusal::Disabled)?;
    for _ in 0..2 {
        fixture.kms.set_enabled(&arn, true).await.map_err(text)?;
    }
    let opened = fixture.kms.decrypt(&arn, &sealed, &context("app")).await.map_err(text)?;
    ensure(opened == plain, "another key came back")
}

async fn a_key_is_described_as_it_was_made(fixture: &Fixture<'_>) -> Outcome {
    let made = fixture.kms.create_key(fixture.account, &fixture.region, "for team/app").await.map_err(text)?;
    ensure(made.state == KeyState::Enabled && made.description == "for team/app", "made otherwise than asked")?;
    ensure(made.arn.service() == "kms" && made.arn.region() == fixture.region.as_str(), "an ARN of another place")?;
    ensure(made.arn.resource().starts_with("key/"), "an ARN of another kind")?;
    ensure(made.created_at.secs() > 1_700_000_000, "made before its time")?;
    let described = fixture.kms.describe_key(&made.arn).await.map_err(text)?;
    ensure(described == made, "described otherwise than made")
}

async fn each_account_sees_its_own_keys(fixture: &Fixture<'_>) -> Outcome {
    let mine = fixture.key().await?;
    let theirs = fixture.kms.create_key(fixture.other_account, &fixture.region, "theirs").await.map_err(text)?.arn;
    for (account, seen, hidden) in [(fixture.account, &mine, &theirs), (fixture.other_account, &theirs, &mine)] {
        let keys = fixture.kms.list_keys(account).await.map_err(text)?;
        ensure(keys.iter().any(|key| key.arn == *seen), "an account does not see its key")?;
        ensure(keys.iter().all(|key| key.arn != *hidden), "an account sees another's key")?;
        ensure(keys.is_sorted_by(|a, b| a.arn < b.arn), "the list is not in order")?;
        for (key, its) in [(seen, true), (hidden, false)] {
            let belongs = fixture.kms.belongs_to(key, account).await.map_err(text)?;
            ensure(belongs == its, &format!("belongs_to({key}, {account}) is {belongs}"))?;
        }
    }
    Ok(())
}

async fn re_encryption_moves_a_data_key_and_shows_nothing(fixture: &Fixture<'_>) -> Outcome {
    let (from, to) = (fixture.key().await?, fixture.key().await?);
    let (plain, sealed) = fixture.data_key(&from, &context("a")).await?;
    let moved = fixture.kms.re_encrypt(&from, &sealed, &context("a"), &to, &context("b")).await.map_err(text)?;
    let opened = fixture.kms.decrypt(&to, &moved, &context("b")).await.map_err(text)?;
    ensure(opened == plain, "another key came back")?;
    fixture.refuses(&to, &moved, &context("a"), Refusal::InvalidCiphertext).await?;
    fixture.kms.decrypt(&from, &sealed, &context("a")).await.map(drop).map_err(text)?;
    // The context alone may change as well.
    let moved = fixture.kms.re_encrypt(&from, &sealed, &context("a"), &from, &context("c")).await.map_err(text)?;
    fixture.kms.decrypt(&from, &moved, &context("c")).await.map(drop).map_err(text)
}

async fn re_encryption_checks_the_source_context(fixture: &Fixture<'_>) -> Outcome {
    let (from, to) = (fixture.key().await?, fixture.key().await?);
    let (_, sealed) = fixture.data_key(&from, &context("a")).await?;
    let moved = fixture.kms.re_encrypt(&from, &sealed, &context("b"), &to, &context("b")).await;
    expect(moved, Refusal::InvalidCiphertext)
}

async fn re_encryption_checks_the_source_key(fixture: &Fixture<'_>) -> Outcome {
    let (from, to) = (fixture.key().await?, fixture.key().await?);
    let (_, sealed) = fixture.data_key(&from, &context("a")).await?;
    let moved = fixture.kms.re_encrypt(&to, &sealed, &context("a"), &to, &context("a")).await;
    expect(moved, Refusal::IncorrectKey)
}

async fn re_encryption_refuses_a_disabled_destination(fixture: &Fixture<'_>) -> Outcome {
    let (from, to) = (fixture.key().await?, fixture.key().await?);
    let (_, sealed) = fixture.data_key(&from, &context("a")).await?;
    fixture.kms.set_enabled(&to, false).await.map_err(text)?;
    let moved = fixture.kms.re_encrypt(&from, &sealed, &context("a"), &to, &context("a")).await;
    expect(moved, Refusal::Disabled)
}

fn context(value: &str) -> Context {
    pairs(&[("aws:ecr:arn", value)])
}

fn pairs(pairs: &[(&str, &str)]) -> Context {
    Context::new(pairs.iter().copied()).expect("the contexts of these cases are short")
}

fn text(error: Error) -> String {
    format!("{:?}", Envelope::from(error))
}

fn ensure(holds: bool, otherwise: &str) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// The refusal, and in the envelope its reason and KMS's name for it.
fn expect<T>(result: Result<T, Error>, refusal: Refusal) -> Outcome {
    let error = result.err().ok_or_else(|| format!("succeeded instead of {}", refusal.name()))?;
    let envelope = Envelope::from(error);
    let kms_error = envelope.metadata.get("kms_error").map(String::as_str);
    let reason = match refusal {
        Refusal::InvalidCiphertext | Refusal::IncorrectKey => Reason::DataLoss,
        Refusal::Disabled
        | Refusal::InvalidState
        | Refusal::NotFound
        | Refusal::AccessDenied
        | Refusal::Throttled
        | Refusal::Unreachable => Reason::KeyUnavailable,
    };
    ensure(envelope.reason == reason && kms_error == Some(refusal.name()), &format!("{envelope:?}"))
}

/// The keyring's rows in memory.
#[derive(Default)]
pub(crate) struct MemoryRows(Mutex<BTreeMap<Arn, KeyRow>>);

#[async_trait]
impl KeyRows for MemoryRows {
    async fn load(&self, arn: &Arn) -> Result<Option<KeyRow>, Envelope> {
        Ok(self.0.lock().expect("no test panics while it holds the rows").get(arn).cloned())
    }

    async fn insert(&self, row: KeyRow) -> Result<(), Envelope> {
        self.0.lock().expect("no test panics while it holds the rows").insert(row.arn.clone(), row);
        Ok(())
    }

    async fn list(&self, account: AccountId) -> Result<Vec<KeyRow>, Envelope> {
        let rows = self.0.lock().expect("no test panics while it holds the rows");
        Ok(rows.values().filter(|row| row.arn.account() == Some(account)).cloned().collect())
    }

    async fn set_state(&self, arn: &Arn, state: KeyState) -> Result<(), Envelope> {
        if let Some(row) = self.0.lock().expect("no test panics while it holds the rows").get_mut(arn) {
            row.state = state;
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_embedded_keyring_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a folder for the root key");
    let root = RootKey::load_or_create(&folder.path().join("root.key")).expect("a root key");
    let kms = EmbeddedKms::new(Arc::new(MemoryRows::default()), Arc::new(root), Clock::system());
    run("embedded", &fixture(&kms), &[]).await;
}

/// What moto 5.2.5 does otherwise than AWS: it knows no `IncorrectKeyException`, ignores `SourceKeyId`, and fails to find
/// a key by its ARN when it is to be disabled (by its id it would, and the key would go on working).
const MOTO: Deviations = &[
    ("another_key_is_refused", "AccessDeniedException"),
    ("a_disabled_key_refuses_until_it_is_enabled", "KMS DisableKey"),
    ("re_encryption_checks_the_source_key", "succeeded instead of IncorrectKeyException"),
    ("re_encryption_refuses_a_disabled_destination", "KMS DisableKey"),
];

#[tokio::test]
async fn the_aws_client_keeps_the_contract_where_a_server_is_named() {
    let Ok(endpoint) = std::env::var("TRANSSHIP_TEST_KMS_ENDPOINT") else {
        println!("not run: TRANSSHIP_TEST_KMS_ENDPOINT names no server");
        return;
    };
    let credentials =
        Credentials { access_key_id: "AKIATEST".to_owned(), secret_access_key: Secret::new("test".to_owned()) };
    let region = Region::parse("us-east-1").expect("a region");
    let settings = Settings { region, endpoint: Some(endpoint), credentials: Some(credentials), role: None };
    let kms = AwsKms::new(settings).await;
    run("moto", &fixture(&kms), MOTO).await;
}

fn fixture(kms: &dyn Kms) -> Fixture<'_> {
    Fixture {
        kms,
        account: AccountId::from_seed(1),
        other_account: AccountId::from_seed(2),
        region: Region::parse("us-east-1").expect("a region"),
    }
}
