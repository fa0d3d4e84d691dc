//! TensorBoard's other dashboards: what a reader of the event files gets is what was logged, with
//! the metadata that both loaders need, or there is an error that names the tag.

#[path = "../common/mod.rs"]
mod common;

mod charts;
mod described;
mod embeddings;
mod foreign;
mod full;
mod graphs;
mod pictures;
mod tables;
#[cfg(feature = "tch")]
mod tensors;
mod values;

use std::sync::{Arc, Mutex};

use common::read_values;
use tch_tensorboard::proto::{DataClass, SummaryMetadata, TensorProto, summary};
use tch_tensorboard::{Error, Logger};
use tempfile::TempDir;

/// A logger of a run of its own, and what it reports.
struct Board {
    _dir: TempDir,
    logger: Logger,
    reported: Arc<Mutex<Vec<Error>>>,
}

impl Board {
    fn new() -> Board {
        let dir = tempfile::tempdir().unwrap();
        let reported = Arc::new(Mutex::new(Vec::new()));
        let errors = reported.clone();
        let logger = Logger::builder(dir.path().join("run"))
            .on_error(move |error| errors.lock().unwrap().push(error.clone()))
            .create()
            .unwrap();
        Board {
            _dir: dir,
            logger,
            reported,
        }
    }

    /// The values of a tag with their steps, as the files have them.
    fn read(&self, tag: &str) -> Vec<(i64, summary::Value)> {
        let _ = self.logger.flush();
        let mut values = read_values(self.logger.logdir());
        values.retain(|(_, value)| value.tag == tag);
        values
    }

    /// The tensor and the metadata of the only value of a tag.
    fn only(&self, tag: &str) -> (TensorProto, SummaryMetadata) {
        let (_, value) = self.read(tag).pop().expect(tag);
        match value.value {
            Some(summary::value::Value::Tensor(tensor)) => (tensor, value.metadata.unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn reported(&self) -> Vec<String> {
        let _ = self.logger.flush();
        let errors = self.reported.lock().unwrap();
        errors.iter().map(ToString::to_string).collect()
    }
}

fn shape(tensor: &TensorProto) -> Vec<i64> {
    let dims = tensor.tensor_shape.iter().flat_map(|shape| &shape.dim);
    dims.map(|dim| dim.size).collect()
}

/// The plugin and the class of data, which both loaders take from the first value.
fn kind(metadata: &SummaryMetadata) -> (&str, DataClass) {
    let plugin = metadata.plugin_data.as_ref().unwrap();
    (&plugin.plugin_name, metadata.data_class())
}

fn content(metadata: &SummaryMetadata) -> &[u8] {
    &metadata.plugin_data.as_ref().unwrap().content
}
