//! `transship demo`: the main job on real processes and real bytes, told step by step.
//!
//! What it reports comes from a client's exit code and from bytes on disk, never from a variable of the server.

mod evidence;
mod report;
mod story;
mod tool;

use super::failure::{Failure, Result};
use super::layout::{Layout, free_ports};
use super::processes::Processes;
use crate::names::Region;
use crate::oci;
use report::Report;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use story::Story;
use tokio::signal::unix::{SignalKind, signal};
use tool::Tool;

/// The two regions of the story.
const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
/// The two accounts of the story.
const ACCOUNTS: [&str; 2] = ["dev", "prod"];

/// Tells the story: push, replicate, pull under a grant, and what is denied.
#[derive(clap::Args, Debug)]
pub(super) struct Demo {
    /// The image to use, an OCI layout; this program packed as one unless given.
    #[arg(long, value_name = "oci:PATH")]
    image: Option<String>,
    /// Where to write what happened, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// A new or empty folder to keep everything in; a temporary one, which goes again, unless given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Break one thing, to see the step that proves it fail.
    #[arg(long = "break", value_enum, value_name = "WHAT")]
    broken: Option<Broken>,
}

/// What can be left out of the story.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Broken {
    /// Nobody grants the workload anything: `scoped_pull` fails.
    NoGrant,
    /// The image is pushed under a tag that no rule covers: `replicate` fails.
    WrongTag,
    /// Prod's registry does not consent: `replicate` fails.
    NoConsent,
    /// The evidence is taken from the source's side twice, as if both sides had one key: `keys_differ` fails.
    SameKey,
    /// The grant is not revoked: `revoke` fails.
    NoRevoke,
}

impl Demo {
    pub(super) fn run(self) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return Failure::from(error).report(),
        };
        match runtime.block_on(self.until_interrupted()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(failure) => failure.report(),
        }
    }

    /// Tells the story; an interruption ends processes and folder as the story's end does.
    async fn until_interrupted(self) -> Result<bool> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            told = Box::pin(self.tell()) => told,
            _ = terminate.recv() => Err(Failure::new("the demo was terminated")),
            _ = interrupt.recv() => Err(Failure::new("the demo was interrupted")),
        }
    }

    async fn tell(self) -> Result<bool> {
        let folder = Folder::new(self.dir.as_deref())?;
        let tool = Tool::find();
        println!("client: {}", tool.name());
        let image = self.image(folder.path())?;
        let regions = REGIONS.map(Region::parse).into_iter().collect::<Result<Vec<_>, _>>()?;
        let accounts = ACCOUNTS.map(ToOwned::to_owned);
        let layout = Layout::open(&folder.path().join("organization"), &regions, &accounts)?;
        let placed = layout.configure(&free_ports(regions.len())?, false)?;
        let mut processes = Processes::start(&placed)?;
        let accounts = layout.accounts()?;
        let mut report = Report::new(tool.name());
        let story = Story::new(folder.path(), &placed, &accounts, image, tool, self.broken)?;
        story.tell(&mut report).await;
        processes.stop();
        let ok = report.finish(self.report.as_deref())?;
        Ok(ok)
    }

    fn image(&self, folder: &Path) -> Result<oci::Layout> {
        let Some(image) = &self.image else {
            let program = std::env::current_exe()?;
            println!("image: this program, packed as an OCI image");
            return Ok(oci::pack(&program, "transship", &folder.join("image"))?);
        };
        let path = image.strip_prefix("oci:").ok_or_else(|| Failure::usage("--image oci:PATH"))?;
        let layout = oci::Layout::at(Path::new(path));
        layout.digest().map_err(|error| Failure::usage(format!("--image {image}: {error}")))?;
        Ok(layout)
    }
}

/// The demo's folder; a temporary one goes with its value.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn new(asked: Option<&Path>) -> Result<Self> {
        let (path, temporary) = match asked {
            Some(path) => (path.to_owned(), false),
            None => {
                let name = format!("transship-demo-{}", crate::clock::Clock::system().uid());
                (std::env::temp_dir().join(name), true)
            }
        };
        // Keys of both accounts are in it.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        if std::fs::read_dir(&path)?.next().is_some() {
            return Err(Failure::usage(format!("--dir {}: not empty", path.display())));
        }
        Ok(Self { path, temporary })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed is in the system's own temporary folder.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Folder;

    #[test]
    fn a_temporary_folder_goes_and_one_that_was_asked_for_stays() {
        let temporary = Folder::new(None).unwrap();
        let path = temporary.path().to_owned();
        assert!(path.exists());
        drop(temporary);
        assert!(!path.exists());
        let outer = tempfile::tempdir().unwrap();
        let asked = outer.path().join("organization");
        drop(Folder::new(Some(&asked)).unwrap());
        std::fs::write(asked.join("file"), "").unwrap();
        assert!(Folder::new(Some(&asked)).is_err(), "a folder that is not empty was taken");
    }
}
