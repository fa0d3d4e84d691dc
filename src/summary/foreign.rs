//! Messages of a caller's own: what a loader of TensorBoard would drop, misread or fail on is
//! refused, and what it has to be given is completed.

use std::collections::HashSet;

use prost::Message;

use crate::error::{Error, Result};
use crate::model::plugin::Plugin;
use crate::proto::summary::{Image, Value, value::Value as Field};
use crate::proto::{
    DataClass, DataType, Event, HistogramProto, MeshPluginData, ScalarPluginData, SummaryMetadata,
    TensorProto, event::What,
};
use crate::summary::{audio, custom_scalars, data_class, graph, hparams};

/// What errors call it.
const KIND: &str = "message";

/// The plugin of a value, the one that its metadata names or that of a form that needs no name;
/// `None` where only a value before says.
pub(crate) fn plugin_of(value: &Value) -> Option<Plugin> {
    named(value).or_else(|| form(value.value.as_ref()?))
}

/// The plugin of a form that needs no name.
fn form(content: &Field) -> Option<Plugin> {
    match content {
        Field::SimpleValue(_) => Some(Plugin::Scalars),
        Field::Histo(_) => Some(Plugin::Histograms),
        Field::Image(_) => Some(Plugin::Images),
        Field::Audio(_) => Some(Plugin::Audio),
        Field::Tensor(_) => None,
    }
}

fn named(value: &Value) -> Option<Plugin> {
    let data = value.metadata.as_ref()?.plugin_data.as_ref()?;
    Plugin::named(&data.plugin_name)
}

/// Checks an event of a caller's own.
///
/// # Errors
/// [`Error::InvalidValue`] with what a loader would do to it.
pub(crate) fn check_event(event: &Event) -> Result<()> {
    let invalid = |reason: &str| Err(Error::value(KIND, "", reason));
    if !event.wall_time.is_finite() {
        return invalid(
            "has a wall time that is not finite, at which TensorBoard's fast loader drops the \
             rest of the file; give seconds since 1970",
        );
    }
    match &event.what {
        None => invalid("is an event with nothing in it"),
        Some(What::FileVersion(_)) => invalid("has a file version, which the file has already"),
        Some(What::SessionLog(_)) => invalid(
            "has a session, at whose start TensorBoard's Python loader forgets points; resume() \
             writes what is needed",
        ),
        Some(What::GraphDef(bytes)) => graph::check(bytes),
        Some(What::TaggedRunMetadata(data)) if data.tag.is_empty() => {
            invalid("has metadata of a step without a tag")
        }
        Some(What::TaggedRunMetadata(_) | What::MetaGraphDef(_)) => Ok(()),
        Some(What::Summary(summary)) if summary.value.is_empty() => {
            invalid("has a summary with no values")
        }
        Some(What::Summary(summary)) => {
            let mut tags = HashSet::new();
            summary.value.iter().try_for_each(|value| {
                if !tags.insert(&value.tag) {
                    let reason = "comes twice in one event, and the fast loader keeps the last";
                    return Err(Error::value(KIND, &value.tag, reason));
                }
                check_value(value).map_err(|reason| Error::value(KIND, &value.tag, reason))
            })
        }
    }
}

type Checked = std::result::Result<(), String>;

fn check_value(value: &Value) -> Checked {
    if value.tag.is_empty() {
        return Err("has a value without a tag".into());
    }
    let Some(content) = &value.value else {
        return Err("has no value; hyperparameters, too, need a float tensor of shape [0]".into());
    };
    let plugin = plugin_of(value);
    if let Some(metadata) = &value.metadata {
        check_metadata(metadata, plugin)?;
    }
    let wanted = form(content);
    if let Some(wanted) = wanted.filter(|_| wanted != plugin) {
        return Err(format!(
            "has metadata of another plugin than {}, whose form its value has",
            wanted.name()
        ));
    }
    match content {
        Field::SimpleValue(_) => Ok(()),
        Field::Histo(histogram) => check_histogram(histogram),
        Field::Image(Image {
            encoded_image_string: bytes,
            ..
        }) if bytes.is_empty() => Err("is an image without bytes".into()),
        Field::Image(_) => Ok(()),
        Field::Audio(audio) if audio.encoded_audio_string.is_empty() => {
            Err("is a sound without bytes".into())
        }
        Field::Audio(_) => Ok(()),
        Field::Tensor(tensor) => match plugin {
            Some(plugin) => check_tensor(&value.tag, tensor, plugin),
            // A value before has said what it is, or the worker refuses it.
            None => Ok(()),
        },
    }
}

fn check_metadata(metadata: &SummaryMetadata, plugin: Option<Plugin>) -> Checked {
    let Some(plugin) = plugin else {
        return Err("has metadata that names no plugin, and is dropped by the fast loader".into());
    };
    let (said, wanted) = (metadata.data_class(), data_class(plugin));
    match (said, wanted) {
        (DataClass::Unknown, DataClass::Unknown) if plugin != Plugin::Private => {
            return Err(
                "has a plugin that TensorBoard does not know and no class of data, which nothing \
                 shows; set data_class"
                    .into(),
            );
        }
        (DataClass::Unknown, _) | (_, DataClass::Unknown) => {}
        (said, wanted) if said != wanted => {
            return Err(format!(
                "has the class of data {}, where the plugin {} has {}",
                said.as_str_name(),
                plugin.name(),
                wanted.as_str_name()
            ));
        }
        _ => {}
    }
    let content = metadata.plugin_data.as_ref();
    let content = content.map_or(&[][..], |data| &data.content);
    if plugin == Plugin::Mesh && !has_mesh_content(content) {
        return Err("is a part of a mesh whose metadata has no shape".into());
    }
    // All messages of plugins have a version in their first field.
    match ScalarPluginData::decode(content) {
        _ if wanted == DataClass::Unknown => Ok(()),
        Ok(data) if data.version == 0 => Ok(()),
        Ok(data) => Err(format!(
            "has metadata of version {}, which TensorBoard skips; it reads version 0",
            data.version
        )),
        // What does not decode makes the whole dashboard fail for all runs; torch writes this.
        Err(_) if plugin == Plugin::Histograms && content == b"{}" => Ok(()),
        Err(error) => Err(format!(
            "has metadata that cannot be read, at which TensorBoard fails for all runs: {error}"
        )),
    }
}

fn check_histogram(histogram: &HistogramProto) -> Checked {
    let (limits, counts) = (&histogram.bucket_limit, &histogram.bucket);
    if limits.len() != counts.len() {
        return Err(format!(
            "is a histogram of {} limits and {} counts; the limits are the right edges",
            limits.len(),
            counts.len()
        ));
    }
    let edges = || [histogram.min, histogram.max].into_iter();
    let numbers = edges().chain(limits.iter().chain(counts).copied());
    check_numbers(numbers)?;
    let outer = [counts.first(), counts.last()];
    if outer.into_iter().flatten().any(|count| *count == 0.0) && counts.len() > 1 {
        return Err(
            "is a histogram with an empty first or last bucket, of which the fast loader loses \
             counts; leave these out"
                .into(),
        );
    }
    match limits.is_sorted_by(|one, other| one < other) && histogram.min <= histogram.max {
        true => Ok(()),
        false => Err("is a histogram whose edges do not increase".into()),
    }
}

fn check_numbers(mut numbers: impl Iterator<Item = f64>) -> Checked {
    match numbers.all(f64::is_finite) {
        true => Ok(()),
        false => Err("is a histogram with NaN or infinite, which blanks its card".into()),
    }
}

/// Rows of left edge, right edge and count.
fn check_rows(numbers: &[f64]) -> Checked {
    check_numbers(numbers.iter().copied())?;
    let (rows, _) = numbers.as_chunks::<3>();
    let edges = rows.iter().flat_map(|[left, right, _]| [left, right]);
    match edges.is_sorted() {
        true => Ok(()),
        false => Err("is a histogram whose edges do not increase".into()),
    }
}

fn check_tensor(tag: &str, tensor: &TensorProto, plugin: Plugin) -> Checked {
    let (shape, dtype) = (tensor.shape(), tensor.dtype());
    let elements = shape.iter().try_fold(1_usize, |all, &size| {
        all.checked_mul(usize::try_from(size).ok()?)
    });
    let wrong = |wanted: &str| {
        Err(format!(
            "is a tensor {} of shape {shape:?}, where the plugin {} wants {wanted}",
            dtype.as_str_name(),
            plugin.name()
        ))
    };
    let (is_float, is_text) = (
        matches!(dtype, DataType::DtFloat | DataType::DtDouble),
        dtype == DataType::DtString,
    );
    let is_rank = |rank| shape.len() == rank;
    match plugin {
        Plugin::Scalars
            if dtype != DataType::DtFloat || !is_rank(0) || tensor.held() != Some(1) =>
        {
            return wrong("one DT_FLOAT of rank 0: the fast loader drops others");
        }
        Plugin::Histograms if !is_float || shape.get(1..) != Some(&[3]) => {
            return wrong("rows of left edge, right edge and count: floats of shape [k, 3]");
        }
        Plugin::Histograms => check_rows(&tensor.numbers().unwrap_or_default())?,
        Plugin::Images if !is_text || !is_rank(1) || tensor.string_val.len() < 3 => {
            return wrong("strings: width, height, and the images");
        }
        Plugin::Audio if !is_text || !is_rank(1) => {
            return wrong("a list of strings, a clip each");
        }
        Plugin::Text if !is_text => return wrong("strings"),
        Plugin::Text
            if tensor
                .string_val
                .iter()
                .any(|text| str::from_utf8(text).is_err()) =>
        {
            return Err("is a text that is not UTF-8, at which its page fails".into());
        }
        Plugin::CustomScalars if tag != custom_scalars::TAG => {
            return Err(format!(
                "is a layout, which is read under {} only",
                custom_scalars::TAG
            ));
        }
        Plugin::CustomScalars if !is_text || tensor.string_val.len() != 1 => {
            return wrong("one string");
        }
        Plugin::HParams if !hparams::is_tag(tag) => {
            return Err("is of the plugin hparams, which reads tags below _hparams_ only".into());
        }
        Plugin::PrCurves if !is_float || shape.first() != Some(&6) || !is_rank(2) => {
            return wrong("six rows of floats: TP, FP, TN, FN, precision, recall");
        }
        Plugin::Mesh if !is_rank(3) => return wrong("a shape of [batch, n, 3]"),
        _ => {}
    }
    // A single element represents all of a shape.
    match tensor.held() {
        Some(held) if Some(held) != elements && held != 1 => Err(format!(
            "is a tensor of shape {shape:?} with {held} elements, at which TensorBoard fails"
        )),
        _ => Ok(()),
    }
}

/// What the metadata of a value's tag has to say beside plugin and class: that of the value itself,
/// or what its form implies.
pub(crate) fn content_of(value: &Value) -> Vec<u8> {
    let said = value
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.plugin_data.as_ref());
    match (said, &value.value) {
        (Some(said), _) => said.content.clone(),
        // The fast loader serves a sound of the older form as bytes that no browser plays.
        (None, Some(Field::Audio(_))) => audio::wav_content(),
        (None, _) => Vec::new(),
    }
}

/// Whether a mesh says its shape, without which it cannot be shown.
fn has_mesh_content(content: &[u8]) -> bool {
    MeshPluginData::decode(content).is_ok_and(|data| data.shape.len() == 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{SessionLog, Summary};
    use crate::summary::{self, tensor_shape};

    fn summary_of(value: Vec<Value>) -> Event {
        Event {
            wall_time: 1.0,
            what: Some(What::Summary(Summary { value })),
            ..Default::default()
        }
    }

    fn refused(what: What) -> String {
        let event = Event {
            what: Some(what),
            ..Default::default()
        };
        check_event(&event).unwrap_err().to_string()
    }

    fn value(plugin: Plugin, dtype: DataType, shape: &[usize]) -> Value {
        Value {
            tag: "x".into(),
            metadata: Some(summary::metadata(plugin, "")),
            value: Some(Field::Tensor(TensorProto {
                dtype: dtype.into(),
                tensor_shape: Some(tensor_shape(shape)),
                ..Default::default()
            })),
        }
    }

    fn reason(value: Value) -> String {
        match check_event(&summary_of(vec![value])) {
            Err(error) => error.to_string(),
            Ok(()) => "is fine".into(),
        }
    }

    #[test]
    fn events_that_loaders_stumble_over_are_refused() {
        assert!(refused(What::FileVersion("brain.Event:2".into())).contains("file version"));
        assert!(refused(What::SessionLog(SessionLog::default())).contains("resume()"));
        assert!(refused(What::GraphDef(b"\xff".to_vec())).contains("GraphDef"));
        let scalar = |tag: &str| summary::scalars::value(tag, 1.0, None);
        let mut event = summary_of(vec![scalar("a"), scalar("b")]);
        assert!(check_event(&event).is_ok());
        event.wall_time = f64::NAN;
        assert!(check_event(&event).is_err());
        assert!(check_event(&summary_of(vec![scalar("a"), scalar("a")])).is_err());
        assert!(check_event(&summary_of(Vec::new())).is_err());
        assert!(check_event(&Event::default()).is_err());
    }

    #[test]
    fn tensors_that_no_dashboard_shows_are_refused() {
        use DataType::*;
        for (plugin, dtype, shape, wanted) in [
            (Plugin::Scalars, DtDouble, &[][..], "one DT_FLOAT of rank 0"),
            (Plugin::Scalars, DtFloat, &[1], "one DT_FLOAT of rank 0"),
            (Plugin::Histograms, DtInt64, &[0, 3], "rows of left edge"),
            (Plugin::Images, DtString, &[1], "width, height"),
            (Plugin::Audio, DtString, &[1, 2], "a clip each"),
            (Plugin::Text, DtFloat, &[], "strings"),
            (
                Plugin::CustomScalars,
                DtString,
                &[],
                "custom_scalars__config__ only",
            ),
            (Plugin::HParams, DtFloat, &[0], "below _hparams_"),
            (Plugin::PrCurves, DtFloat, &[5, 9], "six rows"),
            (Plugin::Mesh, DtFloat, &[9, 3], "metadata has no shape"),
            (Plugin::PrCurves, DtFloat, &[6, 9], "with 0 elements"),
        ] {
            let reason = reason(value(plugin, dtype, shape));
            assert!(reason.contains(wanted), "{plugin:?}: {reason}");
        }
        assert_eq!(
            reason(value(Plugin::Histograms, DtDouble, &[0, 3])),
            "is fine"
        );
    }

    #[test]
    fn values_of_the_older_forms_have_the_plugin_of_their_form() {
        let clip = crate::proto::summary::Audio {
            encoded_audio_string: b"RIFF".to_vec(),
            ..Default::default()
        };
        let image = Image {
            encoded_image_string: b"PNG".to_vec(),
            ..Default::default()
        };
        let histogram = HistogramProto {
            bucket_limit: vec![1.0],
            bucket: vec![1.0],
            ..Default::default()
        };
        let forms = [
            (Field::SimpleValue(1.0), Plugin::Scalars),
            (Field::Histo(histogram), Plugin::Histograms),
            (Field::Image(image), Plugin::Images),
            (Field::Audio(clip), Plugin::Audio),
        ];
        for (content, plugin) in forms {
            let of = |named: Plugin| Value {
                tag: "x".into(),
                metadata: Some(summary::metadata(named, "")),
                value: Some(content.clone()),
            };
            assert_eq!(reason(of(plugin)), "is fine");
            let other = reason(of(Plugin::Text));
            let wanted = format!("of another plugin than {}", plugin.name());
            assert!(other.contains(&wanted), "{other}");
        }
    }

    #[test]
    fn metadata_that_loaders_stumble_over_is_refused() {
        let changed = |change: fn(&mut SummaryMetadata)| {
            let mut value = value(Plugin::Histograms, DataType::DtDouble, &[0, 3]);
            value.metadata.as_mut().map(change);
            reason(value)
        };
        fn set(metadata: &mut SummaryMetadata, name: &str, content: &[u8]) {
            if let Some(data) = &mut metadata.plugin_data {
                (data.plugin_name, data.content) = (name.into(), content.into());
            }
        }
        let version = changed(|metadata| set(metadata, "histograms", &[8, 1]));
        assert!(version.contains("version 1"), "{version}");
        let torn = changed(|metadata| set(metadata, "histograms", &[0xff]));
        assert!(torn.contains("fails for all runs"), "{torn}");
        assert_eq!(
            changed(|metadata| set(metadata, "histograms", b"{}")),
            "is fine"
        );
        let class = changed(|metadata| metadata.data_class = DataClass::Scalar.into());
        assert!(class.contains("class of data"), "{class}");
        let unknown = changed(|metadata| {
            set(metadata, "mine", b"");
            metadata.data_class = 0;
        });
        assert!(unknown.contains("set data_class"), "{unknown}");
        assert!(changed(|metadata| set(metadata, "", b"")).contains("names no plugin"));
    }

    #[test]
    fn histograms_that_lose_counts_are_refused() {
        let histogram = |limits: &[f64], counts: &[f64]| {
            let histo = HistogramProto {
                max: 9.0,
                bucket_limit: limits.to_vec(),
                bucket: counts.to_vec(),
                ..Default::default()
            };
            reason(Value {
                tag: "x".into(),
                value: Some(Field::Histo(histo)),
                ..Default::default()
            })
        };
        assert_eq!(histogram(&[1.0, 2.0], &[1.0, 1.0]), "is fine");
        assert!(histogram(&[1.0], &[1.0, 1.0]).contains("1 limits and 2 counts"));
        assert!(histogram(&[2.0, 1.0], &[1.0, 1.0]).contains("do not increase"));
        assert!(histogram(&[1.0, 2.0], &[0.0, 1.0]).contains("empty first or last"));
        assert!(histogram(&[1.0, 2.0], &[f64::NAN, 1.0]).contains("blanks its card"));
        let infinite = histogram(&[1.0, f64::INFINITY], &[1.0, 1.0]);
        assert!(infinite.contains("blanks its card"), "{infinite}");
        let rows = |rows: &[f64]| {
            let mut value = value(Plugin::Histograms, DataType::DtDouble, &[rows.len() / 3, 3]);
            if let Some(Field::Tensor(tensor)) = &mut value.value {
                tensor.double_val = rows.to_vec();
            }
            reason(value)
        };
        assert_eq!(rows(&[0.0, 1.0, 2.0, 1.0, 1.0, 3.0]), "is fine");
        assert!(rows(&[0.0, 1.0, f64::NAN]).contains("blanks its card"));
        assert!(rows(&[0.0, 1.0, 2.0, 0.5, 2.0, 3.0]).contains("do not increase"));
    }
}
