//! Whom a file in a data directory belongs to: the owner of the directory, also where root makes it.
//! A service with a user of its own couldn't read what root has put back otherwise.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::Path,
};

use rustix::fs::OFlags;

use super::backup::folder;

/// Opens `file` as `how` says, but never through a link, and gives it to the owner of its directory.
pub fn open(file: &Path, how: &mut OpenOptions) -> io::Result<File> {
    // Whoever may write to the directory must not lead root elsewhere.
    let no_links = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
    let opened = how.custom_flags(no_links).open(file)?;
    give(&opened, folder(file))?;
    Ok(opened)
}

/// Gives `file` to the owner of `directory`. Only root can, and only root needs to: for others it
/// stays as it is.
pub(super) fn give(file: &File, directory: &Path) -> io::Result<()> {
    let (owner, own) = (std::fs::metadata(directory)?, file.metadata()?);
    if own.uid() == owner.uid() || has_other_names(&own) {
        return Ok(());
    }
    match fchown(file, Some(owner.uid()), Some(owner.gid())) {
        Err(error) if is_not_for_us(&error) => Ok(()),
        given => given,
    }
}

/// Under another name it may be somebody else's.
fn has_other_names(own: &Metadata) -> bool {
    own.nlink() > 1
}

/// Not root, or an owner whom this user namespace doesn't have.
fn is_not_for_us(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput)
}
