//! Reading a log directory: its runs, their files, their events and what these say, whoever wrote
//! them.

mod log_dir;
pub(crate) mod outline;
pub(crate) mod plugin;
mod point;
mod point_infos;
mod points;
mod run;
mod run_reader;
mod value;

pub use log_dir::LogDir;
pub use point::Point;
#[cfg(any(test, fuzzing))]
pub(crate) use point::take_apart;
pub use point_infos::{PointInfo, PointInfos};
pub use points::Points;
pub use run::Run;
pub use run_reader::RunReader;
pub use value::PointValue;
