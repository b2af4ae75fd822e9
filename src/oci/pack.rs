//! Packs one file as an image: a layer that is a tar archive of it, a configuration, a manifest.

use super::layout::Layout;
use crate::names::Digest;
use sha2::Digest as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A block of a tar archive.
const BLOCK: usize = 512;

/// Packs a file under `/<name>` into a new layout.
///
/// # Errors
/// When the file cannot be read or the folder written.
pub fn pack(file: &Path, name: &str, root: &Path) -> io::Result<Layout> {
    let layout = Layout::create(root)?;
    let (layer, layer_size) = write_layer(file, name, &layout)?;
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": [format!("/{name}")]},
        "rootfs": {"type": "layers", "diff_ids": [layer.to_string()]},
    })
    .to_string();
    let config_digest = layout.put(config.as_bytes())?;
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest.to_string(), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.to_string(), "size": layer_size}],
    })
    .to_string();
    let digest = layout.put(manifest.as_bytes())?;
    layout.set_index(&digest, MANIFEST, manifest.len())?;
    Ok(layout)
}

fn write_layer(file: &Path, name: &str, layout: &Layout) -> io::Result<(Digest, u64)> {
    let mut source = File::open(file)?;
    let size = source.metadata()?.len();
    let staged = layout.root().join("layer.new");
    let mut out = Hashing { file: File::create(&staged)?, hash: sha2::Sha256::new(), written: 0 };
    out.write_all(&header(name, size))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        out.write_all(&buffer[..count])?;
    }
    // SPEC: POSIX ustar: content is padded to a block, and two empty blocks end the archive.
    let rest = usize::try_from(size).map_or(0, |size| size.next_multiple_of(BLOCK) - size);
    out.write_all(&vec![0; rest + 2 * BLOCK])?;
    let digest = Digest::sha256(out.hash.finalize().into());
    std::fs::rename(staged, layout.blob(&digest))?;
    Ok((digest, out.written))
}

/// SPEC: POSIX ustar header of a regular file, mode 0755, owned by root, of 1970.
fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, &name.chars().take(99).collect::<String>());
    put(100, "0000755\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

struct Hashing {
    file: File,
    hash: sha2::Sha256,
    written: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::pack;

    #[test]
    fn the_layer_is_an_archive_that_tar_reads() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("program");
        std::fs::write(&file, vec![7; 1_300]).unwrap();
        let layout = pack(&file, "program", &folder.path().join("image")).unwrap();
        let layer = layout.blob(&layout.largest().unwrap());
        let listed = std::process::Command::new("tar").arg("-tvf").arg(&layer).output().unwrap();
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(listed.status.success() && text.contains("-rwxr-xr-x") && text.contains("1300"), "{text}");
        assert_eq!(layout.content().unwrap().len(), 3);
    }
}
