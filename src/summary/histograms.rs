//! The Histograms and Distributions dashboards, which share their data.

use crate::error::Result;
use crate::kernel::histogram::Histogram;
use crate::kernel::{Elements, Kernels, Task};
use crate::model::plugin::Plugin;
use crate::proto::summary::{Value, value};
use crate::proto::tensor_shape_proto::Dim;
use crate::proto::{DataType, TensorProto, TensorShapeProto};
use crate::source::copied::CopiedValues;
use crate::source::element_source::{ElementLayout, ElementSource};
use crate::summary::Payload;

/// Many numbers of which the distribution is shown.
pub(crate) struct HistogramValues {
    values: CopiedValues,
    rows: usize,
}

impl HistogramValues {
    /// Copies all elements of `source`, which have this layout, for a histogram of at most `rows`
    /// rows.
    ///
    /// # Errors
    /// See [`CopiedValues::of`].
    pub(crate) fn copy(
        tag: &str,
        source: &dyn ElementSource,
        layout: &ElementLayout,
        rows: usize,
    ) -> Result<HistogramValues> {
        let values = CopiedValues::of(tag, source, layout)?;
        Ok(HistogramValues { values, rows })
    }
}

impl Payload for HistogramValues {
    fn plugin(&self) -> Plugin {
        Plugin::Histograms
    }

    fn bytes(&self) -> usize {
        self.values.len()
    }

    fn into_value(self: Box<Self>, _: &str, kernels: &mut Kernels) -> Result<Option<value::Value>> {
        let elements = Elements::from_bytes(self.values.dtype(), self.values.as_bytes());
        debug_assert!(elements.is_some(), "the copy is aligned and whole");
        let task = Task {
            current: elements,
            previous: None,
            rows: 1,
            histograms: true,
        };
        let analysis = kernels.analyse(&[task]).pop().flatten();
        let fine = analysis.and_then(|analysis| analysis.weight_histogram);
        Ok(fine.map(|fine| {
            let mut tensor = TensorProto::default();
            fill(&mut tensor, fine.to_histogram(self.rows).rows());
            value::Value::Tensor(tensor)
        }))
    }
}

/// A histogram that was counted elsewhere.
#[cfg(feature = "checkpoint")]
pub(crate) struct CountedHistogram(pub(crate) Histogram);

#[cfg(feature = "checkpoint")]
impl Payload for CountedHistogram {
    fn plugin(&self) -> Plugin {
        Plugin::Histograms
    }

    fn bytes(&self) -> usize {
        size_of_val(self.0.rows())
    }

    fn into_value(self: Box<Self>, _: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        let mut tensor = TensorProto::default();
        fill(&mut tensor, self.0.rows());
        Ok(Some(value::Value::Tensor(tensor)))
    }
}

/// One histogram. `description` is given with the first value of the tag in a file.
#[cfg(test)]
pub(crate) fn value(tag: &str, histogram: &Histogram, description: Option<&str>) -> Value {
    let mut message = Value::default();
    refill(&mut message, tag, histogram, description);
    message
}

/// Makes a histogram of a message that has been one before, mostly without new memory.
pub(crate) fn refill(
    message: &mut Value,
    tag: &str,
    histogram: &Histogram,
    description: Option<&str>,
) {
    message.tag.clear();
    message.tag.push_str(tag);
    message.metadata = description.map(|text| super::metadata(Plugin::Histograms, text));
    let mut tensor = match message.value.take() {
        Some(value::Value::Tensor(tensor)) => tensor,
        _ => TensorProto::default(),
    };
    fill(&mut tensor, histogram.rows());
    message.value = Some(value::Value::Tensor(tensor));
}

/// Writes the rows over what the tensor held: a `[rows, 3]` tensor of (left, right, count), which
/// both loaders keep as it is. The legacy message loses mass in one and precision in the other.
fn fill(tensor: &mut TensorProto, rows: &[[f64; 3]]) {
    let dim = |size: usize| Dim {
        size: i64::try_from(size).unwrap_or(i64::MAX),
        ..Default::default()
    };
    tensor.dtype = DataType::DtDouble.into();
    let shape = tensor
        .tensor_shape
        .get_or_insert_with(TensorShapeProto::default);
    shape.dim.clear();
    shape.dim.extend([dim(rows.len()), dim(3)]);
    let (content, numbers) = (&mut tensor.tensor_content, rows.as_flattened());
    content.clear();
    if cfg!(target_endian = "little") {
        content.extend_from_slice(bytemuck::cast_slice(numbers));
    } else {
        content.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }
}
