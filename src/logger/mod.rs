//! The front door: what a training loop calls.

mod board_url;
pub(crate) mod builder;
#[cfg(feature = "checkpoint")]
mod comparisons;
mod core;
mod dashboards;
mod models;
mod once;
mod opening;
mod payload_call;

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant, SystemTime};

use crate::analysis::tag_parts::{LEARNING_RATE, WEIGHT_IMAGES};
use crate::capture::plan::{Plan, Variable};
use crate::capture::{Captured, Subject};
use crate::error::{Error, Result};
use crate::logger::board_url::board_url;
use crate::logger::core::{Core, RunHandle, lock};
use crate::logger::models::{Channel, Models};
use crate::model::types::{Step, WallTime};
use crate::report::{Finding, WeightReport};
use crate::run::entry::RunEntry;
use crate::run::health::{Health, Stats};
use crate::source::copied::CopiedValues;
use crate::source::element_source::{FetchedScalar, PendingScalar};
use crate::source::first_values::FirstValues;
use crate::source::image::{CopiedPixels, Image, Inspected, check_size};
use crate::source::named_tensors::{NamedTensors, StoreWait, Visitor};
use crate::source::pictured::{PictureSink, Pictured};
use crate::source::values::{Scalar, ScalarValue, Values};
use crate::summary::heat_map::{self, HeatMap};
use crate::summary::histograms::HistogramValues;
use crate::summary::hparams::Status;
use crate::summary::images::{EncodedImage, Grid, PixelImages};
use crate::summary::scalars::DeviceScalar;
use crate::summary::text::Markdown;
use crate::summary::{TagText, TaggedPayload};
use crate::worker::Command;
use crate::worker::queue::Pushed;

/// Logs one run: scalars, histograms, and the weights of models.
///
/// Clones share one writer, and calls may come from any thread. Dropping the last clone writes what
/// is left; [`close`](Logger::close) does the same and says how it went.
///
/// The `log_*` calls return an error only for a mistake in the call (an empty tag, a complex
/// tensor, a closed logger). What data or a disk can cause is reported to
/// [`on_error`](crate::LoggerBuilder::on_error) and counted in [`stats`](Logger::stats), so that
/// `?` in a training loop never ends it. [`flush`](Logger::flush) and [`close`](Logger::close)
/// return it where something waits or is lost.
#[doc(alias("SummaryWriter", "FileWriter", "EventFileWriter"))]
pub struct Logger {
    core: Arc<Core>,
    run: Arc<RunHandle>,
    models: Arc<Models>,
    /// The losses that `flush` has returned to whoever holds this handle.
    acknowledged: AtomicU64,
    /// When what this handle logs was measured; `None` for the time of each call.
    wall_time: Option<WallTime>,
}

impl Clone for Logger {
    fn clone(&self) -> Logger {
        self.with(self.run.clone(), self.models.clone())
    }
}

/// A panic while a call is under way leaves the logger whole: nothing behind its locks can be half
/// changed, and a callback that panics is contained. So it may be used in `catch_unwind`, as test
/// harnesses and servers do.
impl UnwindSafe for Logger {}
impl RefUnwindSafe for Logger {}

impl Logger {
    /// The directory this logger writes to.
    pub fn logdir(&self) -> &Path {
        &self.run.directory
    }

    /// The step to go on with after [`resume`](crate::LoggerBuilder::resume): the first one that
    /// may be logged. `None` when the run is a new one.
    pub fn resumed_at(&self) -> Option<i64> {
        self.run.resumed_at
    }

    /// A logger for another model of the same run: its weights are shown as
    /// `weights/<name>/<variable>`, its own scalars as `<name>/<tag>`. Steps and history are apart.
    /// Scopes nest; the same name gives the same scope.
    ///
    /// # Errors
    /// [`Error::InvalidTag`] for an empty name or one that begins or ends with `/`.
    pub fn scoped(&self, name: &str) -> Result<Logger> {
        if name.is_empty() || name.starts_with('/') || name.ends_with('/') {
            let reason = "a scope needs a name that neither begins nor ends with '/'";
            return Err(Error::InvalidTag {
                tag: name.into(),
                reason: reason.into(),
            });
        }
        let scope = match &*self.models.scope {
            "" => name.to_owned(),
            outer => format!("{outer}/{name}"),
        };
        let models = self.core.models(&self.run, &scope);
        Ok(self.with(self.run.clone(), models))
    }

    /// A logger for a directory below, such as `val`: TensorBoard shows the same tag of both in one
    /// chart. It shares the writer thread; the same name gives the same sub-run.
    ///
    /// # Errors
    /// [`Error::InvalidTag`] for a name that is no relative path downwards, and what
    /// [`Logger::create`] can return.
    pub fn subrun(&self, name: &str) -> Result<Logger> {
        let below = Path::new(name);
        if name.is_empty()
            || !below
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
        {
            let reason = "a sub-run needs a name below the run: no '..', no absolute path";
            return Err(Error::InvalidTag {
                tag: name.into(),
                reason: reason.into(),
            });
        }
        self.core.check_may_wait("subrun", &self.run)?;
        let wanted = self.run.directory.join(below);
        let _making = lock(&self.core.making_subrun);
        let known = self.core.registry().runs.get(&wanted).cloned();
        let run = match known {
            Some(run) => run,
            None => {
                let (opened, resumed_at) = self.core.opening.open_run(&wanted)?;
                let run = self.core.open(opened, resumed_at)?;
                self.core.registry().runs.insert(wanted, run.clone());
                run
            }
        };
        let models = self.core.models(&run, &self.models.scope);
        Ok(self.with(run, models))
    }

    /// Another handle of the same writer.
    fn with(&self, run: Arc<RunHandle>, models: Arc<Models>) -> Logger {
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        Logger {
            core: self.core.clone(),
            run,
            models,
            acknowledged: AtomicU64::new(acknowledged),
            wall_time: self.wall_time,
        }
    }

    /// A logger of which all calls have this wall time, rather than that of the call: for what was
    /// measured earlier, such as the log of another program.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use std::time::{Duration, UNIX_EPOCH};
    ///
    /// for (secs, loss) in [(1_700_000_000, 0.7), (1_700_000_060, 0.4)] {
    ///     let then = logger.at_time(UNIX_EPOCH + Duration::from_secs(secs));
    ///     then.log_scalar("loss", loss, secs)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "walltime")]
    pub fn at_time(&self, time: SystemTime) -> Logger {
        let mut then = self.clone();
        then.wall_time = Some(WallTime::of(time));
        then
    }

    /// Describes a tag, of any dashboard: a title that the classic dashboards show in place of the
    /// tag, and a text in Markdown behind its information icon. Either may be empty. Call it before
    /// the first value of the tag: TensorBoard keeps what comes with that.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// logger.describe_tag("loss/train", "Training loss", "Cross entropy, **with** smoothing.")?;
    /// logger.log_scalar("loss/train", 0.7, 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidTag`] for an empty tag, [`Error::Closed`] for a closed logger.
    #[doc(alias = "summary_description")]
    pub fn describe_tag(&self, tag: &str, display_name: &str, description: &str) -> Result<()> {
        let call = self.begin_of_run(tag)?;
        let text = TagText {
            display_name: display_name.into(),
            description: description.into(),
        };
        let tag = self.full_tag(tag);
        call.send_whole(RunEntry::Text(tag, text)).map(drop)
    }

    /// The wall time of a call.
    fn now(&self) -> WallTime {
        self.wall_time.unwrap_or_else(WallTime::now)
    }

    /// Logs one number, or a tensor of one element, without waiting for its device. Stored as
    /// `f32`, as TensorBoard knows scalars: integers above 2^24 are rounded, and numbers beyond
    /// 3.4e38 become infinite. Charts mark NaN and infinite points and draw the others as usual.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// for step in 0..3 {
    ///     logger.log_scalar("loss/train", 1.0 / (step + 1) as f64, step)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// An empty tag, a step beyond `i64`, a tensor that has not one element or is complex, a closed
    /// logger.
    #[doc(alias = "add_scalar")]
    pub fn log_scalar(&self, tag: &str, value: impl ScalarValue, step: impl Step) -> Result<()> {
        self.log_scalars(&[(tag, value)], step)
    }

    /// Logs several scalars of one step as one event: one wall time, one record. Those on an
    /// accelerator follow in events of their own. For values of several types: `&[("loss",
    /// Scalar::from(&loss)), ("rate", 0.1.into())]`, with [`Scalar`](crate::Scalar).
    ///
    /// # Errors
    /// As [`log_scalar`](Logger::log_scalar); then none of them is logged.
    #[doc(alias("add_scalars", "add_scalar"))]
    pub fn log_scalars<V: ScalarValue>(&self, values: &[(&str, V)], step: impl Step) -> Result<()> {
        let since = Instant::now();
        let wall_time = self.now();
        self.core.check_open(&self.run)?;
        let first = values.first().map_or("", |(tag, _)| tag);
        let step = self.run.check_step(first, step)?;
        let scope = &*self.models.scope;
        let mut waited = Duration::ZERO;
        // By far the most frequent: no list to make.
        if let [(tag, value)] = values {
            match fetch(tag, value)? {
                FetchedScalar::Now(number) if self.repeats_learning_rate(tag, number, step) => {}
                FetchedScalar::Now(number) => {
                    waited = self.push(step, wall_time, [(scope, *tag, number)])?
                }
                FetchedScalar::Later(tensor) => {
                    self.send_device_scalar(tag, tensor, step, wall_time)
                }
            }
        } else {
            let (mut numbers, mut tensors) = (Vec::with_capacity(values.len()), Vec::new());
            for (tag, value) in values {
                match fetch(tag, value)? {
                    FetchedScalar::Now(number) if self.repeats_learning_rate(tag, number, step) => {
                    }
                    FetchedScalar::Now(number) => numbers.push((scope, *tag, number)),
                    FetchedScalar::Later(tensor) => tensors.push((tag, tensor)),
                }
            }
            if !numbers.is_empty() {
                waited = self.push(step, wall_time, numbers)?;
            }
            for (tag, tensor) in tensors {
                self.send_device_scalar(tag, tensor, step, wall_time);
            }
        }
        self.core.shared.health.held(since.elapsed(), waited);
        Ok(())
    }

    /// The worker reads it.
    fn send_device_scalar(
        &self,
        tag: &str,
        tensor: Box<dyn PendingScalar>,
        step: i64,
        wall_time: WallTime,
    ) {
        let payload = TaggedPayload {
            step,
            wall_time,
            tag: self.full_tag(tag),
            description: "".into(),
            payload: Box::new(DeviceScalar(tensor)),
        };
        let _ = self.core.send_entry(&self.run, payload.into());
    }

    fn push<'a>(
        &self,
        step: i64,
        wall_time: WallTime,
        scalars: impl IntoIterator<Item = (&'a str, &'a str, f64)>,
    ) -> Result<Duration> {
        let (queue, on_full) = (&self.core.shared.queue, self.core.on_full());
        let (pushed, waited) = queue.push(self.run.number, step, wall_time, scalars, on_full);
        self.core.count(pushed);
        if pushed == Pushed::Look {
            self.core.check_process(&self.run)?;
        }
        Ok(waited)
    }

    /// Logs the distribution of many values: a tensor of any kind and device, or a slice of
    /// numbers. NaN and infinite elements are left out. Shown in the Histograms and Distributions
    /// dashboards.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// logger.log_histogram("activations/relu1", &[0.0_f32, 0.5, 2.0], 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// An empty tag, a step beyond `i64`, an undefined or complex tensor, a closed logger.
    #[doc(alias = "add_histogram")]
    pub fn log_histogram<V: Values + ?Sized>(
        &self,
        tag: &str,
        values: &V,
        step: impl Step,
    ) -> Result<()> {
        let call = self.begin(tag, step)?;
        let source = values.source();
        let source = source.elements();
        let layout = source.inspect(tag)?;
        let rows = self.core.selection.options.histogram_rows;
        call.send(layout.bytes(), || {
            HistogramValues::copy(tag, source, &layout, rows)
        })
    }

    /// Logs a text in Markdown, shown in the Text dashboard: samples that a model generates, a
    /// table of settings, a note.
    ///
    /// TensorBoard renders headings, lists, tables, links and code, and removes raw HTML. Its fast
    /// loader keeps 100 texts of a tag, its Python loader 10.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// logger.log_text("settings", "| rate | batch |\n| --- | --- |\n| 1e-3 | 64 |", 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidTag`] for an empty tag, [`Error::InvalidStep`] for a step beyond `i64` or
    /// before the one at which the run was resumed, [`Error::Closed`] for a closed logger.
    #[doc(alias = "add_text")]
    pub fn log_text(&self, tag: &str, markdown: &str, step: impl Step) -> Result<()> {
        let call = self.begin(tag, step)?;
        call.send(markdown.len(), || Ok(Markdown(markdown.to_owned())))
    }

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
        let inspected = image.inspect(tag)?;
        let bytes = inspected.bytes();
        match inspected {
            Inspected::File {
                file,
                width,
                height,
            } => call.send(bytes, || {
                Ok(EncodedImage {
                    width,
                    height,
                    file: file.to_vec(),
                })
            }),
            Inspected::Pixels { size, .. } if size.images > 1 => Err(Error::InvalidImage {
                tag: tag.into(),
                reason: format!(
                    "is a batch of {} images; log_images shows them as a grid",
                    size.images
                )
                .into(),
            }),
            pixels => call.send(bytes, || Ok(PixelImages(CopiedPixels::of(tag, [pixels])?))),
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
        let images = images.into_iter().map(|image| image.inspect(tag));
        let images: Vec<Inspected<'_>> = images.collect::<Result<_>>()?;
        check_grid(tag, &images)?;
        let bytes = images.iter().map(Inspected::bytes).sum();
        call.send(bytes, || Ok(PixelImages(CopiedPixels::of(tag, images)?)))
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
    /// Returns the number of pictures.
    ///
    /// # Errors
    /// A step beyond `i64`, a closed logger, a store that cannot be read.
    pub fn log_weight_images<S: NamedTensors + ?Sized>(
        &self,
        source: &S,
        step: impl Step,
    ) -> Result<usize> {
        let step = self.run.check_step("log_weight_images", step)?;
        self.core.check_may_wait("log_weight_images", &self.run)?;
        let mut wait = StoreWait {
            patience: self.core.selection.options.store_timeout,
            ..StoreWait::default()
        };
        let mut pictures = PictureSink::new(|pictured| self.log_weight_image(&pictured, step));
        source.visit(&mut Visitor::new(&mut pictures, &mut wait))?;
        pictures.finish()
    }

    /// False for a variable that is left out.
    fn log_weight_image(&self, pictured: &Pictured<'_>, step: i64) -> Result<bool> {
        let Pictured {
            name,
            source,
            layout,
            sheet,
        } = pictured;
        if name.is_empty() || !self.core.selection.selects(name) {
            return Ok(false);
        }
        let tag = format!("{WEIGHT_IMAGES}/{}", self.full_tag(name));
        let call = self.begin(&tag, step)?;
        let (place, elements) = (call.place(), sheet.elements());
        call.send_entry(elements * layout.dtype.size(), || {
            let values = CopiedValues::chosen(name, *source, layout, elements, sheet.numbers())?;
            let sheet = sheet.clone();
            let payload = TaggedPayload {
                description: heat_map::DESCRIPTION.into(),
                ..place.whole_tag(&tag, HeatMap { sheet, values })
            };
            Ok(payload.into())
        })?;
        Ok(true)
    }

    /// Logs the weights of a model, and what changed since the call before: call it after each
    /// optimizer step.
    ///
    /// Copies the selected tensors once; everything else happens on the writer thread. A delta is
    /// that of one step, however far apart the points lie: the first call has none, nor does one
    /// after a gap that [`OnFull::Drop`](crate::OnFull::Drop) left, nor the one after
    /// [`new_baseline`](Logger::new_baseline). Calls between which no weight moved (gradient
    /// accumulation, the other model's turn) are no steps and write nothing, up to the twentieth in
    /// a row: standing still is worth seeing. A variable whose shape or type changes starts anew.
    ///
    /// No other thread may write to the weights during the call, as for any read by libtorch.
    ///
    /// A model of `n` bytes takes memory for up to three copies beside itself: the snapshot before,
    /// the one that is analysed, the one that is made. Where the system has no room for all of them
    /// the calls wait for those that exist, which is reported once; with a single one the changes
    /// between calls cannot be written. [`close`](Logger::close) gives all of it back. For less,
    /// choose variables with [`select`](crate::WeightOptions::select) or copy a sample with
    /// [`sample_limit`](crate::WeightOptions::sample_limit).
    ///
    /// # Errors
    /// A step that does not increase within this scope, the same name twice, nothing but complex or
    /// undefined tensors (one among others is left out, and the report has a note on it), a closed
    /// logger. A store that another thread keeps locked is no error: see
    /// [`WeightOptions::store_timeout`](crate::WeightOptions::store_timeout).
    #[doc(alias("watch", "add_histogram", "named_parameters"))]
    pub fn log_weights<S: NamedTensors + ?Sized>(&self, source: &S, step: impl Step) -> Result<()> {
        let step = self.run.check_step("log_weights", step)?;
        self.log_subject(Subject::Weights, source, step)?;
        let rate = {
            let mut rate = lock(&self.models.learning_rate);
            let is_new = std::mem::take(&mut rate.is_new) && !rate.is_logged_by_user;
            rate.written_at = if is_new { Some(step) } else { rate.written_at };
            rate.value.filter(|_| is_new)
        };
        if let Some(rate) = rate {
            let scope = &*self.models.scope;
            self.push(step, self.now(), [(scope, LEARNING_RATE, rate)])?;
        }
        Ok(())
    }

    /// True for a scalar of the user's that says the rate once more that `log_weights` has written
    /// at this step: the two are one series.
    fn repeats_learning_rate(&self, tag: &str, value: f64, step: i64) -> bool {
        if tag != LEARNING_RATE {
            return false;
        }
        let mut rate = lock(&self.models.learning_rate);
        rate.is_logged_by_user = true;
        let is_same = |written: f64| written as f32 == value as f32;
        rate.written_at == Some(step) && rate.value.is_some_and(is_same)
    }

    /// Logs the gradients that the last backward pass left: norms and histograms. Call it after
    /// `backward` and before they are cleared; `Optimizer::backward_step` leaves them in place.
    /// Variables without a gradient write nothing.
    ///
    /// # Errors
    /// As [`log_weights`](Logger::log_weights).
    #[doc(alias("watch", "add_histogram"))]
    pub fn log_gradients<S: NamedTensors + ?Sized>(
        &self,
        source: &S,
        step: impl Step,
    ) -> Result<()> {
        let step = self.run.check_step("log_gradients", step)?;
        self.log_subject(Subject::Gradients, source, step)
    }

    fn log_subject<S: NamedTensors + ?Sized>(
        &self,
        subject: Subject,
        source: &S,
        step: i64,
    ) -> Result<()> {
        let since = Instant::now();
        let wall_time = self.now();
        let (call, channel) = match subject {
            Subject::Weights => ("log_weights", &self.models.weights),
            Subject::Gradients => ("log_gradients", &self.models.gradients),
        };
        self.core.check_may_wait(call, &self.run)?;
        let mut channel = lock(channel);
        let meter = channel.capture.meter();
        if subject == Subject::Weights && self.models.rebase.swap(false, Ordering::AcqRel) {
            channel.capture.rebase();
        }
        if let Some(rate) = lock(&self.models.learning_rate).value {
            channel.capture.set_learning_rate(rate);
        }
        let (captured, waited) = channel.capture.take(source, step, wall_time)?;
        for warning in channel.capture.take_warnings() {
            self.core.shared.health.warn(&warning);
        }
        match captured {
            Captured::Snapshot(snapshot) => {
                let watch = self.watch(&mut channel, subject, &snapshot.plan);
                if !self.core.send(Command::Snapshot { watch, snapshot }) {
                    channel.capture.lost();
                }
            }
            Captured::Skipped => {}
            Captured::Dropped => Health::count(&self.core.shared.health.dropped, 1),
        }
        let shared = &self.core.shared;
        let elapsed = since.elapsed();
        shared.health.held(elapsed, waited);
        let spent = meter.spent(elapsed.saturating_sub(waited));
        shared.costs.add_caller(spent);
        Ok(())
    }

    /// The worker's number for a channel, announced before its first snapshot.
    fn watch(&self, channel: &mut Channel, subject: Subject, plan: &Plan) -> u32 {
        *channel.watch.get_or_insert_with(|| {
            let watch = {
                let mut registry = self.core.registry();
                registry.watches += 1;
                registry.watches
            };
            let (scope, selection) = (self.models.scope.clone(), self.core.selection.clone());
            let pool = channel.capture.pool().clone();
            let first_values = match subject {
                Subject::Weights => lock(&self.models.first_values).take(),
                Subject::Gradients => None,
            };
            if let Some(first_values) = &first_values {
                self.warn_of_unmatched(&**first_values, plan);
            }
            let _ = self.core.commands.send(Command::Watch {
                watch,
                run: self.run.number,
                subject,
                scope,
                selection,
                pool,
                first_values,
            });
            watch
        })
    }

    /// Sets the learning rate that the diagnosis of this scope uses, since tch does not expose it:
    /// with it a rate of 0 and updates lost to rounding are distinguished from an optimizer that
    /// does not have the variable. The next call of `log_weights` writes it as the scalar
    /// `learning_rate`. With several parameter groups, set that of the first.
    pub fn set_learning_rate(&self, rate: f64) {
        let mut known = lock(&self.models.learning_rate);
        (known.value, known.is_new) = (Some(rate), true);
    }

    /// The weights were replaced on purpose (a checkpoint was loaded): the next call of
    /// `log_weights` writes no delta, and drift counts from there.
    pub fn new_baseline(&self) {
        self.models.rebase.store(true, Ordering::Release);
    }

    /// Reports the variables whose drift is that from the first call all the same.
    fn warn_of_unmatched(&self, first_values: &dyn FirstValues, plan: &Plan) {
        const NAMED: usize = 10;
        let is_unmatched = |variable: &&Variable| {
            variable.is_logged() && !first_values.has(&variable.name, variable.all)
        };
        let unmatched: Vec<&Variable> = plan.variables.iter().filter(is_unmatched).collect();
        if unmatched.is_empty() {
            return;
        }
        let names = unmatched.iter().take(NAMED).map(|variable| &*variable.name);
        let more = match unmatched.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        self.core.shared.health.warn(&Error::InvalidOption {
            option: "baseline",
            reason: format!(
                "it has no tensors of these names and sizes, whose drift is that from the first \
                    call: {}{more}",
                names.collect::<Vec<_>>().join(", ")
            )
            .into(),
        });
    }

    /// What is known of each variable, over all scopes and sub-runs, when everything logged so far
    /// has been analysed.
    ///
    /// # Errors
    /// [`Error::WorkerStopped`]. After [`close`](Logger::close) it is the report of the end.
    pub fn weight_report(&self) -> Result<WeightReport> {
        if !self.core.is_closed() {
            let (answer, report) = sync_channel(1);
            if let Some(report) = self.core.ask(Command::Report(answer), &report) {
                return Ok(report);
            }
        }
        self.try_weight_report()
            .ok_or_else(|| self.core.stopped(&self.run))
    }

    /// The newest report without waiting, at most about a second old; `None` before the first.
    pub fn try_weight_report(&self) -> Option<WeightReport> {
        lock(&self.core.shared.report).as_deref().cloned()
    }

    /// What was found since the last call, over all scopes and sub-runs, without waiting: for a
    /// loop that stops, or lowers the rate. A finding is returned once when it is confirmed, and
    /// once more, with [`over_since`](Finding::over_since) set, when the fault has ended: leave
    /// those out before you stop a run. It follows the step by the time that the writer thread
    /// needs. At most 10 000 wait.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// let begun = |finding: &tch_tensorboard::Finding| finding.over_since.is_none();
    /// for finding in logger.take_findings().into_iter().filter(begun) {
    ///     eprintln!("{finding}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_findings(&self) -> Vec<Finding> {
        lock(&self.core.shared.findings).drain(..).collect()
    }

    /// The address of TensorBoard's Time Series page with the telling cards pinned, for a server at
    /// `base` such as `http://localhost:6006`.
    pub fn board_url(&self, base: &str) -> String {
        let (answer, telling) = sync_channel(1);
        let run = self.run.number;
        let asked = Command::Telling { run, answer };
        let tags = if self.core.is_closed() {
            None
        } else {
            self.core.ask(asked, &telling)
        };
        let tags = tags.unwrap_or_else(|| {
            lock(&self.core.shared.telling)
                .get(&run)
                .cloned()
                .unwrap_or_default()
        });
        board_url(base, &tags)
    }

    /// What the logger has done so far, over all clones.
    pub fn stats(&self) -> Stats {
        let costs = &self.core.shared.costs;
        Stats {
            unobserved: costs.unobserved(),
            spent: costs.spent(),
            ..self.core.shared.health.stats()
        }
    }

    /// Returns when everything logged before is in the files, handed to the operating system. `Ok`
    /// acknowledges a checkpoint: all that was logged before it can be read.
    ///
    /// A fault that is over and cost nothing is no error here; [`stats`](Logger::stats) counts it
    /// and [`on_error`](crate::LoggerBuilder::on_error) has reported it.
    ///
    /// # Errors
    /// [`Error::Io`] while something logged before waits in memory for a disk that refuses it; it
    /// is tried again. The error of something lost since the last `flush` of this handle; other
    /// clones return it too. [`Error::Closed`] after [`close`](Logger::close). Calls given up under
    /// [`OnFull::Drop`](crate::OnFull::Drop) are no error.
    pub fn flush(&self) -> Result<()> {
        self.core.check_may_wait("flush", &self.run)?;
        let (answer, flushed) = sync_channel(1);
        let flush = Command::Flush {
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            answer,
        };
        let flushed = self.core.ask(flush, &flushed);
        let flushed = flushed.ok_or_else(|| self.core.stopped(&self.run))?;
        self.acknowledged
            .fetch_max(flushed.acknowledged, Ordering::Relaxed);
        flushed.result
    }

    /// Writes the newest weights if their cadence left them out, flushes, and ends the writer
    /// thread. Other clones are closed with it. A disk that refuses the rest is tried for two
    /// seconds; then the rest is dropped and counted.
    ///
    /// # Errors
    /// The first loss of the run, also when a [`flush`](Logger::flush) has returned it.
    pub fn close(&self) -> Result<()> {
        self.core.check_thread("close", &self.run)?;
        self.core
            .close(Status::Success)
            .unwrap_or_else(|| Err(self.core.stopped(&self.run)))
    }

    fn full_tag(&self, tag: &str) -> Box<str> {
        match &*self.models.scope {
            "" => tag.into(),
            scope => format!("{scope}/{tag}").into(),
        }
    }
}

impl std::fmt::Debug for Logger {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Logger");
        shown
            .field("logdir", &self.run.directory)
            .field("scope", &self.models.scope)
            .finish_non_exhaustive()
    }
}

/// The images can be shown as a grid.
fn check_grid(tag: &str, images: &[Inspected<'_>]) -> Result<()> {
    let invalid = |reason: String| {
        Err(Error::InvalidImage {
            tag: tag.into(),
            reason: reason.into(),
        })
    };
    let mut sizes = Vec::new();
    for image in images {
        match image {
            Inspected::Pixels { size, .. } => {
                sizes.extend(std::iter::repeat_n((size.width, size.height), size.images));
            }
            Inspected::File { .. } => {
                return invalid("a grid takes pixels; log an encoded file by log_image".into());
            }
        }
    }
    if sizes.is_empty() {
        return invalid("is a grid of no images; log it when there are some".into());
    }
    let (width, height) = Grid::of(sizes.into_iter()).size();
    check_size(width, height).or_else(invalid)
}

fn fetch<V: ScalarValue>(tag: &str, value: &V) -> Result<FetchedScalar> {
    check_tag(tag)?;
    match value.scalar() {
        Scalar::Number(number) => Ok(FetchedScalar::Now(number)),
        Scalar::Source(source) => source.fetch(tag),
    }
}

fn check_tag(tag: &str) -> Result<()> {
    if tag.is_empty() {
        return Err(Error::InvalidTag {
            tag: tag.into(),
            reason: "a tag must not be empty; use a name like \"loss/train\"".into(),
        });
    }
    Ok(())
}
