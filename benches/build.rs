//! As for the library: the folder of libtorch becomes a run path.

include!("../build.rs");
