//! What a configuration says, and all that cannot be in it at once.

use super::*;

fn settings(text: &str, overrides: &[(&str, &str)]) -> Result<Settings, Error> {
    let strings: BTreeMap<String, String> = overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    Settings::load(Some(&path), &strings)
}

#[test]
fn nothing_at_all_is_a_registry_on_a_laptop() {
    let settings = Settings::load(None, &BTreeMap::new()).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:5000");
    assert!(matches!(settings.store, Store::Sqlite));
    assert_eq!(settings.kms, Kms::Embedded);
}

#[test]
fn all_problems_are_told_at_once() {
    let error =
        settings("region = \"US\"\nlisten = \"here\"\n[store]\nkind = \"postgres\"\nurl = \"postgres://a:b@c\"", &[])
            .unwrap_err();
    assert_eq!(error.problems.len(), 3, "{error}");
    assert!(!error.to_string().contains("a:b"), "a secret was repeated: {error}");
}

#[test]
fn a_role_for_kms_is_parsed_and_what_belongs_to_it_needs_it() {
    let aws = |text: &str| settings(&format!("[kms]\nkind = \"aws\"\n{text}"), &[]);
    let Kms::Aws { role: Some(role), .. } = aws("role_arn = \"arn:aws:iam::111122223333:role/kms\"").unwrap().kms
    else {
        panic!("no role")
    };
    assert_eq!((role.arn.as_str(), role.session_name.as_str()), ("arn:aws:iam::111122223333:role/kms", "transship"));
    assert_eq!((role.external_id, role.sts_endpoint), (None, None));
    assert_eq!(aws("").unwrap().kms, Kms::Aws { endpoint: None, role: None });

    for (text, key) in [
        ("role_arn = \"arn:aws:iam::111122223333:user/kms\"", "kms.role_arn"),
        ("role_arn = \"arn:aws:iam::111122223333:role/kms\"\nsession_name = \"a b\"", "kms.session_name"),
        ("role_arn = \"arn:aws:iam::111122223333:role/kms\"\nexternal_id = \"x\"", "kms.external_id"),
        ("role_arn = \"arn:aws:iam::111122223333:role/kms\"\nsts_endpoint = \"sts\"", "kms.sts_endpoint"),
        ("endpoint = \"127.0.0.1:5000\"", "kms.endpoint"),
        ("external_id = \"of nobody\"", "kms.external_id"),
        ("sts_endpoint = \"http://sts\"", "kms.role_arn"),
        ("role = \"arn:aws:iam::111122223333:role/kms\"", "role"),
    ] {
        let error = aws(text).unwrap_err().to_string();
        assert!(error.contains(key), "{text}: {error}");
    }
}

#[test]
fn an_unknown_key_is_an_error() {
    assert!(settings("regoin = \"us-east-1\"", &[]).unwrap_err().to_string().contains("regoin"));
    let profile = settings("[registry]\nprofile = \"aws\"", &[]).unwrap_err().to_string();
    assert!(profile.contains("registry.profile: profile \"aws\" is not valid"), "{profile}");
}

#[test]
fn a_variable_overrides_a_key_by_its_path() {
    let settings = settings("", &[("TRANSSHIP__REGISTRY__CREATE_ON_PUSH", "true"), ("TRANSSHIP__REGION", "eu-west-1")]);
    let settings = settings.unwrap();
    assert!(settings.create_on_push);
    assert_eq!(settings.region.as_str(), "eu-west-1");
}
