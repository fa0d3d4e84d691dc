//! What a summary value says, whichever of the forms that writers use it has.

use std::collections::BTreeMap;

use prost::Message;

use crate::model::hparam::HParam;
use crate::proto::custom_scalar::Layout;
use crate::proto::hparams::h_param_scalar::Kind;
use crate::proto::hparams::h_params_plugin_data::Data;
use crate::proto::hparams::{HParamsPluginData, Status};
use crate::proto::{
    DataType, HistogramProto, SummaryMetadata, TensorProto, summary, summary::value::Value as Field,
};
use crate::read::plugin::Plugin;

/// What one point of a tag holds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PointValue {
    /// A number.
    Scalar(f64),
    /// Rows of left edge, right edge and count. Files of the older form give them as TensorBoard's
    /// Python loader does: without empty rows at either end, and with the extremes of the data as
    /// outer edges.
    Histogram(Vec<[f64; 3]>),
    /// Cells of a text, row by row; most texts have one. What is not UTF-8 is replaced.
    Text(Vec<String>),
    /// Images of one step, each in its file format, mostly PNG.
    Images {
        /// Width in pixels, as the writer says.
        width: u32,
        /// Height in pixels, as the writer says.
        height: u32,
        /// The files.
        encoded: Vec<Vec<u8>>,
    },
    /// Sound clips of one step, each in its file format, mostly WAV.
    Audio(Vec<Vec<u8>>),
    /// Hyperparameters of the run.
    HParams(BTreeMap<String, HParam>),
    /// How a run with hyperparameters ended.
    HParamsEnd(Status),
    /// True positives, false positives, true negatives, false negatives, precision and recall, at
    /// each threshold from 0 to 1.
    PrCurve(Vec<[f64; 6]>),
    /// A part of a mesh, which its tag names: vertices, triangles or colours.
    Mesh {
        /// Meshes, rows of each, and 3.
        shape: [usize; 3],
        /// The numbers, row by row.
        values: Vec<f64>,
    },
    /// The layout of the Custom Scalars dashboard.
    Layout(Layout),
    /// A serialized GraphDef.
    Graph(Vec<u8>),
    /// A value of another dashboard, or one that is not what its tag says.
    Tensor(Box<TensorProto>),
    /// Nothing that this crate knows.
    Unknown,
}

impl PointValue {
    /// What it is, in a word: `scalar`, `histogram`, `text`, `images`, `audio`, `hparams`,
    /// `hparams_end`, `pr_curve`, `mesh`, `layout`, `graph`, `tensor`, `unknown`.
    pub fn kind(&self) -> &'static str {
        match self {
            PointValue::Scalar(_) => "scalar",
            PointValue::Histogram(_) => "histogram",
            PointValue::Text(_) => "text",
            PointValue::Images { .. } => "images",
            PointValue::Audio(_) => "audio",
            PointValue::HParams(_) => "hparams",
            PointValue::HParamsEnd(_) => "hparams_end",
            PointValue::PrCurve(_) => "pr_curve",
            PointValue::Mesh { .. } => "mesh",
            PointValue::Layout(_) => "layout",
            PointValue::Graph(_) => "graph",
            PointValue::Tensor(_) => "tensor",
            PointValue::Unknown => "unknown",
        }
    }

    /// `plugin` is that of the tag.
    pub(crate) fn of(value: summary::Value, plugin: Option<Plugin>) -> PointValue {
        if plugin == Some(Plugin::HParams)
            && let Some(session) = value.metadata.as_ref().and_then(session)
        {
            return session;
        }
        match value.value {
            Some(Field::SimpleValue(number)) => PointValue::Scalar(f64::from(number)),
            Some(Field::Histo(histogram)) => {
                migrated(&histogram).map_or(PointValue::Unknown, PointValue::Histogram)
            }
            Some(Field::Image(image)) => PointValue::Images {
                width: image.width.try_into().unwrap_or(0),
                height: image.height.try_into().unwrap_or(0),
                encoded: vec![image.encoded_image_string],
            },
            Some(Field::Audio(audio)) => PointValue::Audio(vec![audio.encoded_audio_string]),
            Some(Field::Tensor(tensor)) => of_tensor(tensor, plugin),
            None => PointValue::Unknown,
        }
    }
}

fn of_tensor(tensor: TensorProto, plugin: Option<Plugin>) -> PointValue {
    let known = match plugin {
        Some(Plugin::Scalars) => match tensor.numbers().as_deref() {
            Some(&[number]) => Some(PointValue::Scalar(number)),
            _ => None,
        },
        Some(Plugin::Histograms) => rows(&tensor).map(PointValue::Histogram),
        Some(Plugin::Text) => strings(&tensor).map(|cells| {
            let text = |cell: &Vec<u8>| String::from_utf8_lossy(cell).into_owned();
            PointValue::Text(cells.iter().map(text).collect())
        }),
        Some(Plugin::Images) => images(&tensor),
        Some(Plugin::Audio) => strings(&tensor).map(|clips| {
            // Pairs of clip and label, in the shape [k, 2].
            let stride = if tensor.shape().len() == 2 { 2 } else { 1 };
            PointValue::Audio(clips.iter().step_by(stride).cloned().collect())
        }),
        Some(Plugin::PrCurves) => pr_curve(&tensor).map(PointValue::PrCurve),
        Some(Plugin::Mesh) => mesh(&tensor),
        Some(Plugin::CustomScalars) => strings(&tensor).and_then(|strings| match strings {
            [layout] => Layout::decode(&layout[..]).ok().map(PointValue::Layout),
            _ => None,
        }),
        _ => None,
    };
    known.unwrap_or_else(|| PointValue::Tensor(Box::new(tensor)))
}

fn strings(tensor: &TensorProto) -> Option<&[Vec<u8>]> {
    (tensor.dtype() == DataType::DtString).then_some(&tensor.string_val)
}

/// Width and height as text, and then the images.
fn images(tensor: &TensorProto) -> Option<PointValue> {
    let (size, encoded) = strings(tensor)?.split_at_checked(2)?;
    let [width, height] = size else { return None };
    let pixels = |text: &[u8]| str::from_utf8(text).ok()?.parse().ok();
    Some(PointValue::Images {
        width: pixels(width).unwrap_or(0),
        height: pixels(height).unwrap_or(0),
        encoded: encoded.to_vec(),
    })
}

/// The columns of a tensor of shape `[6, k]`.
fn pr_curve(tensor: &TensorProto) -> Option<Vec<[f64; 6]>> {
    let [6, thresholds] = tensor.shape()[..] else {
        return None;
    };
    let numbers = tensor.numbers()?;
    let thresholds = usize::try_from(thresholds).ok()?;
    if thresholds == 0 || thresholds.checked_mul(6)? != numbers.len() {
        return None;
    }
    let rows: Vec<&[f64]> = numbers.chunks_exact(thresholds).collect();
    let column = |place: usize| {
        let mut column = [0.0; 6];
        for (number, row) in column.iter_mut().zip(&rows) {
            *number = *row.get(place)?;
        }
        Some(column)
    };
    (0..thresholds).map(column).collect()
}

/// The numbers of a tensor of shape `[batch, k, 3]`.
fn mesh(tensor: &TensorProto) -> Option<PointValue> {
    let [batch, rows, 3] = tensor.shape()[..] else {
        return None;
    };
    let shape = [usize::try_from(batch).ok()?, usize::try_from(rows).ok()?, 3];
    let count = shape[0].checked_mul(shape[1])?.checked_mul(3)?;
    let values = tensor.numbers()?;
    (values.len() == count).then_some(PointValue::Mesh { shape, values })
}

/// Rows of a tensor of shape `[k, 3]`.
fn rows(tensor: &TensorProto) -> Option<Vec<[f64; 3]>> {
    let [_, 3] = tensor.shape()[..] else {
        return None;
    };
    let numbers = tensor.numbers()?;
    let (rows, rest) = numbers.as_chunks::<3>();
    rest.is_empty().then(|| rows.to_vec())
}

/// Rows of a histogram of the older form: limits are right edges. `None` when the limits do not
/// belong to the counts.
fn migrated(histogram: &HistogramProto) -> Option<Vec<[f64; 3]>> {
    let (limits, counts) = (&histogram.bucket_limit, &histogram.bucket);
    if limits.len() != counts.len() {
        return None;
    }
    let lefts = std::iter::once(&histogram.min).chain(limits);
    let all = lefts.zip(limits).zip(counts);
    let mut rows: Vec<[f64; 3]> = all
        .map(|((&left, &right), &count)| [left, right, count])
        .skip_while(|[.., count]| *count == 0.0)
        .collect();
    while rows.pop_if(|[.., count]| *count == 0.0).is_some() {}
    if let Some([left, ..]) = rows.first_mut() {
        *left = histogram.min;
    }
    if let Some([_, right, _]) = rows.last_mut() {
        *right = histogram.max;
    }
    Some(rows)
}

/// The hyperparameters of a session's start, or how it ended, if the metadata is of either.
fn session(metadata: &SummaryMetadata) -> Option<PointValue> {
    let content = &metadata.plugin_data.as_ref()?.content;
    let start = match HParamsPluginData::decode(&content[..]).ok()?.data? {
        Data::SessionStartInfo(start) => start,
        Data::SessionEndInfo(end) => return Some(PointValue::HParamsEnd(end.status())),
    };
    let known = start.hparams.into_iter().filter_map(|(name, value)| {
        Some((
            name,
            match value.kind? {
                Kind::NumberValue(number) => HParam::Number(number),
                Kind::StringValue(text) => HParam::Text(text),
                Kind::BoolValue(truth) => HParam::Bool(truth),
            },
        ))
    });
    Some(PointValue::HParams(known.collect()))
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;
    use crate::proto::{TensorShapeProto, tensor_shape_proto::Dim};

    fn tensor(dtype: DataType, shape: &[i64]) -> TensorProto {
        let dim = |&size| Dim {
            size,
            ..Default::default()
        };
        TensorProto {
            dtype: dtype.into(),
            tensor_shape: Some(TensorShapeProto {
                dim: shape.iter().map(dim).collect(),
                unknown_rank: false,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn numbers_of_every_type_and_form() {
        use DataType::*;
        let minus = |dtype, bytes: &[u8]| {
            let mut tensor = tensor(dtype, &[]);
            tensor.tensor_content = bytes.to_vec();
            of_tensor(tensor, Some(Plugin::Scalars))
        };
        for (dtype, bytes) in [
            (DtFloat, &(-2.0_f32).to_le_bytes()[..]),
            (DtDouble, &(-2.0_f64).to_le_bytes()),
            (DtHalf, &f16::from_f32(-2.0).to_le_bytes()),
            (DtBfloat16, &bf16::from_f32(-2.0).to_le_bytes()),
            (DtInt8, &(-2_i8).to_le_bytes()),
            (DtInt16, &(-2_i16).to_le_bytes()),
            (DtInt32, &(-2_i32).to_le_bytes()),
            (DtInt64, &(-2_i64).to_le_bytes()),
        ] {
            assert_eq!(minus(dtype, bytes), PointValue::Scalar(-2.0), "{dtype:?}");
            assert_eq!(
                minus(dtype, &[bytes, bytes].concat()).kind(),
                "tensor",
                "{dtype:?}"
            );
            if bytes.len() > 1 {
                assert_eq!(minus(dtype, &bytes[1..]).kind(), "tensor", "{dtype:?}");
            }
        }
        let mut half = tensor(DtHalf, &[]);
        half.half_val = vec![i32::from(f16::from_f32(0.5).to_bits())];
        assert_eq!(
            of_tensor(half, Some(Plugin::Scalars)),
            PointValue::Scalar(0.5)
        );
        let mut truth = tensor(DtBool, &[]);
        truth.bool_val = vec![true];
        assert_eq!(
            of_tensor(truth.clone(), Some(Plugin::Scalars)),
            PointValue::Scalar(1.0)
        );
        assert_eq!(
            of_tensor(truth.clone(), Some(Plugin::Other)),
            PointValue::Tensor(Box::new(truth))
        );
    }

    #[test]
    fn curves_meshes_and_layouts_are_taken_apart() {
        let mut curve = tensor(DataType::DtFloat, &[6, 2]);
        curve.float_val = (0..12_u8).map(f32::from).collect();
        let wanted = [
            [0.0, 2.0, 4.0, 6.0, 8.0, 10.0],
            [1.0, 3.0, 5.0, 7.0, 9.0, 11.0],
        ];
        let curve = of_tensor(curve, Some(Plugin::PrCurves));
        assert_eq!(curve, PointValue::PrCurve(wanted.into()));
        let mut part = tensor(DataType::DtUint8, &[1, 2, 3]);
        part.tensor_content = vec![1, 2, 3, 4, 5, 6];
        let values = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let shape = [1, 2, 3];
        let wanted = PointValue::Mesh { shape, values };
        assert_eq!(of_tensor(part, Some(Plugin::Mesh)), wanted);
        let mut layout = tensor(DataType::DtString, &[]);
        layout.string_val = vec![Vec::new()];
        let wanted = PointValue::Layout(Layout::default());
        assert_eq!(
            of_tensor(layout.clone(), Some(Plugin::CustomScalars)),
            wanted
        );
        layout.string_val = vec![b"\xff".to_vec()];
        assert_eq!(
            of_tensor(layout, Some(Plugin::CustomScalars)).kind(),
            "tensor"
        );
        for shape in [
            &[6, 3][..],
            &[6, 0],
            &[i64::MAX, 6],
            &[6, i64::MAX],
            &[2, i64::MAX, 3],
        ] {
            let mut wrong = tensor(DataType::DtFloat, shape);
            wrong.float_val = vec![0.0; 6];
            for plugin in [Plugin::PrCurves, Plugin::Mesh] {
                assert_eq!(
                    of_tensor(wrong.clone(), Some(plugin)).kind(),
                    "tensor",
                    "{shape:?}"
                );
            }
        }
    }

    // A shape is only a claim: a single number must not be repeated as often as it says.
    #[test]
    fn a_shape_costs_no_memory() {
        let mut one = tensor(DataType::DtDouble, &[i64::MAX, 3]);
        one.double_val = vec![1.0];
        assert_eq!(
            of_tensor(one.clone(), Some(Plugin::Histograms)).kind(),
            "tensor"
        );
        assert_eq!(
            of_tensor(one, Some(Plugin::Scalars)),
            PointValue::Scalar(1.0)
        );
    }

    #[test]
    fn histograms_of_the_older_form_lose_empty_ends() {
        let mut histogram = HistogramProto {
            min: 0.5,
            max: 2.5,
            bucket_limit: vec![0.0, 1.0, 2.0, 3.0, f64::MAX],
            bucket: vec![0.0, 2.0, 0.0, 1.0, 0.0],
            ..Default::default()
        };
        let rows = migrated(&histogram).unwrap();
        assert_eq!(rows, [[0.5, 1.0, 2.0], [1.0, 2.0, 0.0], [2.0, 2.5, 1.0]]);
        histogram.bucket = vec![0.0; 5];
        assert_eq!(migrated(&histogram).unwrap(), [[0.0; 3]; 0]);
        histogram.bucket.pop();
        assert_eq!(migrated(&histogram), None);
    }
}
