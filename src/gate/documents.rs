//! Parsed policy documents, kept by their text: what was decided by them is never kept.

use crate::authz::policy::{Document, Kind};
use crate::error::{Error, Result};
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parsed documents by kind, text and bindings; emptied when full, since policies change rarely. Found by a hash, and
/// then compared, so that a search copies nothing; of two with one hash the last stays.
#[derive(Default)]
pub(super) struct Documents {
    hasher: RandomState,
    found: Mutex<HashMap<u64, Parsed>>,
}

/// A document and what it was parsed from.
struct Parsed {
    kind: Kind,
    text: String,
    bindings: Option<BTreeMap<String, String>>,
    document: Arc<Document>,
}

/// How many parsed documents are kept: some 10 KiB each at most, so 40 MiB at the worst.
const DOCUMENTS_MAX: usize = 4_096;

impl Documents {
    pub(super) fn parse(&self, kind: Kind, text: &str) -> Result<Arc<Document>> {
        self.bound(kind, text, None)
    }

    pub(super) fn bound(
        &self,
        kind: Kind,
        text: &str,
        bindings: Option<&BTreeMap<String, String>>,
    ) -> Result<Arc<Document>> {
        let hash = self.hasher.hash_one((kind, text, bindings));
        let is_it = |it: &&Parsed| it.kind == kind && it.text == text && it.bindings.as_ref() == bindings;
        if let Some(found) = self.found().get(&hash).filter(is_it) {
            return Ok(found.document.clone());
        }
        // A stored policy was accepted once; if it no longer parses the request fails closed.
        let mut document = Document::parse(kind, text).map_err(Error::internal)?;
        if let Some(bindings) = bindings {
            document.bind(bindings);
        }
        let document = Arc::new(document);
        let parsed = Parsed { kind, text: text.to_owned(), bindings: bindings.cloned(), document: document.clone() };
        let mut all = self.found();
        if all.len() >= DOCUMENTS_MAX {
            all.clear();
        }
        all.insert(hash, parsed);
        Ok(document)
    }

    fn found(&self) -> MutexGuard<'_, HashMap<u64, Parsed>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
