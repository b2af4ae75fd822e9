//! A destination's signed word for an image: which bytes arrived, under which key, and when they were hashed.
//!
//! The encoding is fixed and versioned (`docs/formats.md`, "Receipt"): what is signed is bytes, not a rendering.

use crate::clock::Timestamp;
use crate::error::{Error, Reason, Result};
use crate::names::{AccountId, Arn, Digest, Region, RepositoryName, RepositoryRef};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, UnparsedPublicKey};

/// The version of the encoding.
const VERSION: u8 = 1;
/// Blobs of one receipt; a manifest names at most 1,000, an index and its children more.
const BLOBS_MAX: u32 = 100_000;

/// How a destination came by a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Its bytes travelled from this source, were hashed before sealing, and synced.
    Received,
    /// It was held already.
    Held,
}

/// A blob in a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptBlob {
    /// Its digest, recomputed here.
    pub digest: Digest,
    /// Its size.
    pub size: u64,
    /// The destination's KMS key.
    pub kms_key: Arn,
    /// How the destination came by it.
    pub how: How,
    /// When its bytes were last hashed.
    pub verified_at: Timestamp,
}

/// What a destination says of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The source registry's region.
    pub source_region: Region,
    /// The source registry's account.
    pub source: AccountId,
    /// The repository at the destination.
    pub destination: RepositoryRef,
    /// The image.
    pub digest: Digest,
    /// The tag that was set; empty when none was.
    pub tag: String,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// Its blobs, those of its children included.
    pub blobs: Vec<ReceiptBlob>,
}

impl Receipt {
    /// The bytes that are signed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        text(&mut out, self.source_region.as_str());
        text(&mut out, self.source.as_str());
        text(&mut out, self.destination.region.as_str());
        text(&mut out, self.destination.account.as_str());
        text(&mut out, self.destination.name.as_str());
        text(&mut out, &self.digest.to_string());
        text(&mut out, &self.tag);
        out.extend(self.committed_at.micros().to_be_bytes());
        out.extend(u32::try_from(self.blobs.len()).unwrap_or(u32::MAX).to_be_bytes());
        for blob in &self.blobs {
            text(&mut out, &blob.digest.to_string());
            out.extend(blob.size.to_be_bytes());
            text(&mut out, blob.kms_key.as_str());
            out.push(match blob.how {
                How::Received => 1,
                How::Held => 2,
            });
            out.extend(blob.verified_at.micros().to_be_bytes());
        }
        out
    }

    /// Reads what [`Receipt::encode`] wrote; trailing bytes are refused.
    ///
    /// # Errors
    /// When the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Input(bytes);
        if input.take(1)? != [VERSION] {
            return Err(malformed());
        }
        let source_region = Region::parse(input.text()?)?;
        let source = AccountId::parse(input.text()?)?;
        let destination = RepositoryRef {
            region: Region::parse(input.text()?)?,
            account: AccountId::parse(input.text()?)?,
            name: RepositoryName::parse(input.text()?)?,
        };
        let digest = Digest::parse(input.text()?)?;
        let tag = input.text()?.to_owned();
        let committed_at = Timestamp::from_micros(input.i64()?);
        let count = u32::from_be_bytes(input.array()?);
        if count > BLOBS_MAX {
            return Err(malformed());
        }
        let blobs = (0..count).map(|_| input.blob()).collect::<Result<_>>()?;
        if !input.0.is_empty() {
            return Err(malformed());
        }
        Ok(Self { source_region, source, destination, digest, tag, committed_at, blobs })
    }
}

/// The key of a region's certificate, with which it signs receipts.
pub struct Signer {
    pair: EcdsaKeyPair,
    certificate: Vec<u8>,
}

impl Signer {
    /// A signer from a PKCS#8 P-256 key and its certificate in DER.
    ///
    /// # Errors
    /// When the key is none.
    pub fn new(pkcs8: &[u8], certificate: &[u8]) -> Result<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8)
            .map_err(|e| Error::invalid("region key", format!("not a PKCS#8 P-256 key: {e}")))?;
        Ok(Self { pair, certificate: certificate.to_vec() })
    }

    /// Signs a receipt's bytes.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn sign(&self, body: &[u8]) -> Result<Vec<u8>> {
        let signature = self.pair.sign(&SystemRandom::new(), body).map_err(Error::internal)?;
        Ok(signature.as_ref().to_vec())
    }

    /// The certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }
}

/// Checks a receipt's signature against a public key: an uncompressed P-256 point.
///
/// # Errors
/// `DATA_LOSS` when it does not hold.
pub fn verify_signature(public_key: &[u8], body: &[u8], signature: &[u8]) -> Result<()> {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key)
        .verify(body, signature)
        .map_err(|_| Error::new(Reason::DataLoss, "the receipt's signature does not hold"))
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}

fn malformed() -> Error {
    Error::new(Reason::DataLoss, "the receipt is malformed")
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| malformed())
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a str> {
        let length = u16::from_be_bytes(self.array()?);
        std::str::from_utf8(self.take(usize::from(length))?).map_err(|_| malformed())
    }

    fn blob(&mut self) -> Result<ReceiptBlob> {
        let digest = Digest::parse(self.text()?)?;
        let size = u64::from_be_bytes(self.array()?);
        let kms_key = Arn::parse(self.text()?)?;
        let how = match self.take(1)? {
            [1] => How::Received,
            [2] => How::Held,
            _ => return Err(malformed()),
        };
        Ok(ReceiptBlob { digest, size, kms_key, how, verified_at: Timestamp::from_micros(self.i64()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> Receipt {
        let account = AccountId::parse("222233334444").unwrap();
        let region = Region::parse("eu-west-1").unwrap();
        Receipt {
            source_region: Region::parse("us-east-1").unwrap(),
            source: AccountId::parse("111122223333").unwrap(),
            destination: RepositoryRef { account, region, name: RepositoryName::parse("team/app").unwrap() },
            digest: Digest::of(b"manifest"),
            tag: "v1".to_owned(),
            committed_at: Timestamp::from_secs(1),
            blobs: vec![ReceiptBlob {
                digest: Digest::of(b"layer"),
                size: 5,
                kms_key: Arn::parse("arn:aws:kms:eu-west-1:222233334444:key/k").unwrap(),
                how: How::Received,
                verified_at: Timestamp::from_secs(2),
            }],
        }
    }

    #[test]
    fn a_receipt_reads_as_it_was_written_and_nothing_else_does() {
        let bytes = receipt().encode();
        assert_eq!(Receipt::decode(&bytes).unwrap(), receipt());
        assert!(Receipt::decode(&[&bytes[..], &[0]].concat()).is_err(), "trailing byte");
        for cut in 0..bytes.len() {
            assert!(Receipt::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
