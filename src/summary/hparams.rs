//! The HParams dashboard: a table of runs, their hyperparameters, and how they ended.
//!
//! All of it is in the metadata of two tags. No columns are declared: TensorBoard then collects
//! those of all runs, while of several declarations it takes any one and hides what is not in it.

use std::collections::BTreeMap;

use prost::Message;

use crate::error::{Error, Result};
use crate::kernel::Kernels;
use crate::model::hparam::HParam;
use crate::model::plugin::Plugin;
use crate::model::types::WallTime;
use crate::proto::DataType;
use crate::proto::hparams::h_param_scalar::Kind;
use crate::proto::hparams::h_params_plugin_data::Data;
use crate::proto::hparams::{HParamScalar, HParamsPluginData, SessionEndInfo, SessionStartInfo};
use crate::proto::summary::value;
use crate::summary::Payload;

pub(crate) use crate::proto::hparams::Status;

/// The tags that the dashboard reads.
pub(crate) const START: &str = "_hparams_/session_start_info";
pub(crate) const END: &str = "_hparams_/session_end_info";

/// Whether a tag is one of these, or that of declared columns.
pub(crate) fn is_tag(tag: &str) -> bool {
    tag.starts_with("_hparams_/")
}

/// What errors call them.
const KIND: &str = "hyperparameter";

/// The hyperparameters of a run: what [`Logger::log_hparams`](crate::Logger::log_hparams) takes.
///
/// ```
/// use tch_tensorboard::HParams;
///
/// let params = HParams::new()
///     .with("rate", 1e-3)
///     .with("layers", 4)
///     .with("optimizer", "adam")
///     .with("augment", true);
/// # let _ = params;
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use]
pub struct HParams {
    values: BTreeMap<String, HParam>,
    group: String,
}

impl HParams {
    /// None yet.
    pub fn new() -> HParams {
        HParams::default()
    }

    /// Adds one: a number, `bool` or text. One of the same name is replaced.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<HParam>) -> HParams {
        self.values.insert(name.into(), value.into());
        self
    }

    /// A name that several runs share: TensorBoard shows these as one line, with the mean of their
    /// metrics, such as runs that differ in their seed.
    pub fn group(mut self, name: impl Into<String>) -> HParams {
        self.group = name.into();
        self
    }

    /// # Errors
    /// [`Error::InvalidValue`]: none at all, one without a name, one that is not finite.
    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |name: &str, reason: &str| Err(Error::value(KIND, name, reason));
        if self.values.is_empty() {
            return invalid("", "there are none; add them by HParams::with");
        }
        for (name, value) in &self.values {
            match value {
                _ if name.is_empty() => {
                    return invalid(name, "needs a name, a column of the table");
                }
                HParam::Number(number) if !number.is_finite() => {
                    let reason =
                        "is NaN or infinite, which TensorBoard leaves out; give it as text";
                    return invalid(name, reason);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Bytes of memory that they occupy.
    pub(crate) fn bytes(&self) -> usize {
        let text = |value: &HParam| match value {
            HParam::Text(text) => text.len(),
            HParam::Number(_) | HParam::Bool(_) => 0,
        };
        let each = self.values.iter();
        self.group.len()
            + each
                .map(|(name, value)| name.len() + text(value) + size_of::<HParam>())
                .sum::<usize>()
    }
}

/// What a run began with.
pub(crate) struct SessionStart {
    pub(crate) params: HParams,
    pub(crate) wall_time: WallTime,
}

impl Payload for SessionStart {
    fn plugin(&self) -> Plugin {
        Plugin::HParams
    }

    fn bytes(&self) -> usize {
        self.params.bytes()
    }

    fn content(&self) -> Vec<u8> {
        let scalar = |value: &HParam| HParamScalar {
            kind: Some(match value {
                HParam::Number(number) => Kind::NumberValue(*number),
                HParam::Text(text) => Kind::StringValue(text.clone()),
                HParam::Bool(truth) => Kind::BoolValue(*truth),
            }),
        };
        let values = self.params.values.iter();
        content(Data::SessionStartInfo(SessionStartInfo {
            hparams: values
                .map(|(name, value)| (name.clone(), scalar(value)))
                .collect(),
            group_name: self.params.group.clone(),
            start_time_secs: self.wall_time.secs(),
        }))
    }

    fn is_of_a_step(&self) -> bool {
        false
    }

    fn into_value(self: Box<Self>, _: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        Ok(Some(nothing()))
    }
}

/// How a run ended.
pub(crate) struct SessionEnd {
    pub(crate) status: Status,
    pub(crate) wall_time: WallTime,
}

impl Payload for SessionEnd {
    fn plugin(&self) -> Plugin {
        Plugin::HParams
    }

    /// It does not wait for the worker, which makes it.
    fn bytes(&self) -> usize {
        0
    }

    fn content(&self) -> Vec<u8> {
        content(Data::SessionEndInfo(SessionEndInfo {
            status: self.status.into(),
            end_time_secs: self.wall_time.secs(),
        }))
    }

    fn is_of_a_step(&self) -> bool {
        false
    }

    fn into_value(self: Box<Self>, _: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        Ok(Some(nothing()))
    }
}

fn content(data: Data) -> Vec<u8> {
    let content = HParamsPluginData {
        data: Some(data),
        ..Default::default()
    };
    content.encode_to_vec()
}

/// A value has to be there: without it the Python loader answers with an error for all runs.
fn nothing() -> value::Value {
    super::tensor(DataType::DtFloat, &[0], Vec::new())
}
