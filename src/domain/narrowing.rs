//! Registry tokens that are good for less than their holder is: some repositories, tags and actions, from some addresses,
//! for some minutes.
//!
//! A token is narrowed when it is made, and once more when another is made from it; nothing widens it, since every bound
//! it was ever given stays in it and each must hold at every use.

use super::App;
use super::trust::{Token, caller};
use crate::ctx::{Bound, Ctx, Principal};
use crate::error::{Error, Result};
use crate::gate::Registry;
use crate::identity::Kind;
use crate::ops::Op;
use std::sync::Arc;
use std::time::Duration;

/// How long a registry password lasts, as ECR's, and the longest.
const TTL_DEFAULT: Duration = Duration::from_secs(12 * 3_600);
/// The shortest: less is over before a client has used it.
const TTL_MIN: Duration = Duration::from_secs(60);
/// Patterns, tags or networks of one bound; a token has little room.
const ENTRIES_MAX: usize = 32;
/// How often a token may be made from a token that is bounded.
const BOUNDS_MAX: usize = 8;

impl App {
    /// Turns the caller's identity into a registry password.
    ///
    /// # Errors
    /// When no identity policy allows it.
    pub async fn authorization_token(&self, ctx: &Ctx) -> Result<Token> {
        self.narrowed_token(ctx, None, None).await
    }

    /// Turns the caller's identity into a registry password within a bound, for a time that the caller's own does not
    /// exceed.
    ///
    /// # Errors
    /// When no identity policy allows it, the time is none of a minute to twelve hours, or the bounds are too many.
    pub async fn narrowed_token(&self, ctx: &Ctx, bound: Option<Bound>, ttl: Option<Duration>) -> Result<Token> {
        let principal = caller(ctx)?;
        let ttl = ttl.unwrap_or(TTL_DEFAULT);
        if !(TTL_MIN..=TTL_DEFAULT).contains(&ttl) {
            return Err(Error::invalid("duration", "60 to 43,200 seconds"));
        }
        self.gate.read::<Registry>(ctx, Op::GetAuthorizationToken, &principal.name.account).await?;
        let Some(bound) = bound else { return self.token_for(&principal, Kind::Registry, ttl, ctx.now) };
        check(&bound)?;
        let mut session = self.session_of(&principal, ttl, ctx.now);
        if session.bounds.len() >= BOUNDS_MAX {
            return Err(Error::invalid("token", format!("was narrowed {BOUNDS_MAX} times; begin with a wider one")));
        }
        session.bounds.push(Arc::new(bound));
        let narrowed = Principal { session: Some(session), ..Principal::clone(&principal) };
        self.token_for(&narrowed, Kind::Registry, ttl, ctx.now)
    }
}

fn check(bound: &Bound) -> Result<()> {
    let counts =
        [("repositories", bound.repositories.len()), ("tags", bound.tags.len()), ("source_cidrs", bound.sources.len())];
    match counts.into_iter().find(|(_, count)| *count > ENTRIES_MAX) {
        Some((field, _)) => Err(Error::invalid(field, format!("at most {ENTRIES_MAX}"))),
        None => Ok(()),
    }
}
