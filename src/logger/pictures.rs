//! The calls that log pictures: images, drawings, videos, and pictures of weights.

use crate::analysis::tag_parts::WEIGHT_IMAGES;
use crate::error::{Error, Result};
use crate::logger::Logger;
use crate::model::types::Step;
use crate::source::image::{Image, Inspected, InspectedPixels, check_size};
use crate::source::named_tensors::NamedTensors;
use crate::source::pictured::{PictureSink, Pictured};
use crate::summary::figure::{Drawn, Figure};
use crate::summary::heat_map::{self, HeatMap};
use crate::summary::images::{EncodedImage, Grid, PixelImages};
use crate::summary::video::InspectedVideo;
use crate::summary::{Payload, TaggedPayload};

impl Logger {
    /// Logs a picture, shown in the Images and Time Series dashboards: an input with its
    /// prediction, a feature map, a confusion matrix. It is encoded as PNG on the writer thread;
    /// the call copies its pixels.
    ///
    /// TensorBoard keeps ten pictures of a tag unless it is started with `--samples_per_plugin
    /// images=100`. See [`Image`] for what becomes of values beyond the range and of NaN.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use tch_tensorboard::Image;
    ///
    /// let heat: Vec<f32> = (0..28 * 28).map(|n| n as f32 / 783.0).collect();
    /// logger.log_image("attention/head0", Image::from_pixels(&heat, 28, 28, 1), 0)?;
    /// // From a tensor: Image::from_tensor(&pixels, ImageLayout::Chw)
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidImage`] for a shape that does not fit its layout, a number of channels other
    /// than 1, 3 or 4, elements that are neither `u8`, `bool` nor floating, no pixels, more than
    /// 178 956 970 pixels, a batch of several images, or a file that is neither PNG nor JPEG.
    /// [`Error::UnsupportedTensor`], and as [`log_text`](Logger::log_text).
    #[doc(alias = "add_image")]
    pub fn log_image(&self, tag: &str, image: Image<'_>, step: impl Step) -> Result<()> {
        let call = self.begin(tag, step)?;
        match image.inspect(tag)? {
            Inspected::File {
                file,
                width,
                height,
            } => call.send(file.len(), || {
                Ok(EncodedImage {
                    width,
                    height,
                    file: file.to_vec(),
                })
            }),
            Inspected::Pixels(pixels) if pixels.size.images > 1 => Err(Error::InvalidImage {
                tag: tag.into(),
                reason: format!(
                    "is a batch of {} images; log_images shows them as a grid",
                    pixels.size.images
                )
                .into(),
            }),
            Inspected::Pixels(pixels) => {
                call.send(pixels.bytes(), || Ok(PixelImages(vec![pixels.copy(tag)?])))
            }
        }
    }

    /// Logs several images as one picture: a grid of eight columns, filled row by row, each cell as
    /// large as the largest image needs. Batches and single images can be mixed; the rest of a cell
    /// is black.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use tch_tensorboard::Image;
    ///
    /// let filters = vec![vec![0.5_f32; 5 * 5]; 16];
    /// let images = filters.iter().map(|filter| Image::from_pixels(filter, 5, 5, 1));
    /// logger.log_images("filters/conv1", images, 0)?;
    /// // A batch: logger.log_images("digits", [Image::from_tensor(&batch, ImageLayout::Nchw)], 0)?
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`log_image`](Logger::log_image), where the number of pixels is that of the grid; no
    /// images at all, and encoded files.
    #[doc(alias("add_images", "make_grid"))]
    pub fn log_images<'a>(
        &self,
        tag: &str,
        images: impl IntoIterator<Item = Image<'a>>,
        step: impl Step,
    ) -> Result<()> {
        let call = self.begin(tag, step)?;
        let images = images.into_iter().map(|image| image.inspect_pixels(tag));
        let images: Vec<InspectedPixels<'_>> = images.collect::<Result<_>>()?;
        check_grid(tag, &images)?;
        let bytes = images.iter().map(InspectedPixels::bytes);
        call.send(bytes.fold(0, usize::saturating_add), || {
            let copied = images.iter().map(|image| image.copy(tag));
            Ok(PixelImages(copied.collect::<Result<_>>()?))
        })
    }

    /// Logs a picture of each matrix and of the filters of each convolution as
    /// `weight_images/<variable>`: what a layer looks at, units that are alike, units that are
    /// dead. Call it seldom: TensorBoard keeps ten pictures of a tag.
    ///
    /// Blue weights are negative, white ones 0, orange to red ones positive, magenta ones NaN or
    /// infinite. The range is the same to both sides and written below the picture: the largest
    /// magnitude, but for one weight in 200, which an outlier would be. A row is an output unit; of
    /// a convolution with at most four input channels the filters are in rows one after the other.
    /// Each weight is a block of pixels with sharp edges. Of what has more than 512 rows or columns
    /// (a matrix of 50 000 x 768) evenly spread ones are shown, and the picture says so.
    ///
    /// Variables that [`WeightOptions::select`](crate::WeightOptions::select) leaves out have no
    /// picture, nor have those of one dimension, and those that are not floating. The call copies
    /// what is shown, at most 1 MB of a variable in host memory; the rest is done on the writer
    /// thread.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// // A `VarStore` names the shapes of its variables; slices and vectors have one dimension.
    /// # #[cfg(feature = "tch")] {
    /// let vs = tch::nn::VarStore::new(tch::Device::Cpu);
    /// let _layer = tch::nn::conv2d(vs.root() / "conv", 3, 16, 5, Default::default());
    /// assert_eq!(logger.log_weight_images(&vs, 0)?, 1);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Returns the number of pictures that were accepted:
    /// [`OnFull::Drop`](crate::OnFull::Drop) gives up those for which there is no room.
    ///
    /// # Errors
    /// A step beyond `i64`, a closed logger, a tensor that cannot be copied. A store that another
    /// thread keeps locked is no error: see
    /// [`WeightOptions::store_timeout`](crate::WeightOptions::store_timeout).
    pub fn log_weight_images<S: NamedTensors + ?Sized>(
        &self,
        source: &S,
        step: impl Step,
    ) -> Result<usize> {
        let step = self.run.check_step("log_weight_images", step)?;
        self.core.check_may_wait("log_weight_images", &self.run)?;
        let is_wanted = |name: &str| self.core.selection.selects(name);
        let mut pictures = PictureSink::new(is_wanted);
        let mut logged = 0;
        loop {
            if !self.visit(source, &mut pictures)? {
                return Ok(logged);
            }
            // Behind the visit: no store is locked while a call waits for the writer thread.
            let (copied, is_more) = pictures.take()?;
            for pictured in copied {
                logged += usize::from(self.log_weight_image(pictured, step)?);
            }
            if !is_more {
                return Ok(logged);
            }
        }
    }

    /// False for a picture that was given up.
    fn log_weight_image(&self, pictured: Pictured, step: i64) -> Result<bool> {
        let Pictured {
            name,
            sheet,
            values,
        } = pictured;
        let tag = format!("{WEIGHT_IMAGES}/{}", self.full_tag(&name));
        let call = self.begin(&tag, step)?;
        let payload = TaggedPayload {
            description: heat_map::DESCRIPTION.into(),
            ..call.place().whole_tag(&tag, HeatMap { sheet, values })
        };
        call.send_whole(payload.into())
    }

    /// Logs a drawing, shown in the Images dashboard: `draw` gets the pixels, white and row by row
    /// from the top, as red, green and blue from 0 to 255. It is called at once; the picture is
    /// encoded by the writer thread.
    ///
    /// `plotters` draws into such a buffer by `BitMapBackend::with_buffer`: the example `gallery`
    /// shows how.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// let (width, height) = (64, 32);
    /// logger.log_figure("diagonal", width, height, |rgb| {
    ///     for y in 0..height {
    ///         let pixel = (y * width + 2 * y) * 3;
    ///         rgb[pixel..pixel + 3].fill(0);
    ///     }
    /// }, 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for no pixels, more than 178 956 970, and an error that `draw`
    /// returns; as [`log_text`](Logger::log_text).
    #[doc(alias("add_figure", "add_image_with_boxes"))]
    pub fn log_figure<D: Drawn>(
        &self,
        tag: &str,
        width: usize,
        height: usize,
        draw: impl FnOnce(&mut [u8]) -> D,
        step: impl Step,
    ) -> Result<()> {
        let call = self.begin(tag, step)?;
        // Before there is room for it: `draw` may log, too.
        let figure = Figure::draw(tag, width, height, draw)?;
        call.send(figure.bytes(), || Ok(figure))
    }

    /// Logs frames as a video, shown in the Images dashboard as an animated PNG: true colours, and
    /// repeated for ever. A batch of images is as many frames: a tensor of time, channels, height
    /// and width by `Image::from_tensor(&video, ImageLayout::Nchw)`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use tch_tensorboard::Image;
    ///
    /// let frames: Vec<[u8; 64]> = (0..8).map(|n| [n * 32; 64]).collect();
    /// let frames = frames.iter().map(|frame| Image::from_pixels(frame, 8, 8, 1));
    /// logger.log_video("episode", frames, 4.0, 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for no frames, frames of several sizes or more than 512 MB, and a
    /// rate that is not between 0.01 and 1000 frames a second; [`Error::InvalidImage`] for files,
    /// and as [`log_image`](Logger::log_image).
    #[doc(alias = "add_video")]
    pub fn log_video<'a>(
        &self,
        tag: &str,
        frames: impl IntoIterator<Item = Image<'a>>,
        frames_per_sec: f32,
        step: impl Step,
    ) -> Result<()> {
        let call = self.begin(tag, step)?;
        let video = InspectedVideo::of(tag, frames, frames_per_sec)?;
        call.send(video.bytes(), || video.copy(tag))
    }
}

/// The images can be shown as a grid.
fn check_grid(tag: &str, images: &[InspectedPixels<'_>]) -> Result<()> {
    let invalid = |reason: String| {
        Err(Error::InvalidImage {
            tag: tag.into(),
            reason: reason.into(),
        })
    };
    if images.is_empty() {
        return invalid("is a grid of no images; log it when there are some".into());
    }
    let sizes = images.iter().map(|image| image.size);
    let sizes = sizes.map(|size| ((size.width, size.height), size.images));
    let (width, height) = Grid::of(sizes).size();
    check_size(width, height).or_else(invalid)
}
