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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn how() -> OpenOptions {
        let mut how = OpenOptions::new();
        how.write(true).create(true).truncate(true);
        how
    }

    #[test]
    fn a_link_is_refused_and_what_it_leads_to_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (elsewhere, link) = (dir.path().join("elsewhere"), dir.path().join("link"));
        std::fs::write(&elsewhere, "kept").unwrap();
        symlink(&elsewhere, &link).unwrap();
        assert!(open(&link, &mut how()).is_err());
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "kept");
    }

    /// Only root can give files away; for others the file must be their own still.
    #[test]
    fn a_file_belongs_to_the_owner_of_its_directory_unless_it_has_other_names() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::fs::metadata(dir.path()).unwrap().uid();
        let other = own.wrapping_add(12_345);
        let is_root = chown(dir.path(), Some(other), Some(other)).is_ok();
        let owner = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().uid();
        open(&dir.path().join("new"), &mut how()).unwrap();
        assert_eq!(owner("new"), if is_root { other } else { own });
        std::fs::write(dir.path().join("known"), "").unwrap();
        std::fs::hard_link(dir.path().join("known"), dir.path().join("planted")).unwrap();
        open(&dir.path().join("planted"), &mut how()).unwrap();
        assert_eq!(owner("known"), own);
    }
}
