//! The Audio dashboard: clips as WAV files.

use prost::Message;

use crate::error::{Error, Result};
use crate::kernel::{Elements, Kernels};
use crate::model::plugin::Plugin;
use crate::model::types::DType;
use crate::proto::AudioPluginData;
use crate::proto::audio_plugin_data::Encoding;
use crate::proto::summary::value;
use crate::source::copied::CopiedValues;
use crate::source::element_source::ElementLayout;
use crate::source::values::{ValueSource, Values};
use crate::summary::Payload;

/// What errors call it.
const KIND: &str = "audio";

/// Samples of all channels of a clip at most, 46 minutes of one channel at 48 kHz: TensorBoard
/// reads a clip as a whole, and browsers stall with long ones.
const MOST_SAMPLES: usize = 1 << 27;

/// Samples a second at most: the header of a WAV file has 32 bits for the bytes of a second.
const MOST_RATE: u32 = 1_000_000;

/// Bytes in front of the samples.
const HEADER: u32 = 44;

/// A sound clip of one or two channels: what [`Logger::log_audio`](crate::Logger::log_audio) takes.
///
/// Samples of a floating type are from -1 to 1; one beyond is taken as the nearest within, and NaN
/// as silence. Samples of type `i16` are stored as they are. Others are refused.
///
/// ```
/// use tch_tensorboard::Audio;
///
/// let tone: Vec<f32> = (0..8000).map(|n| (n as f32 * 0.345).sin()).collect();
/// let clip = Audio::mono(&tone, 8000);
/// # let _ = clip;
/// ```
pub struct Audio<'a> {
    channels: Vec<ValueSource<'a>>,
    samples_per_sec: u32,
}

impl<'a> Audio<'a> {
    /// One channel.
    pub fn mono<V: Values + ?Sized>(samples: &'a V, samples_per_sec: u32) -> Audio<'a> {
        Audio {
            channels: vec![samples.source()],
            samples_per_sec,
        }
    }

    /// Two channels of equal length.
    pub fn stereo<L: Values + ?Sized, R: Values + ?Sized>(
        left: &'a L,
        right: &'a R,
        samples_per_sec: u32,
    ) -> Audio<'a> {
        Audio {
            channels: vec![left.source(), right.source()],
            samples_per_sec,
        }
    }

    /// Looks at lengths and types, without copying anything.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for what is no clip, [`Error::UnsupportedTensor`] for what cannot be
    /// read.
    pub(crate) fn inspect(self, tag: &str) -> Result<InspectedAudio<'a>> {
        let invalid = |reason: String| Err(Error::value(KIND, tag, reason));
        if !(1..=MOST_RATE).contains(&self.samples_per_sec) {
            return invalid(format!(
                "has {} samples a second; take 1 to {MOST_RATE}",
                self.samples_per_sec
            ));
        }
        let channels = self.channels.into_iter().map(|source| {
            let layout = source.elements().inspect(tag)?;
            Ok((source, layout))
        });
        let channels: Vec<(ValueSource<'a>, ElementLayout)> = channels.collect::<Result<_>>()?;
        let lengths: Vec<usize> = channels
            .iter()
            .map(|(_, layout)| layout.elements())
            .collect();
        let (least, most) = (lengths.iter().min(), lengths.iter().max());
        if least != most {
            return invalid(format!(
                "has channels of {lengths:?} samples; make them equally long"
            ));
        }
        match lengths.iter().sum() {
            0_usize => return invalid("has no samples; log it when there are some".into()),
            samples if samples > MOST_SAMPLES => {
                return invalid(format!(
                    "has {samples} samples; TensorBoard plays at most {MOST_SAMPLES}: log a part"
                ));
            }
            _ => {}
        }
        for (_, layout) in &channels {
            if !layout.dtype.is_float() && layout.dtype != DType::I16 {
                return invalid(format!(
                    "has samples of type {:?}; convert them to a floating type from -1 to 1, or \
                     to i16",
                    layout.dtype
                ));
            }
        }
        Ok(InspectedAudio {
            channels,
            samples_per_sec: self.samples_per_sec,
        })
    }
}

impl std::fmt::Debug for Audio<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Audio");
        shown
            .field("channels", &self.channels.len())
            .field("samples_per_sec", &self.samples_per_sec);
        shown.finish_non_exhaustive()
    }
}

/// A clip that can be logged.
pub(crate) struct InspectedAudio<'a> {
    channels: Vec<(ValueSource<'a>, ElementLayout)>,
    samples_per_sec: u32,
}

impl InspectedAudio<'_> {
    /// Bytes that a copy takes.
    pub(crate) fn bytes(&self) -> usize {
        self.channels.iter().map(|(_, layout)| layout.bytes()).sum()
    }

    /// # Errors
    /// See [`CopiedValues::of`].
    pub(crate) fn copy(&self, tag: &str) -> Result<Clip> {
        let channels = self.channels.iter();
        let channels =
            channels.map(|(source, layout)| CopiedValues::of(tag, source.elements(), layout));
        Ok(Clip {
            channels: channels.collect::<Result<_>>()?,
            samples_per_sec: self.samples_per_sec,
        })
    }
}

/// A copy of a clip that waits for the worker.
pub(crate) struct Clip {
    channels: Vec<CopiedValues>,
    samples_per_sec: u32,
}

impl Payload for Clip {
    fn plugin(&self) -> Plugin {
        Plugin::Audio
    }

    fn bytes(&self) -> usize {
        self.channels.iter().map(CopiedValues::len).sum()
    }

    /// The encoding, without which the fast loader serves a clip that browsers do not play.
    fn content(&self) -> Vec<u8> {
        wav_content()
    }

    fn into_value(self: Box<Self>, _: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        let channels: Vec<Vec<i16>> = self.channels.iter().map(samples).collect();
        // A list of clips: in the form of pairs with labels the Python loader takes these for
        // clips.
        Ok(Some(super::strings(vec![wav(
            &channels,
            self.samples_per_sec,
        )])))
    }
}

/// What the metadata says of clips that are WAV files.
pub(crate) fn wav_content() -> Vec<u8> {
    let content = AudioPluginData {
        encoding: Encoding::Wav.into(),
        ..Default::default()
    };
    content.encode_to_vec()
}

/// What a sample of 1 becomes.
const FULL: f64 = i16::MAX as f64;

/// Samples as a WAV file has them: rounded towards zero in the precision of their type, as
/// `torch.utils.tensorboard` does it. The conversion takes NaN for 0.
fn samples(channel: &CopiedValues) -> Vec<i16> {
    match Elements::from_bytes(channel.dtype(), channel.as_bytes()) {
        Some(Elements::I16(samples)) => samples.to_vec(),
        Some(elements @ Elements::F64(_)) => {
            let samples = elements.to_f64s(0, 1).into_iter();
            samples
                .map(|sample| (sample.clamp(-1.0, 1.0) * FULL) as i16)
                .collect()
        }
        Some(elements) => {
            let samples = elements.to_f64s(0, 1).into_iter();
            let level = |sample: f64| (sample.clamp(-1.0, 1.0) as f32 * FULL as f32) as i16;
            samples.map(level).collect()
        }
        None => Vec::new(),
    }
}

/// A RIFF WAVE file of 16 bits a sample, little-endian, the channels of each sample together.
fn wav(channels: &[Vec<i16>], samples_per_sec: u32) -> Vec<u8> {
    const BYTES: u16 = 2;
    let count = channels.len() as u16;
    let length = channels.first().map_or(0, Vec::len);
    let bytes = (length * channels.len() * usize::from(BYTES)) as u32;
    let mut file = Vec::with_capacity(bytes as usize + HEADER as usize);
    file.extend(b"RIFF");
    file.extend((bytes + HEADER - 8).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    // 1: plain samples.
    file.extend(1_u16.to_le_bytes());
    file.extend(count.to_le_bytes());
    file.extend(samples_per_sec.to_le_bytes());
    file.extend((samples_per_sec * u32::from(count * BYTES)).to_le_bytes());
    file.extend((count * BYTES).to_le_bytes());
    file.extend((8 * BYTES).to_le_bytes());
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    for place in 0..length {
        for channel in channels {
            let sample = channel.get(place).copied().unwrap_or_default();
            file.extend(sample.to_le_bytes());
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(clip: Audio<'_>) -> Vec<u8> {
        let clip = clip.inspect("clip").unwrap().copy("clip").unwrap();
        let value = Box::new(clip).into_value("clip", &mut Kernels::new(1));
        match value.unwrap() {
            Some(value::Value::Tensor(mut tensor)) => tensor.string_val.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn data(file: &[u8]) -> Vec<i16> {
        let (samples, _) = file[HEADER as usize..].as_chunks::<2>();
        samples
            .iter()
            .map(|bytes| i16::from_le_bytes(*bytes))
            .collect()
    }

    #[test]
    fn samples_beyond_are_clamped_and_nan_is_silent() {
        let samples = [
            0.0_f32,
            0.5,
            -0.5,
            1.0,
            -1.0,
            7.0,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        let wanted = [0, 16383, -16383, 32767, -32767, 32767, -32767, 0];
        assert_eq!(data(&file(Audio::mono(&samples, 8000))), wanted);
        assert_eq!(
            data(&file(Audio::mono(&samples.map(f64::from), 8000))),
            wanted
        );
        assert_eq!(
            data(&file(Audio::mono(&[i16::MIN, 3], 8000))),
            [i16::MIN, 3]
        );
    }

    #[test]
    fn the_header_is_that_of_its_samples() {
        let file = file(Audio::stereo(&[0.0_f32; 3], &[1_i16; 3], 44_100));
        assert_eq!(data(&file), [0, 1, 0, 1, 0, 1]);
        let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        assert_eq!((&file[..4], &file[8..16]), (&b"RIFF"[..], &b"WAVEfmt "[..]));
        assert_eq!(number(4) as usize + 8, file.len());
        assert_eq!(number(20), 1 | 2 << 16, "plain samples of two channels");
        assert_eq!((number(24), number(28)), (44_100, 176_400));
        assert_eq!(number(32), 4 | 16 << 16);
        assert_eq!((&file[36..40], number(40)), (&b"data"[..], 12));
    }

    #[test]
    fn what_is_no_clip_is_an_error_that_names_the_tag() {
        let (none, one, two, bytes) = ([0.0_f32; 0], [0.0_f32], [0.0_f64; 2], [0_u8]);
        let long = vec![0_i16; MOST_SAMPLES + 1];
        for (clip, wanted) in [
            (Audio::mono(&none, 8000), "has no samples"),
            (Audio::mono(&one, 0), "has 0 samples a second; take 1 to"),
            (Audio::mono(&one, MOST_RATE + 1), "samples a second"),
            (
                Audio::stereo(&one, &two, 8000),
                "channels of [1, 2] samples",
            ),
            (Audio::mono(&bytes, 8000), "samples of type U8; convert"),
            (Audio::mono(&long, 8000), "log a part"),
        ] {
            let reason = clip.inspect("clip").err().expect(wanted).to_string();
            assert!(reason.starts_with("audio \"clip\": "), "{reason}");
            assert!(reason.contains(wanted), "{reason}");
        }
    }
}
