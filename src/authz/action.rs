//! Action patterns of a policy: `*`, or a service and a name with wildcards, both case-insensitive.

use super::glob::Pattern;
use crate::ops::Op;

/// Actions that are judged beside an operation's own and so have no row in the operation table.
const ACCOMPANYING: [&str; 3] = ["sts:AssumeRoleWithWebIdentity", "sts:SetSourceIdentity", "sts:TagSession"];

/// An entry of `Action` or `NotAction`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ActionPattern {
    /// `*`: every action of every service.
    Any,
    /// Actions of one service.
    Of { service: String, name: Pattern },
}

impl ActionPattern {
    /// Reads an entry; `None` when it has another form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let (service, name) = text.split_once(':')?;
        let service_fits = service.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let name_fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"*?_-".contains(&b));
        (service_fits && name_fits && !service.is_empty() && !name.is_empty())
            .then(|| Self::Of { service: service.to_owned(), name: Pattern::new(name) })
    }

    /// Whether the request's action `service:Name` is covered.
    pub(super) fn matches(&self, action: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Of { service, name } => action.split_once(':').is_some_and(|(of, action)| {
                service.eq_ignore_ascii_case(of) && name.matches_folded(action, |c| c.to_ascii_lowercase())
            }),
        }
    }

    /// Whether the pattern speaks of a service of ours and covers none of its operations.
    pub(super) fn is_unknown(&self) -> bool {
        let Self::Of { service, .. } = self else { return false };
        let actions = || Op::ALL.iter().map(|op| op.spec().action).chain(ACCOMPANYING);
        let of_service = |action: &str| action.split_once(':').is_some_and(|(of, _)| of.eq_ignore_ascii_case(service));
        actions().any(of_service) && !actions().any(|action| self.matches(action))
    }

    /// Whether every action covered belongs to that service.
    pub(super) fn is_of(&self, wanted: &str) -> bool {
        matches!(self, Self::Of { service, .. } if service.eq_ignore_ascii_case(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::ActionPattern;

    #[test]
    fn the_service_is_exact_and_the_name_a_pattern_both_without_case() {
        let table = [
            ("*", "ecr:BatchGetImage", true),
            ("ecr:batchgetimage", "ecr:BATCHGETIMAGE", true),
            ("ECR:Batch?etImage", "ecr:BatchGetImage", true),
            ("ecr:Batch", "ecr:BatchGetImage", false),
            ("ecr:*", "ecr-public:BatchGetImage", false),
            ("ecr:*", "ecr", false),
        ];
        for (pattern, action, expected) in table {
            assert_eq!(ActionPattern::parse(pattern).unwrap().matches(action), expected, "{pattern} on {action}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in
            ["", "ecr", "ecr:", ":Get", "*:*", "e*:Get", "ecr:Get Image", "ecr:${aws:username}", "ecr:a:b", "é:x"]
        {
            assert!(ActionPattern::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_action_is_unknown_only_where_we_know_the_service() {
        for (action, unknown) in [
            ("ecr:BatchGetImag", true),
            ("ecr:Fly*", true),
            ("ecr:Batch*", false),
            ("ecr:batchgetimage", false),
            ("s3:GetObject", false),
            ("sts:TagSession", false),
            ("*", false),
        ] {
            assert_eq!(ActionPattern::parse(action).unwrap().is_unknown(), unknown, "{action}");
        }
    }
}
