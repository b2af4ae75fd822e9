//! Credentials, as commands print those that they were given.

use super::Session;
use super::failure::{Failure, Result};
use super::output::{Output, line, print_json, time};
use crate::pb::trust::Credentials;
use serde_json::{Value, json};

/// Credentials that the server gave.
pub(super) fn given(credentials: Option<Credentials>) -> Result<Credentials> {
    credentials.ok_or_else(|| Failure::new("the server gave no credentials"))
}

/// Prints exports for a shell, or this JSON.
pub(super) fn tell(session: &Session, keys: &Credentials, json: &Value) {
    match session.global.output {
        Output::Table => {
            line(format_args!("export AWS_ACCESS_KEY_ID={}", keys.access_key_id));
            line(format_args!("export AWS_SECRET_ACCESS_KEY={}", keys.secret_access_key));
            line(format_args!("export AWS_SESSION_TOKEN={}", keys.session_token));
        }
        Output::Json => print_json(json),
    }
}

/// Prints a session that was taken, and for people as whom and until when.
pub(super) fn tell_session(session: &Session, keys: &Credentials, arn: &str, name: &str) {
    let until = time(keys.expire_time.as_ref());
    if session.global.output == Output::Table {
        session.note(&format!("{arn} until {}", until.as_str().unwrap_or_default()));
    }
    let json = json!({
        "arn": arn,
        "session": name,
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key,
        "session_token": keys.session_token,
        "expiration": until,
    });
    tell(session, keys, &json);
}
