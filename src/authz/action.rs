//! Action patterns of a policy: `*`, or a service and a name with wildcards, both case-insensitive.

use super::glob::Pattern;
use crate::ops::Op;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Actions that are judged beside an operation's own and so have no row in the operation table.
const ACCOMPANYING: [&str; 3] = ["sts:AssumeRoleWithWebIdentity", "sts:SetSourceIdentity", "sts:TagSession"];

/// An action in the case in which actions are compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Action {
    text: String,
    colon: usize,
}

impl Action {
    /// Reads `service:Name`; what has no colon is an action of no service.
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_ascii_lowercase(), colon: text.find(':').unwrap_or(0) }
    }

    /// The service, in lower case.
    pub(super) fn service(&self) -> &str {
        &self.text[..self.colon]
    }

    /// The name, in lower case.
    fn name(&self) -> &str {
        self.text.get(self.colon + 1..).unwrap_or_default()
    }
}

/// An entry of `Action` or `NotAction`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ActionPattern {
    /// `*`: every action of every service.
    Any,
    /// Actions of one service; both in lower case.
    Of { service: String, name: Pattern },
    /// Refused where policies are written; it covers no action.
    Nothing,
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
            .then(|| Self::Of { service: service.to_ascii_lowercase(), name: Pattern::new(name).lowered() })
    }

    /// Every action of a service.
    pub(super) fn all_of(service: &str) -> Self {
        Self::Of { service: service.to_owned(), name: Pattern::new("*") }
    }

    /// Whether the action is covered.
    pub(super) fn matches(&self, action: &Action) -> bool {
        match self {
            Self::Any => true,
            Self::Nothing => false,
            Self::Of { service, name } => service == action.service() && name.matches(action.name()),
        }
    }

    /// Whether the pattern speaks of a service of ours and covers none of its operations.
    pub(super) fn is_unknown(&self) -> bool {
        let Self::Of { service, name } = self else { return false };
        let (head, _) = name.literal_start();
        served(service).is_some_and(|names| {
            let from = names.partition_point(|known| known.as_str() < head);
            !names[from..].iter().take_while(|known| known.starts_with(head)).any(|known| name.matches(known))
        })
    }

    /// Whether it may cover actions of a service of ours, known ones or not.
    pub(super) fn speaks_of_ours(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Of { service, .. } => served(service).is_some(),
            Self::Nothing => false,
        }
    }

    /// Whether every action that the other covers is covered by this.
    pub(super) fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Nothing) => true,
            (Self::Nothing, Self::Any | Self::Of { .. }) | (Self::Of { .. }, Self::Any) => false,
            (Self::Of { service, name }, Self::Of { service: of, name: inner }) => {
                service == of && name.includes(inner)
            }
        }
    }

    /// Whether every action covered belongs to that service, in lower case.
    pub(super) fn is_of(&self, wanted: &str) -> bool {
        matches!(self, Self::Of { service, .. } if service == wanted)
    }
}

/// The names of a service's actions that are served here, in order, in lower case; `None` for another service.
fn served(service: &str) -> Option<&'static [String]> {
    static SERVED: LazyLock<Vec<(String, Vec<String>)>> = LazyLock::new(|| {
        let mut services: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for action in Op::ALL.iter().map(|op| op.spec().action).chain(ACCOMPANYING) {
            let action = Action::new(action);
            services.entry(action.service().to_owned()).or_default().insert(action.name().to_owned());
        }
        services.into_iter().map(|(service, names)| (service, names.into_iter().collect())).collect()
    });
    SERVED.iter().find(|(of, _)| of == service).map(|(_, names)| names.as_slice())
}

#[cfg(test)]
mod tests {
    use super::{Action, ActionPattern};

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
            assert_eq!(
                ActionPattern::parse(pattern).unwrap().matches(&Action::new(action)),
                expected,
                "{pattern} on {action}"
            );
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

    #[test]
    fn a_pattern_includes_what_is_narrower() {
        let table = [
            ("*", "*", true),
            ("*", "s3:Get*", true),
            ("ecr:*", "*", false),
            ("ecr:*", "ECR:Get?*", true),
            ("ecr:get*", "ecr:GetRepositoryPolicy", true),
            ("ecr:Get*", "ecr:*", false),
            ("ecr:*", "ecr-public:*", false),
        ];
        for (wide, narrow, expected) in table {
            let [wide_pattern, narrow_pattern] = [wide, narrow].map(|text| ActionPattern::parse(text).unwrap());
            assert_eq!(wide_pattern.includes(&narrow_pattern), expected, "{wide} {narrow}");
        }
    }
}
