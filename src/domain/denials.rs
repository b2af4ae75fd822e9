//! What a refusal was about: sealed into it, and told to who is of the caller's account or the resource's and may ask.
//!
//! The caller reads no more of it than of the refusal itself. Its account and the resource's learn what the request said, and
//! the one whose policy decided which statement it was. Whether something of the resource's denied, its account alone learns.

use super::App;
use crate::clock::Timestamp;
use crate::ctx::Ctx;
use crate::error::{Error, Reason, Result};
use crate::gate::{Denied, Identified};
use crate::names::AccountId;
use crate::ops::Op;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a message can be read.
const MESSAGE_TTL: Duration = Duration::from_secs(24 * 3_600);
/// Characters of a ground that are kept when all does not fit.
const GROUND_KEPT: usize = 400;

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Message {
    /// Microseconds since 1970.
    at: i64,
    principal_account: Option<AccountId>,
    resource_account: Option<AccountId>,
    told_explicit: bool,
    explicit: bool,
    principal: String,
    principal_id: String,
    action: String,
    resource: String,
    ground: String,
    ground_account: Option<AccountId>,
    conditions: Vec<(String, Vec<String>)>,
}

/// A message as AWS writes them, and the ground in our words.
// SPEC: STS API, `DecodeAuthorizationMessage`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Decoded {
    allowed: bool,
    explicit_deny: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ground: Option<String>,
    context: Context,
}

#[derive(Serialize)]
struct Context {
    principal: Principal,
    action: String,
    resource: String,
    conditions: Items<Condition>,
}

#[derive(Serialize)]
struct Principal {
    id: String,
    arn: String,
}

#[derive(Serialize)]
struct Condition {
    key: String,
    values: Items<Value>,
}

#[derive(Serialize)]
struct Value {
    value: String,
}

#[derive(Serialize)]
struct Items<T> {
    items: Vec<T>,
}

impl App {
    /// A refusal with the sealed message of what it was about, if it is one by policies.
    #[must_use]
    pub fn with_message(&self, ctx: &Ctx, error: Error) -> Error {
        let denied = error.source.as_ref().and_then(|source| source.downcast_ref::<Denied>());
        let Some(sealed) = denied.and_then(|denied| self.sealed_message(denied.clone(), ctx.now)) else { return error };
        error.with("encoded_message", sealed)
    }

    /// What does not fit is left out: first what the request said, then the end of the ground.
    fn sealed_message(&self, denied: Denied, now: Timestamp) -> Option<String> {
        let keys = self.token_keys().ok()?;
        let mut message = Message {
            at: now.micros(),
            principal_account: denied.principal_account,
            resource_account: denied.resource_account,
            told_explicit: denied.told_explicit,
            explicit: denied.explicit,
            principal: denied.principal,
            principal_id: denied.principal_id,
            action: denied.action.to_owned(),
            resource: denied.resource,
            ground: denied.ground,
            ground_account: denied.ground_account,
            conditions: denied.conditions,
        };
        let seal = |message: &Message| keys.seal_message(&serde_json::to_vec(message).ok()?);
        if let Some(sealed) = seal(&message) {
            return Some(sealed);
        }
        message.conditions.clear();
        message.ground = message.ground.chars().take(GROUND_KEPT).collect();
        seal(&message)
    }

    /// What a refusal was about, as JSON.
    ///
    /// # Errors
    /// When no policy allows to ask, or the message is none of the last 24 hours that concerns the caller's account: one
    /// answer.
    pub async fn decode_message(&self, ctx: &Ctx, text: &str) -> Result<String> {
        let view = self.gate.read::<Identified>(ctx, Op::DecodeAuthorizationMessage, &ctx.caller).await?;
        let asker = view.allowed().0.name.account;
        let message = self.token_keys()?.open_message(text).and_then(|plain| serde_json::from_slice(&plain).ok());
        let message = message.filter(|message| concerns(message, asker, ctx.now)).ok_or_else(invalid)?;
        serde_json::to_string(&decoded(message, asker)).map_err(Error::internal)
    }
}

fn concerns(message: &Message, asker: AccountId, now: Timestamp) -> bool {
    let fresh = now.since(Timestamp::from_micros(message.at)) <= MESSAGE_TTL;
    fresh && [message.principal_account, message.resource_account].contains(&Some(asker))
}

fn decoded(message: Message, asker: AccountId) -> Decoded {
    let value = |value| Value { value };
    let condition = |(key, values): (String, Vec<String>)| {
        let items = values.into_iter().map(value).collect();
        Condition { key, values: Items { items } }
    };
    Decoded {
        allowed: false,
        explicit_deny: if message.resource_account == Some(asker) { message.explicit } else { message.told_explicit },
        ground: (message.ground_account == Some(asker)).then_some(message.ground),
        context: Context {
            principal: Principal { id: message.principal_id, arn: message.principal },
            action: message.action,
            resource: message.resource,
            conditions: Items { items: message.conditions.into_iter().map(condition).collect() },
        },
    }
}

// OBSERVED: the words of AWS STS.
fn invalid() -> Error {
    Error::new(Reason::InvalidArgument, "Message is not valid").with("code", "InvalidAuthorizationMessageException")
}
