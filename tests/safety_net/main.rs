//! What the crate writes, fixed value by value: a net under changes of its inside.
//!
//! Each scenario logs numbers that are made here, decodes the files with code of its own, and
//! compares a digest for each tag with `tests/data/net/<scenario>.txt`, whose columns are tag,
//! class, points and digest. A class is a plugin name (`images` are compared after decoding, and
//! are in no line of `net`), or:
//!
//! - `text`: what people read, descriptions by the first part of the tag, reports, titles, reasons,
//!   messages;
//! - `report`: verdicts and numbers of `Logger::weight_report`;
//! - `judged`: verdicts of `Run::weight_report`, recomputed from the log;
//! - `net`: sessions, events, errors and pinned charts.
//!
//! ```sh
//! cargo test --no-default-features --test safety_net                      # compare
//! UPDATE_NET=1 cargo test --test safety_net               # write all expectations anew
//! UPDATE_NET=text,judged cargo test --test safety_net     # these classes only
//! NET_DUMP=/some/folder cargo test --test safety_net      # write the lines behind the digests
//! ```
//!
//! What only the clock decides is left out: wall times; how often the layout and the text of the
//! report are written before the end of a session, and at which step (the writer thread writes both
//! at most every two seconds); how events of different tags interleave, since scalars wait in a
//! queue of their own; and where a file ends, since layouts and reports fill it, too. Each call is
//! followed by a flush unless a scenario says otherwise: a frozen variable is logged in full from
//! the call after the writer thread saw it move, and the last deltas are written only while the
//! pool has kept the snapshot before.
#![allow(unreachable_pub, reason = "modules of one program")]

mod calls;
mod canonical;
mod data;
mod files;
mod models;
mod net;
#[cfg(feature = "tch")]
mod tensors;
mod verdicts;

use std::collections::BTreeSet;
use std::fs;

/// Expectations of scenarios that need tensors.
const TENSORS: [&str; 4] = [
    "tensor_gradients",
    "tensor_roles",
    "tensor_sources",
    "tensor_verdicts",
];

const SLICES: [&str; 30] = [
    "cadences",
    "expected_steps",
    "free_running",
    "groups",
    "histograms",
    "idle",
    "large_model",
    "large_tensor",
    "medium_model",
    "mid_run",
    "names",
    "nonfinite",
    "number_types",
    "resume",
    "roles",
    "roles_all",
    "rotation",
    "sample_limit",
    "samples",
    "scalars",
    "scopes",
    "selection",
    "small_model",
    "sparse_points",
    "sub_runs",
    "tag_clash",
    "user_groups",
    "verdicts",
    "verdicts_model",
    "zeros",
];

/// An expectation that no scenario compares would look like a promise.
#[test]
fn each_expectation_has_its_scenario() {
    let listed = fs::read_dir(net::expectations()).unwrap();
    let files: BTreeSet<String> = listed
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let scenarios = SLICES.iter().chain(&TENSORS);
    assert_eq!(files, scenarios.map(ToString::to_string).collect());
}
