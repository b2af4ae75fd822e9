use super::{Identity, Place, Proof, token};
use crate::clock::Timestamp;
use crate::identity::error::Error;
use crate::identity::{Endpoint, sign};
use crate::names::{Region, Uid};
use crate::secret::Secret;
use std::time::Duration;

const NOW: i64 = 1_790_208_000;

fn place() -> Place {
    Place {
        endpoint: Endpoint::parse("https://sts.eu-west-1.amazonaws.com").unwrap(),
        region: Region::parse("eu-west-1").unwrap(),
    }
}

fn organization() -> Uid {
    Uid::from_bytes([7; 16])
}

fn url_for(place: &Place) -> String {
    let (secret, session) = (Secret::new("secret".to_owned()), Secret::new("session/+=".to_owned()));
    let credentials =
        sign::Credentials { access_key_id: "ASIAAAAAAAAAAAAAAAAA", secret: &secret, session_token: Some(&session) };
    let (at, life) = (Timestamp::from_secs(NOW), Duration::from_secs(300));
    sign::presign_get_caller_identity(&place.endpoint, &place.region, &credentials, at, life, organization(), None)
}

fn read(url: &str, at: i64) -> Result<Proof, Error> {
    Proof::parse(&token(url), &place(), organization(), Timestamp::from_secs(at))
}

#[test]
fn a_proof_is_sent_as_it_was_signed() {
    let url = url_for(&place());
    let proof = read(&url, NOW).unwrap();
    assert_eq!(proof.url(), url);
    proof.presented().verify(&Secret::new("secret".to_owned())).unwrap();
}

#[test]
fn what_is_sent_never_depends_on_how_it_was_spelt() {
    let url = url_for(&place());
    let (base, query) = url.split_once('?').unwrap();
    let mut turned: Vec<&str> = query.split('&').collect();
    turned.reverse();
    assert_eq!(read(&format!("{base}?{}", turned.join("&")), NOW).unwrap().url(), url);
}

#[test]
fn no_other_url_is_a_proof() {
    let good = url_for(&place());
    let elsewhere = Place { endpoint: Endpoint::parse("https://sts.evil.example").unwrap(), ..place() };
    let elsewhen = Place { region: Region::parse("us-east-1").unwrap(), ..place() };
    let header = "SignedHeaders=host%3Bx-transship-organization";
    for bad in [
        url_for(&elsewhere),
        url_for(&elsewhen),
        good.replace("https://", "http://"),
        good.replace(".com/?", ".com:443/?"),
        good.replace(".com/?", ".com/x?"),
        good.replace(".com/?", ".com@evil.example/?"),
        good.replace("GetCallerIdentity", "GetSessionToken"),
        good.replace(header, "SignedHeaders=host"),
        good.replace(header, "SignedHeaders=host%3Bx-k8s-aws-id"),
        format!("{good}&action=AssumeRole"),
        format!("{good}&Action=GetCallerIdentity"),
        format!("{good}&x-amz-credential=x"),
        format!("{good}#x"),
        good.replace("Expires=300", "Expires=901"),
        good.replace("%2Fsts%2F", "%2Fs3%2F"),
        String::new(),
    ] {
        assert!(matches!(read(&bad, NOW), Err(Error::InvalidIdentityToken { .. })), "{bad}");
    }
    for bad in ["transship-aws-v1.", "transship-aws-v1.***", "transship-aws-v2.aaaa", "k8s-aws-v1.aHR0cHM", ""] {
        let read = Proof::parse(bad, &place(), organization(), Timestamp::from_secs(NOW));
        assert!(matches!(read, Err(Error::InvalidIdentityToken { .. })), "{bad}");
    }
}

#[test]
fn a_proof_has_its_time() {
    let url = url_for(&place());
    assert!(read(&url, NOW + 300).is_ok() && read(&url, NOW - 300).is_ok());
    assert!(matches!(read(&url, NOW + 301), Err(Error::IdentityTokenExpired { .. })));
    assert!(matches!(read(&url, NOW - 301), Err(Error::InvalidIdentityToken { .. })));
}

fn answer(account: &str, arn: &str, id: &str) -> String {
    format!(
        r#"{{"GetCallerIdentityResponse":{{"GetCallerIdentityResult":{{"Account":"{account}","Arn":"{arn}","UserId":"{id}"}},
            "ResponseMetadata":{{"RequestId":"1"}}}}}}"#
    )
}

#[test]
fn identities_are_users_federated_users_and_roles() {
    let subject = |arn: &str| Identity::parse(answer("210987654321", arn, "AROAX:s").as_bytes()).map(|it| it.subject);
    let same = ["arn:aws:iam::210987654321:user/team/eve", "arn:aws-cn:sts::210987654321:federated-user/eve"];
    for arn in same {
        assert_eq!(subject(arn).as_deref(), Some(arn));
    }
    let role = subject("arn:aws:sts::210987654321:assumed-role/ci/i-0abc");
    assert_eq!(role.as_deref(), Some("arn:aws:iam::210987654321:role/ci"));
    for bad in [
        "arn:aws:iam::210987654321:root",
        "arn:aws:iam::111122223333:user/eve",
        "arn:aws:sts::210987654321:assumed-role/ci",
        "arn:aws:sts::210987654321:assumed-role/ci/a/b",
        "arn:aws:sts::210987654321:assumed-role//s",
        "arn:evil:iam::210987654321:user/eve",
        "arn:aws:iam:x:210987654321:user/eve",
        "arn:aws:s3::210987654321:user/eve",
        "210987654321",
    ] {
        assert_eq!(subject(bad), None, "{bad}");
    }
}

#[test]
fn an_answer_is_that_json_and_nothing_else() {
    let good = answer("210987654321", "arn:aws:iam::210987654321:user/eve", "AIDAX");
    assert!(Identity::parse(good.as_bytes()).is_some());
    let xml = "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::210987654321:user/eve</Arn>";
    for bad in [
        xml.to_owned(),
        format!("{good}{good}"),
        good.replace("\"Account\":", "\"Account\":\"111122223333\",\"Account\":"),
        good.replace("\"Account\":", "\"account\":"),
        good.replace("GetCallerIdentityResponse", "GetSessionTokenResponse"),
        good.replace("\"UserId\":\"AIDAX\"", "\"UserId\":\"\""),
        good.replace("\"ResponseMetadata\"", "\"Other\""),
        String::new(),
    ] {
        assert!(Identity::parse(bad.as_bytes()).is_none(), "{bad}");
    }
}
