//! Bytes of records and event files as TensorBoard's own protobuf and framing give them.
//!
//! The program behind them, with tensorboard 2.21.0:
//!
//! ```python
//! from tensorboard.compat.proto.event_pb2 import Event
//! from tensorboard.summary.writer.record_writer import RecordWriter
//! import io
//! out = io.BytesIO(); RecordWriter(out).write(Event(...).SerializeToString())
//! print(out.getvalue().hex())
//! ```

use prost::Message;
use tch_tensorboard::proto::{
    DataClass, DataType, Event, Summary, SummaryMetadata, TensorProto, TensorShapeProto,
    event::What, summary, summary_metadata::PluginData,
};
use tch_tensorboard::{EventReader, ReadError};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().map(|c| c.to_digit(16).unwrap()).collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty());
    pairs
        .iter()
        .map(|[high, low]| (high * 16 + low) as u8)
        .collect()
}

fn loss(value: summary::value::Value, metadata: Option<SummaryMetadata>) -> Event {
    let value = summary::Value {
        tag: "loss".into(),
        metadata,
        value: Some(value),
    };
    Event {
        wall_time: 2.0,
        step: 7,
        what: Some(What::Summary(Summary { value: vec![value] })),
        ..Default::default()
    }
}

fn vectors() -> [(Event, &'static str); 4] {
    let version = What::FileVersion("brain.Event:2".into());
    let tensor = TensorProto {
        dtype: DataType::DtFloat.into(),
        tensor_shape: Some(TensorShapeProto::default()),
        float_val: vec![0.5],
        ..Default::default()
    };
    let scalars = SummaryMetadata {
        plugin_data: Some(PluginData {
            plugin_name: "scalars".into(),
            ..Default::default()
        }),
        data_class: DataClass::Scalar.into(),
        ..Default::default()
    };
    [
        (
            Event {
                wall_time: 1.0,
                what: Some(version),
                ..Default::default()
            },
            "1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a",
        ),
        (
            loss(summary::value::Value::SimpleValue(0.5), None),
            "1a00000000000000129bd82d09000000000000004010072a0d0a0b0a046c6f7373150000003fc33fc24a",
        ),
        (
            loss(summary::value::Value::Tensor(tensor), Some(scalars)),
            "300000000000000095f5d05f09000000000000004010072a230a210a046c6f7373420a080112002a04000\
            0003f4a0d0a090a07\
             7363616c6172732001c7c242c6",
        ),
        (Event::default(), "000000000000000029039807d8ea82a2"),
    ]
}

#[test]
fn messages_have_the_wire_form_of_tensorboard() {
    for (event, record) in vectors() {
        let record = bytes(record);
        // The payload lies between twelve bytes of header and four of footer.
        assert_eq!(event.encode_to_vec(), record[12..record.len() - 4]);
    }
}

#[test]
fn a_file_of_golden_records_is_read_back() {
    let file: Vec<u8> = vectors()
        .iter()
        .flat_map(|(_, record)| bytes(record))
        .collect();
    let events: Result<Vec<Event>, ReadError> = EventReader::new(&file[..]).collect();
    let expected: Vec<Event> = vectors().into_iter().map(|(event, _)| event).collect();
    assert_eq!(events.unwrap(), expected);
}

/// Every field of every message, against bytes that Python's protobuf wrote for TensorBoard's own
/// messages.
#[test]
fn event_kinds() {
    use tch_tensorboard::proto::{
        SessionLog, SourceMetadata, TaggedRunMetadata, session_log::SessionStatus,
    };
    let graph = Event {
        wall_time: 1.0,
        step: 2,
        what: Some(What::GraphDef(b"4".into())),
        source_metadata: Some(SourceMetadata { writer: "w".into() }),
    };
    assert_wire(&graph, "09000000000000f03f100222013452030a0177");
    let of = |what| Event {
        what: Some(what),
        ..Default::default()
    };
    let run = TaggedRunMetadata {
        tag: "1".into(),
        run_metadata: b"2".into(),
    };
    assert_wire(&of(What::TaggedRunMetadata(run)), "42060a0131120132");
    assert_wire(&of(What::MetaGraphDef(b"9".into())), "4a0139");
    let checkpoint = SessionLog {
        status: SessionStatus::Checkpoint.into(),
        ..Default::default()
    };
    assert_wire(&of(What::SessionLog(checkpoint)), "3a020803");
    let start = SessionLog {
        status: SessionStatus::Start.into(),
        checkpoint_path: "p".into(),
        msg: "m".into(),
    };
    assert_wire(&start, "08011201701a016d");
}

#[test]
fn values() {
    use summary::{Audio, Image, Value, value::Value as Of};
    let image = Image {
        height: 1,
        width: 2,
        colorspace: 3,
        encoded_image_string: b"4".into(),
    };
    let audio = Audio {
        sample_rate: 1.0,
        num_channels: 2,
        length_frames: 3,
        encoded_audio_string: b"4".into(),
        content_type: "5".into(),
    };
    let metadata = SummaryMetadata {
        plugin_data: Some(PluginData {
            plugin_name: "1".into(),
            content: b"2".into(),
        }),
        display_name: "2".into(),
        summary_description: "3".into(),
        data_class: DataClass::BlobSequence.into(),
    };
    let value = vec![
        Value {
            tag: "t".into(),
            metadata: None,
            value: Some(Of::Image(image)),
        },
        Value {
            tag: "u".into(),
            metadata: None,
            value: Some(Of::Audio(audio)),
        },
        Value {
            tag: "v".into(),
            metadata: Some(metadata),
            value: Some(Of::SimpleValue(1.0)),
        },
    ];
    assert_wire(
        &Summary { value },
        "0a0e0a017422090801100218032201340a140a0175320f0d0000803f100218032201342a01350a1a0a0176150\
        000803f4a100a060a01\
         311201321201321a01332003",
    );
}

#[test]
fn tensors_and_histograms() {
    use tch_tensorboard::proto::{HistogramProto, tensor_shape_proto::Dim};
    let tensor = TensorProto {
        dtype: DataType::DtFloat.into(),
        tensor_shape: Some(TensorShapeProto {
            dim: vec![Dim {
                size: 2,
                name: "n".into(),
            }],
            unknown_rank: true,
        }),
        version_number: 1,
        tensor_content: b"c".into(),
        half_val: vec![13],
        float_val: vec![5.0],
        double_val: vec![6.0],
        int_val: vec![7],
        string_val: vec![b"8".into()],
        scomplex_val: vec![9.0],
        int64_val: vec![10],
        bool_val: vec![true],
        dcomplex_val: vec![12.0],
        uint32_val: vec![16],
        uint64_val: vec![17],
    };
    assert_wire(
        &tensor,
        "080112091205080212016e180118012201632a040000a040320800000000000018403a01074201384a0400001\
        04152010a5a01016208\
         00000000000028406a010d820101108a010111",
    );
    let histogram = HistogramProto {
        min: 1.0,
        max: 2.0,
        num: 3.0,
        sum: 4.0,
        sum_squares: 5.0,
        bucket_limit: vec![6.0, 6.5],
        bucket: vec![7.0, 7.5],
    };
    assert_wire(
        &histogram,
        "09000000000000f03f11000000000000004019000000000000084021000000000000104029000000000000144\
        0321000000000000018\
         400000000000001a403a100000000000001c400000000000001e40",
    );
}

#[test]
fn layout_and_plugin_data() {
    use tch_tensorboard::proto::custom_scalar::{
        Category, Chart, Layout, MarginChartContent, MultilineChartContent, chart::Content,
        margin_chart_content::Series,
    };
    use tch_tensorboard::proto::{
        AudioPluginData, HistogramPluginData, ImagePluginData, ScalarPluginData, TextPluginData,
        audio_plugin_data,
    };
    let lines = MultilineChartContent {
        tag: vec!["a$".into()],
    };
    let bands = MarginChartContent {
        series: vec![Series {
            value: "v".into(),
            lower: "l".into(),
            upper: "u".into(),
        }],
    };
    let chart = vec![
        Chart {
            title: "m".into(),
            content: Some(Content::Multiline(lines)),
        },
        Chart {
            title: "b".into(),
            content: Some(Content::Margin(bands)),
        },
    ];
    let layout = Layout {
        version: 1,
        category: vec![Category {
            title: "c".into(),
            closed: true,
            chart,
        }],
    };
    assert_wire(
        &layout,
        "080112220a016312090a016d12040a02612412100a01621a0b0a090a017612016c1a01751801",
    );
    let encoding = audio_plugin_data::Encoding::Wav.into();
    assert_wire(
        &AudioPluginData {
            version: 1,
            encoding,
            converted_to_tensor: true,
        },
        "0801100b1801",
    );
    assert_wire(
        &ImagePluginData {
            version: 1,
            converted_to_tensor: true,
        },
        "08011001",
    );
    assert_wire(&ScalarPluginData { version: 1 }, "0801");
    assert_wire(&HistogramPluginData { version: 1 }, "0801");
    assert_wire(&TextPluginData { version: 1 }, "0801");
}

#[track_caller]
fn assert_wire<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, hex: &str) {
    let wire = bytes(hex);
    assert_eq!(message.encode_to_vec(), wire);
    assert_eq!(M::decode(&wire[..]).as_ref(), Ok(message));
}
