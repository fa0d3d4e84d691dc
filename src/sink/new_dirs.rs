//! Directories that are made for a run, and go again when the run comes to nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Directories made by [`NewDirs::make`], the outermost first.
#[derive(Debug, Default)]
pub(super) struct NewDirs(Vec<PathBuf>);

impl NewDirs {
    /// Makes a directory and those above it that are missing; none of them after an error.
    pub(super) fn make(dir: &Path) -> io::Result<NewDirs> {
        let mut made = NewDirs::default();
        let result = made.make_with_parents(dir);
        match result {
            Ok(()) => Ok(made),
            Err(error) => {
                made.remove();
                Err(error)
            }
        }
    }

    fn make_with_parents(&mut self, dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Ok(()) => self.0.push(dir.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
                self.make_with_parents(parent.ok_or(error)?)?;
                match fs::create_dir(dir) {
                    Ok(()) => self.0.push(dir.to_owned()),
                    // Another process has made it meanwhile.
                    Err(_) if dir.is_dir() => {}
                    Err(error) => return Err(error),
                }
            }
            Err(_) if dir.is_dir() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Removes those that are empty. One that holds something, by now perhaps of another process,
    /// stays.
    pub(super) fn remove(&self) {
        for dir in self.0.iter().rev() {
            let _ = fs::remove_dir(dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_removed_unless_it_is_used() {
        let temp = tempfile::tempdir().unwrap();
        let deep = temp.path().join("a/b/c");
        NewDirs::make(&deep).unwrap().remove();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        let made = NewDirs::make(&deep).unwrap();
        fs::write(temp.path().join("a/file"), "").unwrap();
        made.remove();
        assert!(temp.path().join("a").exists() && !temp.path().join("a/b").exists());
        fs::create_dir_all(&deep).unwrap();
        NewDirs::make(&deep).unwrap().remove();
        assert!(deep.exists());
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let long = temp.path().join("a/b").join("x".repeat(300));
        NewDirs::make(&long).unwrap_err();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
