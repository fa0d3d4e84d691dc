//! The worker's side of `log_weights`: a `watch` turns snapshots into points with the `state` of
//! each variable. `tags` names them, `tag_parts` takes such a name apart, and `description` is the
//! text beside its first value.

mod aggregate;
mod aggregate_tags;
mod begun;
mod board;
mod checkup;
pub(crate) mod dashboard;
pub(crate) mod description;
mod map_legend;
pub(crate) mod map_picture;
mod map_signs;
mod origin;
pub(crate) mod points;
mod record;
pub(crate) mod state;
pub(crate) mod tags;
mod twins;
pub(crate) mod watch;
pub(crate) mod weight_map;

pub(crate) use crate::model::tag_parts;
