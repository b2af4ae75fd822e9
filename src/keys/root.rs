//! The root key: 32 bytes in a file, under which a region's own secrets stand in its database.
//!
//! It protects a database that leaves the machine without it. Whoever can read the file can read those secrets; a
//! root key in the same directory as the database protects nothing against the theft of that directory.

use super::wrap::{SALT_LEN, TAG_LEN, open, random, seal};
use super::{Error, Result};
use crate::secret::Secret;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A region's root key.
#[derive(Debug)]
pub struct RootKey(Secret<[u8; 32]>);

impl RootKey {
    /// Reads the file, or makes it if there is none: mode 0600, whole or not at all, on the disk before this returns.
    ///
    /// # Errors
    /// [`Error::RootKey`] when the file is not 32 bytes, others than its owner may touch it, or it cannot be read
    /// or made.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        match Self::load(path) {
            Err(Error::RootKey { source: Some(cause), .. }) if cause.kind() == io::ErrorKind::NotFound => {
                create(path).map_err(|cause| refused(path, "cannot be made", Some(cause)))?;
                Self::load(path)
            }
            loaded => loaded,
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// As [`RootKey::load_or_create`], and when there is none: a region whose root key is lost must not begin anew.
    pub fn load(path: &Path) -> Result<Self> {
        let unreadable = |cause| refused(path, "cannot be read", Some(cause));
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.permissions().mode() & 0o077 != 0 {
            return Err(refused(path, "others than its owner may touch it: set its mode to 0600", None));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_LEN + 1));
        file.take(KEY_LEN as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let key = <[u8; KEY_LEN]>::try_from(bytes.as_slice());
        key.map(Self::from_bytes).map_err(|_| refused(path, "is not 32 bytes: restore it from a backup", None))
    }

    /// Seals a secret for the database; `purpose` and `aad` say what it is and to which row it belongs.
    ///
    /// The form is `u8 1 ‖ salt[16] ‖ ciphertext ‖ tag[16]`.
    ///
    /// # Errors
    /// When the system's random source does not answer.
    pub fn seal(&self, purpose: &str, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
        let salt = random()?;
        let sealed = seal(self.0.expose(), &salt, &info(purpose), aad, plain)?;
        Ok([&[VERSION], &salt[..], &sealed].concat())
    }

    /// Opens what [`RootKey::seal`] made for the same purpose and row.
    ///
    /// # Errors
    /// [`Error::Tampered`] when it was sealed under another root key, for another purpose or row, or was changed.
    pub fn open(&self, purpose: &str, aad: &[u8], sealed: &[u8]) -> Result<Secret<Vec<u8>>> {
        const WHAT: &str = "a sealed secret";
        let rest = match sealed.split_first() {
            Some((&VERSION, rest)) => rest,
            _ => return Err(Error::Malformed { what: WHAT, rule: "version 1" }),
        };
        let (salt, body) = rest
            .split_first_chunk::<SALT_LEN>()
            .filter(|(_, body)| body.len() >= TAG_LEN)
            .ok_or(Error::Malformed { what: WHAT, rule: "at least 33 bytes" })?;
        let mut plain = open(self.0.expose(), salt, &info(purpose), aad, body, WHAT)?;
        Ok(Secret::new(std::mem::take(&mut *plain)))
    }

    pub(in crate::keys) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::new(bytes))
    }
}

const KEY_LEN: usize = 32;
const VERSION: u8 = 1;

fn info(purpose: &str) -> [&[u8]; 2] {
    [b"transship/root/v1\0", purpose.as_bytes()]
}

/// Writes a whole, synced file under a name of its own, then links it to `path`: of two makers one wins, and
/// nobody ever sees half a key or replaces one.
fn create(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let key = random::<KEY_LEN>().map(Zeroizing::new).map_err(io::Error::other)?;
    let name = random::<8>().map_err(io::Error::other)?;
    let temporary = folder.join(format!(".root-key-{}", hex::encode(name)));
    let made = write(&temporary, &key).and_then(|()| std::fs::hard_link(&temporary, path));
    std::fs::remove_file(&temporary)?;
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // The loser, too, waits until the winner's name is on the disk.
        Ok(()) | Err(_) => File::open(folder)?.sync_all(),
    }
}

fn write(temporary: &PathBuf, key: &[u8; KEY_LEN]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(key)?;
    file.sync_all()
}

fn refused(path: &Path, rule: &'static str, cause: Option<io::Error>) -> Error {
    Error::RootKey { path: path.display().to_string(), rule, source: cause.map(Arc::new) }
}

#[cfg(test)]
mod tests {
    use super::RootKey;
    use crate::keys::Error;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_is_made_once_with_mode_0600_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        let first = RootKey::load_or_create(&path).unwrap();
        let second = RootKey::load_or_create(&path).unwrap();
        assert_eq!(first.0, second.0);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (32, 0o600));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn many_makers_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| RootKey::load_or_create(&path).unwrap())).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| key.0 == keys[0].0));
    }

    #[test]
    fn files_that_are_no_root_key_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        assert!(matches!(RootKey::load(&path), Err(Error::RootKey { .. })), "none there");
        for (len, mode, good) in [(31, 0o600, false), (33, 0o600, false), (32, 0o640, false), (32, 0o400, true)] {
            let _ = fs::remove_file(&path);
            fs::write(&path, vec![5; len]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(RootKey::load_or_create(&path).is_ok(), good, "{len} bytes, mode {mode:o}");
            assert_eq!(fs::read(&path).unwrap(), vec![5; len]);
        }
    }

    #[test]
    fn a_secret_opens_for_its_purpose_and_row_only() {
        let root = RootKey::from_bytes([1; 32]);
        let sealed = root.seal("access-key", b"AKIA1", b"hunter2").unwrap();
        assert_eq!(sealed.len(), 1 + 16 + 7 + 16);
        assert_eq!(root.open("access-key", b"AKIA1", &sealed).unwrap().expose(), b"hunter2");

        let flip = |at: usize| {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            bad
        };
        assert!(root.open("token-key", b"AKIA1", &sealed).is_err());
        assert!(root.open("access-key", b"AKIA2", &sealed).is_err());
        assert!(RootKey::from_bytes([2; 32]).open("access-key", b"AKIA1", &sealed).is_err());
        for bad in [vec![], sealed[..32].to_vec(), flip(0), flip(1), flip(20), flip(39)] {
            assert!(root.open("access-key", b"AKIA1", &bad).is_err(), "{bad:02x?}");
        }
    }
}
