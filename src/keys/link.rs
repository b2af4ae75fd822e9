//! Data keys wrapped by branch keys: in the link of a repository to a blob, and in the row of an unfinished upload.
//!
//! Each wrap is bound to its place, so a row copied to another repository, or to another blob, does not open.

use super::envelope::{BranchKey, DataKey};
use super::wrap::{SALT_LEN, TAG_LEN, open_key, random, seal};
use super::{Error, Result};
use crate::names::{Arn, Uid};

/// Bytes of a wrapped data key.
const WRAPPED_LEN: usize = 32 + TAG_LEN;

macro_rules! wrapped_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name {
            /// Random bytes that make the wrapping key single-use.
            pub salt: [u8; SALT_LEN],
            /// The sealed data key with its tag.
            pub wrapped: [u8; WRAPPED_LEN],
        }
    };
}

wrapped_key! {
    /// A data key as one repository's link to a finished blob holds it: bound to the repository, by ARN and uid,
    /// to the blob and to its commitment.
    Link
}

wrapped_key! {
    /// A data key as the row of an unfinished upload holds it: bound as a [`Link`] is, but to no commitment, since
    /// that exists only when the last byte has been hashed. It is replaced by a link when the upload completes.
    UploadWrap
}

/// Wraps a finished blob's data key for one repository.
///
/// # Errors
/// When the system's random source does not answer.
pub fn wrap_link(
    branch: &BranchKey,
    data_key: &DataKey,
    repository: &Arn,
    repository_uid: Uid,
    blob: Uid,
    commit: &[u8; 32],
) -> Result<Link> {
    let salt = random()?;
    let wrapped = Place { label: LINK, repository, repository_uid, blob, commit }.wrap(branch, data_key, &salt)?;
    Ok(Link { salt, wrapped })
}

/// Unwraps a finished blob's data key.
///
/// # Errors
/// [`Error::Tampered`] when the link was made with another branch key or for another place or commitment.
pub fn unwrap_link(
    branch: &BranchKey,
    link: &Link,
    repository: &Arn,
    repository_uid: Uid,
    blob: Uid,
    commit: &[u8; 32],
) -> Result<DataKey> {
    Place { label: LINK, repository, repository_uid, blob, commit }.unwrap(branch, &link.salt, &link.wrapped)
}

/// Wraps the data key of an upload that is not finished.
///
/// # Errors
/// When the system's random source does not answer.
pub fn wrap_upload(
    branch: &BranchKey,
    data_key: &DataKey,
    repository: &Arn,
    repository_uid: Uid,
    blob: Uid,
) -> Result<UploadWrap> {
    let salt = random()?;
    let wrapped =
        Place { label: UPLOAD, repository, repository_uid, blob, commit: &[] }.wrap(branch, data_key, &salt)?;
    Ok(UploadWrap { salt, wrapped })
}

/// Unwraps the data key of an upload that is not finished.
///
/// # Errors
/// [`Error::Tampered`] when the wrap was made with another branch key or for another place.
pub fn unwrap_upload(
    branch: &BranchKey,
    upload: &UploadWrap,
    repository: &Arn,
    repository_uid: Uid,
    blob: Uid,
) -> Result<DataKey> {
    Place { label: UPLOAD, repository, repository_uid, blob, commit: &[] }.unwrap(branch, &upload.salt, &upload.wrapped)
}

const LINK: &Label = &Label { info: b"transship/link/v1\0", what: "the link of a repository to a blob" };
const UPLOAD: &Label = &Label { info: b"transship/upload/v1\0", what: "the data key of an upload" };

/// What keeps the two kinds of wrap apart.
struct Label {
    info: &'static [u8],
    what: &'static str,
}

/// Where a wrapped data key belongs.
struct Place<'a> {
    label: &'static Label,
    repository: &'a Arn,
    repository_uid: Uid,
    blob: Uid,
    commit: &'a [u8],
}

impl Place<'_> {
    fn wrap(&self, branch: &BranchKey, data_key: &DataKey, salt: &[u8; SALT_LEN]) -> Result<[u8; WRAPPED_LEN]> {
        let sealed = seal(branch.material(), salt, &self.info(), &self.aad()?, data_key.material())?;
        <[u8; WRAPPED_LEN]>::try_from(sealed.as_slice()).map_err(|_| Error::Crypto { what: "wrapping a data key" })
    }

    fn unwrap(&self, branch: &BranchKey, salt: &[u8; SALT_LEN], wrapped: &[u8; WRAPPED_LEN]) -> Result<DataKey> {
        open_key(branch.material(), salt, &self.info(), &self.aad()?, wrapped, self.label.what).map(DataKey::from_bytes)
    }

    fn info(&self) -> [&[u8]; 3] {
        [self.label.info, self.repository_uid.bytes(), self.blob.bytes()]
    }

    /// `u16be len ‖ repository ARN ‖ repository uid ‖ blob uid ‖ commit`.
    fn aad(&self) -> Result<Vec<u8>> {
        let arn = self.repository.as_str().as_bytes();
        let len = u16::try_from(arn.len()).map_err(|_| Error::TooLarge { what: "repository ARN", limit: 65_535 })?;
        Ok([&len.to_be_bytes(), arn, self.repository_uid.bytes(), self.blob.bytes(), self.commit].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::{Link, UploadWrap, unwrap_link, unwrap_upload, wrap_link, wrap_upload};
    use crate::keys::{BranchKey, DataKey, insecure};
    use crate::names::{Arn, Uid};
    use crate::secret::Secret;

    fn arn(name: &str) -> Arn {
        Arn::parse(&format!("arn:aws:ecr:us-east-1:111122223333:repository/{name}")).unwrap()
    }

    fn uid(byte: u8) -> Uid {
        Uid::from_bytes([byte; 16])
    }

    fn branch(byte: u8) -> BranchKey {
        BranchKey::new(Secret::new([byte; 32]))
    }

    #[test]
    fn a_link_opens_in_its_own_place_only() {
        let (key, commit) = (DataKey::random().unwrap(), [7; 32]);
        let link = wrap_link(&branch(1), &key, &arn("a"), uid(1), uid(2), &commit).unwrap();
        let back = unwrap_link(&branch(1), &link, &arn("a"), uid(1), uid(2), &commit).unwrap();
        assert_eq!(insecure::expose(&back), insecure::expose(&key));

        let mut salt = link;
        salt.salt[0] ^= 1;
        let mut wrapped = link;
        wrapped.wrapped[47] ^= 1;
        let refused = [
            unwrap_link(&branch(2), &link, &arn("a"), uid(1), uid(2), &commit),
            unwrap_link(&branch(1), &link, &arn("b"), uid(1), uid(2), &commit),
            unwrap_link(&branch(1), &link, &arn("a"), uid(3), uid(2), &commit),
            unwrap_link(&branch(1), &link, &arn("a"), uid(1), uid(3), &commit),
            unwrap_link(&branch(1), &link, &arn("a"), uid(1), uid(2), &[8; 32]),
            unwrap_link(&branch(1), &salt, &arn("a"), uid(1), uid(2), &commit),
            unwrap_link(&branch(1), &wrapped, &arn("a"), uid(1), uid(2), &commit),
        ];
        assert!(refused.iter().all(Result::is_err));
    }

    #[test]
    fn an_upload_wrap_is_no_link_and_a_link_is_no_upload_wrap() {
        let key = DataKey::random().unwrap();
        let upload = wrap_upload(&branch(1), &key, &arn("a"), uid(1), uid(2)).unwrap();
        let back = unwrap_upload(&branch(1), &upload, &arn("a"), uid(1), uid(2)).unwrap();
        assert_eq!(insecure::expose(&back), insecure::expose(&key));
        assert!(unwrap_upload(&branch(1), &upload, &arn("a"), uid(2), uid(2)).is_err());

        let as_link = Link { salt: upload.salt, wrapped: upload.wrapped };
        assert!(unwrap_link(&branch(1), &as_link, &arn("a"), uid(1), uid(2), &[0; 32]).is_err());
        let link = wrap_link(&branch(1), &key, &arn("a"), uid(1), uid(2), &[0; 32]).unwrap();
        let as_upload = UploadWrap { salt: link.salt, wrapped: link.wrapped };
        assert!(unwrap_upload(&branch(1), &as_upload, &arn("a"), uid(1), uid(2)).is_err());
    }

    #[test]
    fn two_wraps_of_one_key_share_nothing() {
        let key = DataKey::random().unwrap();
        let wrap = || wrap_link(&branch(1), &key, &arn("a"), uid(1), uid(2), &[0; 32]).unwrap();
        let (a, b) = (wrap(), wrap());
        assert!(a.salt != b.salt && a.wrapped != b.wrapped);
    }
}
