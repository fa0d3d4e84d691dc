//! Small types that every layer speaks: steps, wall times, element types, and the choices of the
//! builder.

use std::time::{SystemTime, UNIX_EPOCH};

/// A training step: `i32`, `i64`, `u32`, `u64` or `usize`, or a reference to one. Sealed.
///
/// TensorBoard stores steps as `i64`; a larger `u64` or `usize` is an error at the call. Its page
/// counts in JavaScript numbers, exact up to 2^53.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a step: TensorBoard counts steps in integers, so pass an i32, i64, \
        u32, u64 or usize, such as `epoch as i64`",
    label = "not an integer that steps are counted in"
)]
pub trait Step: sealed::Sealed + Copy {
    /// The step as TensorBoard stores it, or `None` when it does not fit.
    #[doc(hidden)]
    fn to_i64(self) -> Option<i64>;
    /// The step in a type wide enough for every source, for messages.
    #[doc(hidden)]
    fn to_i128(self) -> i128;
}

macro_rules! impl_step {
    ($($kind:ty),*) => {$(
        impl sealed::Sealed for $kind {}
        impl Step for $kind {
            fn to_i64(self) -> Option<i64> {
                i64::try_from(self).ok()
            }
            fn to_i128(self) -> i128 {
                self as i128
            }
        }
    )*};
}
impl_step!(i32, i64, u32, u64, usize);

impl<V: sealed::Sealed + ?Sized> sealed::Sealed for &V {}

impl<S: Step> Step for &S {
    fn to_i64(self) -> Option<i64> {
        (*self).to_i64()
    }
    fn to_i128(self) -> i128 {
        (*self).to_i128()
    }
}

pub(crate) mod sealed {
    /// Keeps the traits of this crate closed, so that they can grow.
    pub trait Sealed {}
}

/// Seconds since the Unix epoch, always finite: one NaN makes the fast loader drop the rest of a
/// file.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct WallTime(f64);

impl WallTime {
    pub(crate) fn now() -> WallTime {
        // A clock set before 1970 is a broken clock, not a reason to fail.
        WallTime(WallTime::of(SystemTime::now()).secs().max(0.0))
    }

    pub(crate) fn of(time: SystemTime) -> WallTime {
        let secs = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_secs_f64(),
            Err(before) => -before.duration().as_secs_f64(),
        };
        WallTime(secs)
    }

    pub(crate) fn secs(self) -> f64 {
        self.0
    }
}

/// What to do when the directory asked for holds a run already. Two runs in one directory would
/// destroy each other's points in TensorBoard's fast loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Existing {
    /// Take `dir_2`, `dir_3`, … : the first that is free, claimed exclusively.
    #[default]
    Number,
    /// Write a further event file into the same directory; the caller sees to it that steps go on
    /// where they stopped.
    Append,
    /// Return [`Error::RunExists`](crate::Error::RunExists).
    Fail,
}

/// What log calls do when the writer thread is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnFull {
    /// Wait until there is room; the time is counted in [`Stats`](crate::Stats).
    #[default]
    Block,
    /// Give the call up and count it. A snapshot is left out before it is copied, and no delta is
    /// written over the gap.
    Drop,
}

/// When what was written is forced from the operating system's memory onto the device
/// (`fdatasync`), and so what a crash of the machine can lose. A crash of the process alone loses
/// nothing that the system has taken, whatever is chosen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// Never: the system decides, on Linux usually within 30 seconds. After a power cut the file
    /// may end earlier, or in zeros that TensorBoard stops at.
    #[default]
    Never,
    /// Before [`flush`](crate::Logger::flush) and [`close`](crate::Logger::close) return, and when
    /// a file is full. A power cut loses nothing that was flushed.
    OnFlush,
    /// After each write, so a power cut loses the
    /// [`flush_interval`](crate::LoggerBuilder::flush_interval) at most. It keeps the writer thread
    /// waiting for the device, not the training thread.
    EveryWrite,
}

/// The type of a tensor's elements, in PyTorch's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// `torch.bool`, one byte each.
    Bool,
    /// `torch.uint8`.
    U8,
    /// `torch.int8`.
    I8,
    /// `torch.int16`.
    I16,
    /// `torch.int32`.
    I32,
    /// `torch.int64`.
    I64,
    /// `torch.float16`.
    F16,
    /// `torch.bfloat16`.
    BF16,
    /// `torch.float32`.
    F32,
    /// `torch.float64`.
    F64,
}

impl DType {
    #[cfg(test)]
    pub(crate) const ALL: [DType; 10] = [
        DType::Bool,
        DType::U8,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
    ];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 => 1,
            DType::I16 | DType::F16 | DType::BF16 => 2,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// True for the floating-point types.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }
}
