//! What a plaintext hashes to, and the hash on the way there.
//!
//! SHA-256 is always computed: the commitment and the receipts rest on it. SHA-512 is computed beside it for content that
//! is named by it, and only then, since it costs as much again.

use super::{Error, Result};
use crate::names::{Algorithm, Digest};
use sha2::{Digest as _, Sha256, Sha512};

/// The hashes of one plaintext: SHA-256, and SHA-512 if that is its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hashes {
    sha256: Digest,
    sha512: Option<Digest>,
}

impl Hashes {
    /// The hashes of content stored under `name`; `sha256` is given for a name that is none itself.
    ///
    /// # Errors
    /// When the two are not what their places call for.
    pub fn of_name(name: Digest, sha256: Option<Digest>) -> Result<Self> {
        match (name.algorithm(), sha256) {
            (Algorithm::Sha256, None) => Ok(Self { sha256: name, sha512: None }),
            (Algorithm::Sha512, Some(sha256)) if sha256.algorithm() == Algorithm::Sha256 => {
                Ok(Self { sha256, sha512: Some(name) })
            }
            _ => Err(Error::Malformed { what: "envelope", rule: "a SHA-256, with a SHA-512 if that is the name" }),
        }
    }

    /// The digest under which the content is known.
    #[must_use]
    pub fn name(&self) -> Digest {
        self.sha512.unwrap_or(self.sha256)
    }

    /// The SHA-256.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// The SHA-512, if that is the name.
    #[must_use]
    pub fn sha512(&self) -> Option<Digest> {
        self.sha512
    }

    /// The SHA-256 if it is not the name: what has to be kept beside the name.
    #[must_use]
    pub fn beside_name(&self) -> Option<Digest> {
        self.sha512.map(|_| self.sha256)
    }
}

/// The hashes of the bytes so far.
#[derive(Clone)]
pub(super) struct Hashing {
    pub(super) sha256: Sha256,
    pub(super) sha512: Option<Sha512>,
}

impl Hashing {
    /// Nothing hashed yet; SHA-512 too if that is the name to come.
    pub(super) fn new(named: Algorithm) -> Self {
        let sha512 = match named {
            Algorithm::Sha256 => None,
            Algorithm::Sha512 => Some(Sha512::new()),
        };
        Self { sha256: Sha256::new(), sha512 }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    pub(super) fn finish(self) -> Hashes {
        let sha512 = self.sha512.map(|hash| Digest::sha512(hash.finalize().into()));
        Hashes { sha256: Digest::sha256(self.sha256.finalize().into()), sha512 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Hashes, Hashing};
    use crate::names::{Algorithm, Digest};

    #[test]
    fn content_is_known_by_the_algorithm_it_was_named_with() {
        for (named, beside) in [(Algorithm::Sha256, None), (Algorithm::Sha512, Some(Digest::of(b"ab")))] {
            let mut hashing = Hashing::new(named);
            hashing.update(b"a");
            hashing.update(b"b");
            let hashes = hashing.finish();
            assert_eq!(hashes.name(), Digest::hash(named, b"ab"));
            assert_eq!((hashes.sha256(), hashes.beside_name()), (Digest::of(b"ab"), beside));
            assert_eq!(Hashes::of_name(hashes.name(), hashes.beside_name()).unwrap(), hashes);
        }
    }

    #[test]
    fn a_name_without_its_sha256_is_refused() {
        let (short, long) = (Digest::of(b"a"), Digest::hash(Algorithm::Sha512, b"a"));
        for (name, beside) in [(short, Some(short)), (long, None), (long, Some(long))] {
            assert!(Hashes::of_name(name, beside).is_err(), "{name} {beside:?}");
        }
    }
}
