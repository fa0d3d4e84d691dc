//! The types that every layer uses: steps, wall times, element types, what a variable is, its
//! statistics, and the tags of this crate. Imports nothing of this crate but its error.

pub(crate) mod hparam;
pub(crate) mod measured;
pub(crate) mod plugin;
pub(crate) mod statistic;
pub(crate) mod stats;
pub(crate) mod subject;
pub(crate) mod tag_parts;
pub(crate) mod tier;
pub(crate) mod types;
pub(crate) mod variable_info;
