//! Paths as text for `serde`.

use std::path::Path;

use serde::Serializer;

/// One that is not UTF-8 does not keep a report from being written.
pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}
