//! From a request's head to its context: who, from where, when; and the log of what it was not answered.

use crate::clock::Clock;
use crate::ctx::{Caller, Ctx, Mutation};
use crate::domain::App;
use crate::domain::trust::Stood;
use crate::error::{Error, Reason, Result};
use crate::identity::{self, Kind};
use crate::listen::Peer;
use crate::ops::Op;
use http::header::USER_AGENT;
use http::{Extensions, HeaderMap};

/// Characters of a user agent that are kept.
const USER_AGENT_MAX: usize = 256;

/// A request's context before its caller is known.
pub(super) fn context(app: &App, headers: &HeaderMap, extensions: &Extensions) -> Ctx {
    let peer = extensions.get::<Peer>();
    let clock: &Clock = app.clock();
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ctx {
        caller: Caller::Anonymous,
        region: app.settings().region.clone(),
        request_id: clock.uid(),
        now: clock.now(),
        source_ip: peer.map(|peer| peer.addr.ip().to_canonical()),
        secure: peer.is_some_and(|peer| peer.tls),
        user_agent: agent.chars().take(USER_AGENT_MAX).collect::<String>().into(),
        mutation: Mutation::default(),
    }
}

/// The caller of an operation on the registry's HTTP surface, nobody without credentials, and what was seen of
/// it.
pub(super) async fn of_registry(app: &App, ctx: &Ctx, op: Op, headers: &HeaderMap) -> Result<(Caller, Option<Stood>)> {
    app.identify(ctx, op, identity::shown(headers), Kind::ON_REGISTRY).await
}

/// The caller of an operation over gRPC, where there is always one.
pub(super) async fn of_call(app: &App, ctx: &Ctx, op: Op, headers: &HeaderMap) -> Result<Caller> {
    let kinds = if op == Op::GetAuthorizationToken { Kind::FOR_PASSWORD } else { Kind::ON_GRPC };
    match app.identify(ctx, op, identity::bearer_token(headers), kinds).await?.0 {
        Caller::Anonymous => {
            Err(app.unidentified(ctx, op, "this call needs `authorization: Bearer <token>`; ExchangeToken gives one"))
        }
        caller => Ok(caller),
    }
}

/// Logs a failure once, where it is answered; a refusal is in the audit.
pub(super) fn log(ctx: &Ctx, error: &Error) {
    let request = ctx.request_id;
    match error.reason {
        Reason::Internal | Reason::DataLoss => tracing::error!(%request, error = ?error, "a request failed"),
        Reason::AccessDenied => tracing::debug!(%request, error = ?error, "a request was refused"),
        _ if error.source.is_some() => tracing::warn!(%request, error = ?error, "a request was not served"),
        _ => tracing::debug!(%request, error = ?error, "a request was refused"),
    }
}
