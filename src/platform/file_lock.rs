//! Advisory locks by which one writer detects another one. They end with the process.

use std::fs::File;

/// What a request for a lock came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockState {
    /// Ours until the file is closed; or free, where it was only looked at.
    Free,
    /// Another one's.
    Held,
    /// The file system has no such locks.
    Unknown,
}

/// Locks a whole file for as long as it is open.
#[cfg(unix)]
pub(crate) fn lock_whole(file: &File) -> LockState {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => LockState::Free,
        Err(rustix::io::Errno::WOULDBLOCK) => LockState::Held,
        Err(_) => LockState::Unknown,
    }
}

#[cfg(not(unix))]
pub(crate) fn lock_whole(_: &File) -> LockState {
    LockState::Unknown
}

/// Locks a byte far behind the end of a file that is open for writing, for as long as it is open.
///
/// Not the whole file: over SMB a lock on bytes keeps others from reading them. Needs locks that
/// belong to the open file rather than to the process, as two loggers of one process have to detect
/// each other.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(crate) fn lock_behind_end(file: &File) -> LockState {
    far_lock(file, libc::F_OFD_SETLK).0
}

/// Whether another one holds the lock of [`lock_behind_end`].
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(crate) fn look_behind_end(file: &File) -> LockState {
    match far_lock(file, libc::F_OFD_GETLK) {
        (LockState::Free, kind) if kind != libc::F_UNLCK => LockState::Held,
        (state, _) => state,
    }
}

/// The state, and the type of lock that the system has written back.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[allow(unsafe_code)]
fn far_lock(file: &File, command: libc::c_int) -> (LockState, libc::c_int) {
    use std::os::fd::AsRawFd;

    const FAR: libc::off_t = 1 << 62;
    // SAFETY: plain numbers, of which zeros are as good as any.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    (lock.l_start, lock.l_len) = (FAR, 1);
    // SAFETY: the file is open, and the structure, which the call may write to, outlives it.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
    let state = match result {
        -1 => match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => LockState::Held,
            _ => LockState::Unknown,
        },
        _ => LockState::Free,
    };
    (state, libc::c_int::from(lock.l_type))
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub(crate) fn lock_behind_end(_: &File) -> LockState {
    LockState::Unknown
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub(crate) fn look_behind_end(_: &File) -> LockState {
    LockState::Unknown
}

#[cfg(all(test, target_os = "linux", target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_behind_the_end_is_seen_by_others_until_the_file_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let writing = File::create(&path).unwrap();
        let looking = File::open(&path).unwrap();
        assert_eq!(look_behind_end(&looking), LockState::Free);
        assert_eq!(lock_behind_end(&writing), LockState::Free);
        assert_eq!(look_behind_end(&looking), LockState::Held);
        // Another open file of this process, as of another one.
        let second = File::options().append(true).open(&path).unwrap();
        assert_eq!(lock_behind_end(&second), LockState::Held);
        drop(writing);
        assert_eq!(look_behind_end(&looking), LockState::Free);
    }
}
