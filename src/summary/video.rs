//! Videos in the Images dashboard: animated PNG.

use std::ops::RangeInclusive;

use crate::error::{Error, Result};
use crate::kernel::Kernels;
use crate::model::plugin::Plugin;
use crate::proto::summary::value;
use crate::source::image::{CopiedPixels, Image, InspectedPixels};
use crate::summary::Payload;
use crate::summary::images::{image_tensor, sheets};
use crate::summary::png;

/// What errors call it.
const KIND: &str = "video";

/// Bytes of the copied frames at most: encoded they are one record, which TensorBoard reads whole.
const MOST_BYTES: usize = 1 << 29;

/// Browsers show no more than about 60 frames a second, and 100 seconds for one are a slide show.
const RATES: RangeInclusive<f32> = 0.01..=1000.0;

/// Frames that can be logged as a video.
pub(crate) struct InspectedVideo<'a> {
    frames: Vec<InspectedPixels<'a>>,
    frames_per_sec: f32,
}

impl<'a> InspectedVideo<'a> {
    /// Looks at sizes, without copying anything.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for what is no video, and those of [`Image::inspect_pixels`].
    pub(crate) fn of(
        tag: &str,
        frames: impl IntoIterator<Item = Image<'a>>,
        frames_per_sec: f32,
    ) -> Result<InspectedVideo<'a>> {
        let invalid = |reason: String| Err(Error::value(KIND, tag, reason));
        if !RATES.contains(&frames_per_sec) {
            let (least, most) = RATES.into_inner();
            return invalid(format!(
                "has {frames_per_sec} frames a second; take {least} to {most}"
            ));
        }
        let frames = frames.into_iter().map(|frame| frame.inspect_pixels(tag));
        let frames: Vec<InspectedPixels<'a>> = frames.collect::<Result<_>>()?;
        let mut sizes = frames
            .iter()
            .map(|frame| (frame.size.width, frame.size.height));
        let Some(first) = sizes.next() else {
            return invalid("has no frames; log it when there are some".into());
        };
        if let Some((width, height)) = sizes.find(|size| *size != first) {
            return invalid(format!(
                "has frames of {} x {} and of {width} x {height} pixels; make them equally large",
                first.0, first.1
            ));
        }
        let video = InspectedVideo {
            frames,
            frames_per_sec,
        };
        match video.bytes() {
            bytes if bytes > MOST_BYTES => invalid(format!(
                "has frames of {bytes} bytes, more than {MOST_BYTES}; log fewer or smaller ones"
            )),
            _ => Ok(video),
        }
    }

    /// Bytes that a copy takes.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = self.frames.iter().map(InspectedPixels::bytes);
        bytes.fold(0, usize::saturating_add)
    }

    /// # Errors
    /// See [`InspectedPixels::copy`].
    pub(crate) fn copy(self, tag: &str) -> Result<Video> {
        let copied = self.frames.iter().map(|frame| frame.copy(tag));
        Ok(Video {
            frames: copied.collect::<Result<_>>()?,
            frames_per_sec: self.frames_per_sec,
        })
    }
}

/// Frames that wait for the worker.
pub(crate) struct Video {
    frames: Vec<CopiedPixels>,
    frames_per_sec: f32,
}

impl Payload for Video {
    fn plugin(&self) -> Plugin {
        Plugin::Images
    }

    fn bytes(&self) -> usize {
        self.frames.iter().map(|frame| frame.values.len()).sum()
    }

    fn into_value(self: Box<Self>, tag: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        let frames: Vec<_> = self.frames.into_iter().flat_map(sheets).collect();
        let channels = frames.iter().map(|frame| frame.channels).max().unwrap_or(1);
        let frames: Vec<_> = frames
            .into_iter()
            .map(|frame| frame.with_channels(channels))
            .collect();
        let file = frames.first().and_then(|first| {
            let data: Vec<&[u8]> = frames.iter().map(|frame| frame.data.as_slice()).collect();
            let delay = delay(self.frames_per_sec);
            let file = png::animate(first.width, first.height, &data, first.kind(), delay)?;
            Some(image_tensor(first.width, first.height, file))
        });
        let failed = || Error::value(KIND, tag, "could not be encoded; log fewer frames");
        file.ok_or_else(failed).map(Some)
    }
}

/// Seconds of a frame as numerator and denominator.
fn delay(frames_per_sec: f32) -> (u16, u16) {
    match frames_per_sec {
        slow if slow < 1.0 => ((100.0 / slow).round() as u16, 100),
        whole if whole.fract() == 0.0 => (1, whole as u16),
        fast => (60, (60.0 * fast).round() as u16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(frames: Vec<Image<'_>>, frames_per_sec: f32) -> String {
        match InspectedVideo::of("v", frames, frames_per_sec) {
            Err(error) => error.to_string(),
            Ok(_) => "is fine".into(),
        }
    }

    #[test]
    fn what_is_no_video_is_an_error_that_names_the_tag() {
        let (small, large) = ([0_u8; 4], [0_u8; 6]);
        let small = || Image::from_pixels(&small, 2, 2, 1);
        assert_eq!(reason(vec![small(), small()], 25.0), "is fine");
        for (frames, rate, wanted) in [
            (vec![], 25.0, "has no frames"),
            (vec![small()], 0.0, "has 0 frames a second"),
            (vec![small()], f32::NAN, "has NaN frames a second"),
            (
                vec![small(), Image::from_pixels(&large, 3, 2, 1)],
                25.0,
                "frames of 2 x 2 and of 3 x 2",
            ),
            (
                vec![Image::from_encoded(b"\xff\xd8\xff")],
                25.0,
                "is an encoded file",
            ),
        ] {
            let reason = reason(frames, rate);
            assert!(
                reason.contains("\"v\": ") && reason.contains(wanted),
                "{reason}"
            );
        }
    }

    #[test]
    fn a_delay_is_the_time_of_a_frame() {
        for rate in [0.01, 0.3, 1.0, 2.5, 24.0, 29.97, 60.0, 1000.0] {
            let (over, under) = delay(rate);
            let secs = f32::from(over) / f32::from(under);
            assert!((secs * rate - 1.0).abs() < 1e-2, "{rate}: {over} / {under}");
        }
    }

    #[test]
    fn frames_are_decoded_one_after_the_other() {
        let frames = [[10_u8, 20], [30, 40], [50, 60]];
        let images = frames
            .iter()
            .map(|frame| Image::from_pixels(frame, 2, 1, 1));
        let video = InspectedVideo::of("v", images, 4.0)
            .unwrap()
            .copy("v")
            .unwrap();
        let value = Box::new(video)
            .into_value("v", &mut Kernels::new(1))
            .unwrap();
        let Some(value::Value::Tensor(tensor)) = value else {
            panic!("a tensor");
        };
        let file = std::io::Cursor::new(&tensor.string_val[2]);
        let mut reader = ::png::Decoder::new(file).read_info().unwrap();
        let control = reader.info().animation_control.unwrap();
        assert_eq!((control.num_frames, control.num_plays), (3, 0));
        for frame in frames {
            let mut data = [0; 2];
            reader.next_frame(&mut data).unwrap();
            let control = reader.info().frame_control.unwrap();
            assert_eq!((data, control.delay_num, control.delay_den), (frame, 1, 4));
        }
    }
}
