//! What each kind of policy may contain and how long it may be.

use super::policy::{Error, Kind};

/// What a kind of policy may contain.
pub(super) struct Rules {
    /// `Id` is known.
    pub(super) id: bool,
    /// `Principal` is required, and without it forbidden.
    pub(super) principal: bool,
    /// `NotPrincipal` may stand in its place.
    pub(super) not_principal: bool,
    /// `Resource` or `NotResource` is required, optional or forbidden.
    pub(super) resource: Presence,
    /// `Sid` is unique and alphanumeric.
    pub(super) strict_sid: bool,
    /// The longest text in characters.
    chars_max: usize,
    /// White space counts towards that.
    space_counts: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    Optional,
    Forbidden,
}

/// SPEC: IAM and STS quotas, ECR `SetRepositoryPolicy`, KMS `PutKeyPolicy`, Organizations quotas.
pub(super) fn rules(kind: Kind) -> Rules {
    let plain = Rules {
        id: false,
        principal: false,
        not_principal: false,
        resource: Presence::Required,
        strict_sid: true,
        chars_max: 10_240,
        space_counts: false,
    };
    let attached = |chars_max| Rules { id: true, principal: true, chars_max, ..plain };
    match kind {
        Kind::Identity => plain,
        Kind::Boundary => Rules { chars_max: 6_144, ..plain },
        Kind::Session => Rules { chars_max: 2_048, space_counts: true, ..plain },
        Kind::Trust => Rules { resource: Presence::Forbidden, ..attached(2_048) },
        Kind::Resource => Rules {
            not_principal: true,
            resource: Presence::Optional,
            strict_sid: false,
            space_counts: true,
            ..attached(10_240)
        },
        Kind::Key => Rules { not_principal: true, strict_sid: false, space_counts: true, ..attached(32_768) },
        Kind::ServiceControl => Rules { chars_max: 5_120, space_counts: true, ..plain },
        Kind::ResourceControl => Rules { principal: true, chars_max: 5_120, space_counts: true, ..plain },
    }
}

pub(super) fn check_size(kind: Kind, text: &str) -> Result<(), Error> {
    let Rules { chars_max, space_counts, .. } = rules(kind);
    let start = |message| Error { line: 1, column: 1, message };
    // There are no more characters than bytes, so most texts need no counting.
    let count = match text.len() {
        bytes if bytes <= chars_max => bytes,
        _ => text.chars().filter(|c| space_counts || !c.is_ascii_whitespace()).count(),
    };
    if count > chars_max {
        let but = if space_counts { "" } else { ", white space not counted" };
        return Err(start(format!("the policy has {count} characters; at most {chars_max} are accepted{but}")));
    }
    let accepted = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}');
    let looked_at = if kind == Kind::Session { text } else { "" };
    match looked_at.chars().find(|c| !accepted(*c)) {
        None => Ok(()),
        Some(c) => Err(start(format!("{c:?} in a session policy; tab, line ends and U+0020 to U+00FF are accepted"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{check_size, rules};
    use crate::authz::policy::Kind;

    #[test]
    fn each_kind_has_its_size_to_the_character() {
        let kinds = [
            (Kind::Identity, 10_240),
            (Kind::Boundary, 6_144),
            (Kind::Session, 2_048),
            (Kind::Trust, 2_048),
            (Kind::Resource, 10_240),
            (Kind::Key, 32_768),
            (Kind::ServiceControl, 5_120),
            (Kind::ResourceControl, 5_120),
        ];
        for (kind, chars_max) in kinds {
            assert!(check_size(kind, &"é".repeat(chars_max)).is_ok(), "{kind:?}");
            assert!(check_size(kind, &"é".repeat(chars_max + 1)).is_err(), "{kind:?}");
            let padded = format!("{} \n\t", "x".repeat(chars_max));
            assert_eq!(check_size(kind, &padded).is_err(), rules(kind).space_counts, "{kind:?}");
        }
    }

    #[test]
    fn a_session_policy_keeps_to_latin_1() {
        assert!(check_size(Kind::Session, "{}\t\r\n\u{ff}").is_ok());
        for bad in ["\u{100}", "\u{1f}", "\u{0}"] {
            assert!(check_size(Kind::Session, bad).is_err());
            assert!(check_size(Kind::Identity, bad).is_ok());
        }
    }
}
