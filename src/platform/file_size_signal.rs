//! Keeps a limit on the size of files (`RLIMIT_FSIZE`, `ulimit -f`) from ending the process.

use std::io;

/// Runs a write with `SIGXFSZ` blocked on this thread: beyond the limit it returns an error
/// (`EFBIG`) like a full disk does, where the signal would end the process.
///
/// The signal that the write has raised is taken away again, and the mask restored. The process's
/// own handler stays as it is and goes on working for its own files.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(crate) fn blocked<T>(write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    use std::mem::MaybeUninit;
    use std::ptr;

    let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first call makes the set that the others change and read; the mask concerns this
    // thread only.
    let (signals, before) = unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        libc::sigaddset(signals.as_mut_ptr(), libc::SIGXFSZ);
        let failed = libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), before.as_mut_ptr());
        if failed != 0 {
            return write();
        }
        (signals.assume_init(), before.assume_init())
    };
    // SAFETY: a set that the system has filled.
    let was_blocked = unsafe { libc::sigismember(&before, libc::SIGXFSZ) } == 1;
    let result = write();
    let is_too_large = matches!(&result, Err(error) if error.raw_os_error() == Some(libc::EFBIG));
    // SAFETY: both sets are whole. Without a time to wait the first call returns at once. A caller
    // that blocks the signal itself may have one waiting, which it keeps.
    unsafe {
        if is_too_large && !was_blocked {
            let at_once = libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            libc::sigtimedwait(&signals, ptr::null_mut(), &at_once);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut());
    }
    result
}

/// Elsewhere a file-size limit ends the process unless it ignores `SIGXFSZ`.
#[cfg(not(target_os = "linux"))]
pub(crate) fn blocked<T>(write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    write()
}
