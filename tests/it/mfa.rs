//! Second factors: how one comes to count, what a code opens, and how often.

use crate::aws::{Call, Key};
use crate::harness::{Organization, Region, eventually};
use crate::tenants::{self, allow, asking, now, repository, trust};
use aws_lc_rs::hmac;
use serde_json::json;
use std::time::Duration;
use transship::ctx::Ctx;
use transship::domain::mfa_devices::MfaCode;
use transship::domain::sessions::{AssumeRole, Issued};
use transship::error::{Error, Reason};
use transship::names::{MfaDeviceName, MfaDeviceRef, PrincipalName, UserName};
use transship::secret::Secret;

/// A device in somebody's hands: RFC 6238 once more, so that the server's is not asked about itself.
pub struct Device {
    pub device: MfaDeviceRef,
    secret: Vec<u8>,
}

impl Device {
    /// Makes one for a user, which does not count yet.
    pub async fn made(region: &Region, ctx: &Ctx, user: &PrincipalName, name: &str) -> Self {
        let device = MfaDeviceRef { account: user.account, name: MfaDeviceName::parse(name).unwrap() };
        let made = region.app().create_mfa_device(&now(region, ctx), user.clone(), device.clone()).await.unwrap();
        assert!(made.uri.expose().contains(&format!("secret={}", made.seed.expose())), "{}", made.uri.expose());
        let mut bits = Vec::new();
        for letter in made.seed.expose().bytes() {
            let five = if letter.is_ascii_uppercase() { letter - b'A' } else { letter - b'2' + 26 };
            bits.extend((0..5).rev().map(|bit| five >> bit & 1));
        }
        let secret = bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | bit)).collect();
        Self { device, secret }
    }

    /// One that counts.
    async fn enabled(region: &Region, ctx: &Ctx, user: &PrincipalName, name: &str) -> Self {
        let device = Self::made(region, ctx, user, name).await;
        let codes = (device.code(region, -2), device.code(region, -1));
        let ctx = now(region, ctx);
        let enable = region.app().enable_mfa_device(&ctx, user.clone(), device.device.clone(), (&codes.0, &codes.1));
        enable.await.unwrap();
        device
    }

    /// The code so many half minutes from now.
    pub fn code(&self, region: &Region, later: i64) -> String {
        let step = region.app().clock().now().secs() / 30 + later;
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.secret);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let at = usize::from(tag.as_ref()[19] & 15);
        let four: [u8; 4] = tag.as_ref()[at..at + 4].try_into().unwrap();
        format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000)
    }

    fn shown(&self, code: String) -> Option<MfaCode> {
        Some(MfaCode { serial: self.device.arn().to_string(), code: Secret::new(code) })
    }
}

async fn user(region: &Region, name: &str, policy: &str) -> (PrincipalName, Ctx) {
    let user = tenants::user(region, "dev", name, policy).await;
    let ctx = region.caller(user.clone()).await;
    (user, ctx)
}

/// A role of dev's that some user may take, under a condition.
async fn role(region: &Region, user: &PrincipalName, name: &str, condition: serde_json::Value) -> PrincipalName {
    let trusting = trust(user.arn().as_str(), Some(condition));
    tenants::role(region, "dev", name, &trusting, &allow(&["*"], "*")).await
}

async fn take(region: &Region, ctx: &Ctx, role: &PrincipalName, mfa: Option<MfaCode>) -> Result<Issued, Error> {
    region.app().assume_role(&now(region, ctx), AssumeRole { mfa, ..asking(role) }).await
}

fn bool_of(value: &str) -> serde_json::Value {
    json!({"Bool": {"aws:MultiFactorAuthPresent": value}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_counts_once_two_codes_were_shown_and_each_code_once() {
    let region = Region::start().await;
    let (ann, ctx) = user(&region, "ann", &allow(&["*"], "*")).await;
    let admin = region.admin("dev").await;
    let guarded = role(&region, &ann, "guarded", bool_of("true")).await;
    let refused = take(&region, &ctx, &guarded, None).await.map(drop).unwrap_err();
    assert_eq!(refused.reason, Reason::AccessDenied);

    let device = Device::made(&region, &admin, &ann, "phone").await;
    let early = take(&region, &ctx, &guarded, device.shown(device.code(&region, 0))).await.map(drop).unwrap_err();
    assert!(early.message.contains("associated with this user"), "{early}");
    let enable = async |first: &str, second: &str| {
        let ctx = now(&region, &admin);
        let codes = (first, second);
        region.app().enable_mfa_device(&ctx, ann.clone(), device.device.clone(), codes).await.map_err(|e| e.reason)
    };
    let (first, second) = (device.code(&region, -2), device.code(&region, -1));
    for (one, two) in [(&second, &second), (&second, &first), (&first, &"000000".to_owned())] {
        assert_eq!(enable(one, two).await, Err(Reason::InvalidArgument));
    }
    enable(&first, &second).await.unwrap();
    assert_eq!(enable(&first, &second).await, Err(Reason::AlreadyExists));

    let code = device.code(&region, 0);
    take(&region, &ctx, &guarded, device.shown(code.clone())).await.unwrap();
    let again = take(&region, &ctx, &guarded, device.shown(code)).await.map(drop).unwrap_err();
    assert_eq!(again.message, "MultiFactorAuthentication failed with invalid MFA one time pass code.");
    // Nor one before it, though it would be good by the clock.
    let before = take(&region, &ctx, &guarded, device.shown(device.code(&region, -1))).await.map(drop).unwrap_err();
    assert_eq!(before.reason, Reason::AccessDenied);
    region.app().clock().advance(Duration::from_secs(60));
    take(&region, &ctx, &guarded, device.shown(device.code(&region, 0))).await.unwrap();

    // Another user's is not the caller's, and a role has none.
    let (_, other) = user(&region, "bob", &allow(&["*"], "*")).await;
    region.app().clock().advance(Duration::from_secs(60));
    let code = device.code(&region, 0);
    let foreign = region.app().session_token(&now(&region, &other), None, device.shown(code).as_ref()).await;
    assert!(foreign.map(drop).unwrap_err().message.contains("associated with this user"));
    region.app().delete_mfa_device(&admin, ann.clone(), device.device.clone()).await.unwrap();
    let gone = take(&region, &ctx, &guarded, device.shown(device.code(&region, 0))).await.map(drop).unwrap_err();
    assert!(gone.message.contains("associated with this user"), "{gone}");
    assert_eq!(region.app().list_mfa_devices(&admin, &ann).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_was_taken_with_is_known_to_policies_and_not_handed_on() {
    let region = Region::start().await;
    let (ann, ctx) = user(&region, "ann", &allow(&["*"], "*")).await;
    let admin = region.admin("dev").await;
    let device = Device::enabled(&region, &admin, &ann, "phone").await;
    let guarded = role(&region, &ann, "guarded", bool_of("true")).await;
    let open =
        role(&region, &ann, "open", json!({"StringEquals": {"aws:PrincipalAccount": ann.account.as_str()}})).await;
    let deny = json!({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "ecr:DescribeRegistry",
        "Resource": "*", "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}}})
    .to_string();
    for name in [&ann, &guarded, &open] {
        region.app().put_principal_policy(&admin, name.clone(), "with-mfa", &deny).await.unwrap();
    }
    let asks = async |ctx: &Ctx| {
        region.app().registry_settings(&now(&region, ctx), ann.account).await.map(drop).map_err(|error| error.reason)
    };
    let of = async |issued: &Issued| tenants::bearer(&region, issued).await.1;
    // By the user's own key nothing is known of a second factor, and nothing by a token made with it.
    assert_eq!(asks(&ctx).await, Err(Reason::AccessDenied), "IfExists holds where nothing is known");
    let without = region.app().session_token(&now(&region, &ctx), None, None).await.unwrap();
    let without = of(&without).await;
    assert_eq!(asks(&without).await, Err(Reason::AccessDenied));
    let shown = device.shown(device.code(&region, 0));
    let with = region.app().session_token(&now(&region, &ctx), None, shown.as_ref()).await.unwrap();
    let with = of(&with).await;
    assert_eq!(asks(&with).await, Ok(()));
    // The session may take what asks for a second factor; what it takes has none of its own.
    assert_eq!(
        take(&region, &without, &guarded, None).await.map(drop).map_err(|e| e.reason),
        Err(Reason::AccessDenied)
    );
    let taken = of(&take(&region, &with, &guarded, None).await.unwrap()).await;
    assert_eq!(asks(&taken).await, Err(Reason::AccessDenied));
    region.app().clock().advance(Duration::from_secs(60));
    let taken = of(&take(&region, &ctx, &open, device.shown(device.code(&region, 0))).await.unwrap()).await;
    assert_eq!(asks(&taken).await, Err(Reason::AccessDenied), "a code counts for the call that it is shown with");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_get_session_token_are_for_iam_only_with_mfa_and_for_sts_hardly() {
    let region = Region::start().await;
    let (ann, ctx) = user(&region, "ann", &allow(&["*"], "*")).await;
    let admin = region.admin("dev").await;
    let device = Device::enabled(&region, &admin, &ann, "phone").await;
    let makes = async |ctx: &Ctx, name: &str| {
        let made = region.app().create_user(&now(&region, ctx), ann.account, &UserName::parse(name).unwrap()).await;
        made.map(drop).map_err(|error| error.reason)
    };
    let without = region.app().session_token(&now(&region, &ctx), None, None).await.unwrap();
    let (_, without) = tenants::bearer(&region, &without).await;
    assert_eq!(makes(&without, "one").await, Err(Reason::CallerUnknown));
    let shown = device.shown(device.code(&region, 0));
    let with = region.app().session_token(&now(&region, &ctx), None, shown.as_ref()).await.unwrap();
    let (_, with) = tenants::bearer(&region, &with).await;
    assert_eq!(makes(&with, "two").await, Ok(()));
    for ctx in [&without, &with] {
        let again = region.app().session_token(&now(&region, ctx), None, None).await.map(drop).unwrap_err();
        assert_eq!(again.reason, Reason::AccessDenied);
        let asked = region.app().access_key_account(&now(&region, ctx), "AKIAAAAAAAAAAAAAAAAA").await.unwrap_err();
        assert_eq!(asked.message, "Cannot call sts:GetAccessKeyInfo with session credentials");
        region.app().caller_identity(&now(&region, ctx)).await.unwrap();
    }
    // How long ago, in seconds.
    let address = repository(&region, "dev", "app");
    region.http("dev").await.push_image(&format!("{}/app", ann.account), "v1", &[b"layer"]).await;
    let deny = json!({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "ecr:*", "Resource": "*",
        "Condition": {"NumericGreaterThan": {"aws:MultiFactorAuthAge": "600"}}}})
    .to_string();
    region.app().put_principal_policy(&admin, ann.clone(), "lately", &deny).await.unwrap();
    region.app().get_repository(&now(&region, &with), &address).await.unwrap();
    region.app().clock().advance(Duration::from_secs(601));
    let late = region.app().get_repository(&now(&region, &with), &address).await.map(drop).unwrap_err();
    assert_eq!(late.reason, Reason::AccessDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_codes_is_stopped() {
    let region = Region::start().await;
    let (ann, ctx) = user(&region, "ann", &allow(&["*"], "*")).await;
    let device = Device::enabled(&region, &region.admin("dev").await, &ann, "phone").await;
    let right = [device.code(&region, -1), device.code(&region, 0), device.code(&region, 1)];
    let wrong = (0..).map(|n| format!("{n:06}")).find(|code| !right.contains(code)).unwrap();
    let show = async |code: String| {
        let shown = device.shown(code);
        let taken = region.app().session_token(&now(&region, &ctx), None, shown.as_ref()).await;
        taken.map(drop).map_err(|error| error.reason)
    };
    for _ in 0..10 {
        assert_eq!(show(wrong.clone()).await, Err(Reason::AccessDenied));
    }
    assert_eq!(show(device.code(&region, 0)).await, Err(Reason::Throttled), "the right one comes too late");
    region.app().flush_audit().await;
    let denied = crate::operations::denials(&region);
    assert!(denied.contains(&("GetSessionToken".to_owned(), ann.arn().to_string())), "{denied:?}");
    region.app().clock().advance(Duration::from_secs(3_601));
    assert_eq!(show(device.code(&region, 0)).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_may_be_left_to_manage_its_own_devices() {
    let region = Region::start().await;
    let own = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iam:CreateVirtualMFADevice", "Resource": "arn:aws:iam::*:mfa/${aws:username}"},
        {"Effect": "Allow", "Action": ["iam:EnableMFADevice", "iam:ListMFADevices", "iam:DeactivateMFADevice"],
            "Resource": "arn:aws:iam::*:user/${aws:username}"}]})
    .to_string();
    let (ann, ctx) = user(&region, "ann", &own).await;
    let (bob, _) = user(&region, "bob", &own).await;
    let device = Device::enabled(&region, &ctx, &ann, "ann").await;
    assert_eq!(region.app().list_mfa_devices(&ctx, &ann).await.unwrap().len(), 1);
    let denied = |told: Result<(), Error>| assert_eq!(told.unwrap_err().reason, Reason::AccessDenied);
    denied(region.app().list_mfa_devices(&ctx, &bob).await.map(drop));
    denied(region.app().delete_mfa_device(&ctx, bob.clone(), device.device.clone()).await);
    let named = MfaDeviceRef { name: MfaDeviceName::parse("bob").unwrap(), ..device.device.clone() };
    denied(region.app().create_mfa_device(&ctx, ann.clone(), named.clone()).await.map(drop));
    // A device of ann's is not bob's, whoever asks.
    let admin = region.admin("dev").await;
    let missing = region.app().delete_mfa_device(&admin, bob.clone(), device.device.clone()).await.unwrap_err();
    assert_eq!(missing.reason, Reason::NotFound);
    let taken = region.app().create_mfa_device(&admin, bob, device.device.clone()).await.map(drop).unwrap_err();
    assert_eq!(taken.reason, Reason::AlreadyExists);
    // It goes with its user.
    region.app().delete_principal(&admin, ann.clone()).await.unwrap();
    let again = tenants::user(&region, "dev", "ann", &own).await;
    assert_eq!(region.app().list_mfa_devices(&admin, &again).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_shown_on_the_aws_wire_as_stock_clients_show_them() {
    let region = Region::start().await;
    let (ann, _) = user(&region, "ann", &allow(&["*"], "*")).await;
    let admin = region.admin("dev").await;
    let device = Device::enabled(&region, &admin, &ann, "phone").await;
    let made = region.app().create_access_key(&admin, ann).await.unwrap();
    let key = Key { id: made.id, secret: made.secret, token: None };
    let serial = device.device.arn().to_string().replace(':', "%3A").replace('/', "%2F");
    for (more, told) in [
        (format!("&SerialNumber={serial}"), "must provide both MFA serial number"),
        ("&TokenCode=123456".to_owned(), "must provide both MFA serial number"),
        (format!("&SerialNumber={serial}&TokenCode=12345"), "<Code>ValidationError</Code>"),
        (format!("&SerialNumber=GAHT12345678&TokenCode={}", device.code(&region, 0)), "associated with this user"),
        (format!("&SerialNumber={serial}&TokenCode={}", device.code(&region, 0)), "<SessionToken>"),
        (format!("&SerialNumber={serial}&TokenCode={}", device.code(&region, 0)), "<Code>AccessDenied</Code>"),
    ] {
        let body = format!("Action=GetSessionToken&Version=2011-06-15{more}");
        let answer = Call { service: "sts", operation: "GetSessionToken", body }.to(&region, Some(&key)).await;
        assert!(answer.text().contains(told), "{more}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_counts_in_every_region() {
    let organization = Organization::start(&["us-east-1", "eu-west-1"]).await;
    let [home, away] = &organization.regions[..] else { panic!("two regions") };
    let (ann, _) = user(home, "ann", &allow(&["*"], "*")).await;
    let device = Device::enabled(home, &home.admin("dev").await, &ann, "phone").await;
    eventually("the device", async || {
        away.app().unique_id(&ann).await.unwrap()?;
        let admin = away.admin("dev").await;
        let known = away.app().list_mfa_devices(&admin, &ann).await.unwrap();
        known.iter().any(|row| row.enabled).then_some(())
    })
    .await;
    let ctx = away.caller(ann.clone()).await;
    let shown = device.shown(device.code(away, 0));
    away.app().session_token(&now(away, &ctx), None, shown.as_ref()).await.unwrap();
    home.app().delete_mfa_device(&home.admin("dev").await, ann.clone(), device.device.clone()).await.unwrap();
    eventually("its end", async || {
        away.app().list_mfa_devices(&away.admin("dev").await, &ann).await.unwrap().is_empty().then_some(())
    })
    .await;
}
