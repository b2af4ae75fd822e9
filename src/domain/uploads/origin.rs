//! Where the bytes of an upload come from, which decides under what it is authorized and what is kept of it.

use super::Ops;
use crate::names::{AccountId, Region};
use crate::ops::Op;

/// Where bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A client sent them.
    Push,
    /// They were in another repository of the account, which the caller could read.
    Mount,
    /// A registry of a region sent them, or had sent them before; the account, if it is known to have.
    Replica(Region, Option<AccountId>),
    /// They were fetched to take a damaged object's place; from where, in words.
    Repair(String),
}

impl Origin {
    /// The operations under which such an upload is authorized.
    pub(crate) fn ops(&self) -> Ops {
        match self {
            Self::Push | Self::Mount => {
                Ops { start: Op::InitiateLayerUpload, part: Op::UploadLayerPart, complete: Op::CompleteLayerUpload }
            }
            Self::Replica(..) => Ops::one(Op::ReplicateImage),
            Self::Repair(_) => Ops::one(Op::RepairImages),
        }
    }

    /// The account they arrived from by replication.
    pub(crate) fn source(&self) -> Option<AccountId> {
        match self {
            Self::Replica(_, account) => *account,
            Self::Push | Self::Mount | Self::Repair(_) => None,
        }
    }

    /// Whether a caller brought them, and so may name them.
    pub(crate) fn is_claimed(&self) -> bool {
        matches!(self, Self::Push | Self::Mount)
    }

    /// In words, for the report of a repair.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Push => "a push".to_owned(),
            Self::Mount => "a mount".to_owned(),
            Self::Replica(region, _) => format!("replication from {region}"),
            Self::Repair(from) => from.clone(),
        }
    }
}
