//! Opening a file below the root, and nowhere else.
//!
//! The kernel does the looking (`openat2` with `RESOLVE_BENEATH`), so that there is no time between a check and the opening in
//! which a folder could become a symlink. Symlinks that stay below the root are followed, if they are relative.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

/// What was found under a name.
#[derive(Debug)]
pub(crate) enum Found {
    File(Opened),
    /// Known already, and as it was.
    Unchanged,
    Folder,
    Missing,
    Forbidden,
    Failed(io::Error),
}

/// A file that was opened, and looked at.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) stamp: Stamp,
    /// All of it, if it is small.
    pub(crate) content: Option<Vec<u8>>,
    pub(crate) content_type: String,
}

/// By what one sees that a file is another, or has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Option<Stamp>> {
        use std::os::unix::fs::MetadataExt;
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then_some(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: metadata.modified()?,
        }))
    }

    /// As nginx writes it, but for the fraction of a second.
    pub(crate) fn etag(&self) -> String {
        let since = self.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        format!(
            "\"{:x}.{:x}-{:x}\"",
            since.as_secs(),
            since.subsec_nanos(),
            self.size
        )
    }
}

/// Opens the folder that is served.
pub(crate) fn root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// Looks for a file. It is read if it has at most `small` bytes, and not even that if it is `known`.
pub(crate) fn look(root: &OwnedFd, path: &Path, small: u64, known: Option<Stamp>) -> Found {
    match try_to(root, path, small, known) {
        Ok(found) => found,
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => Found::Missing,
            // It leads out of the root, or in circles; or it is a socket.
            Some(Errno::XDEV | Errno::LOOP | Errno::NXIO) => Found::Missing,
            Some(Errno::ACCESS | Errno::PERM) => Found::Forbidden,
            _ => Found::Failed(error),
        },
    }
}

fn try_to(root: &OwnedFd, path: &Path, small: u64, known: Option<Stamp>) -> io::Result<Found> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let mut file = File::from(open_beneath(root, path)?);
    let Some(stamp) = Stamp::of(&file)? else {
        let found = if file.metadata()?.is_dir() {
            Found::Folder
        } else {
            Found::Missing
        };
        return Ok(found);
    };
    if known == Some(stamp) {
        return Ok(Found::Unchanged);
    }
    let mut content = None;
    if stamp.size <= small {
        let mut bytes = Vec::new();
        (&mut file).take(stamp.size).read_to_end(&mut bytes)?;
        // One that is being written at this moment is sent as it is then, and is no reason to remember it.
        content =
            (bytes.len() as u64 == stamp.size && Stamp::of(&file)? == Some(stamp)).then_some(bytes);
    }
    Ok(Found::File(Opened {
        file,
        stamp,
        content,
        content_type: content_type(path),
    }))
}

/// By the extension; text is taken for UTF-8.
fn content_type(path: &Path) -> String {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    let is_text = guess.type_() == mime_guess::mime::TEXT || guess.subtype() == "javascript";
    let charset = if is_text { "; charset=utf-8" } else { "" };
    format!("{guess}{charset}")
}

/// Opening a pipe or a device must not block.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

#[cfg(target_os = "linux")]
fn open_beneath(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{ResolveFlags, openat2};
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, FLAGS, Mode::empty(), resolve) {
        // A kernel before 5.6, or a sandbox.
        Err(Errno::NOSYS) => open_by_steps(root, path),
        outcome => Ok(outcome?),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    open_by_steps(root, path)
}

/// Folder by folder, and no symlink at all.
fn open_by_steps(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::openat;
    let mut names = path.components().peekable();
    let mut folder = root.try_clone()?;
    while let Some(name) = names.next() {
        let flags = match names.peek() {
            Some(_) => FLAGS | OFlags::DIRECTORY,
            None => FLAGS,
        };
        folder = openat(
            &folder,
            name.as_os_str(),
            flags | OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
    }
    Ok(folder)
}
