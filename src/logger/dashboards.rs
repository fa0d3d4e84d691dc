//! The calls that fill TensorBoard's other dashboards, a method each.

use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::logger::core::lock;
use crate::logger::payload_call::PayloadCall;
use crate::logger::{Logger, check_tag};
use crate::model::types::Step;
use crate::proto::{Event, event::What};
use crate::run::entry::RunEntry;
use crate::source::named_tensors::NamedTensors;
use crate::source::values::{Scalar, ScalarValue};
use crate::summary::audio::Audio;
use crate::summary::charts::{self, ChartCategory, OWN_CATEGORY};
use crate::summary::custom_scalars;
use crate::summary::graph;
use crate::summary::hparams::{self, HParams, SessionStart};
use crate::summary::mesh::Mesh;
use crate::summary::pr_curves::{self, PrCurve};

/// The tag under which loaders keep the graph of a run.
const GRAPH: &str = "__run_graph__";

impl Logger {
    /// Logs precision and recall of a classifier over all thresholds, shown in the PR Curves
    /// dashboard with a slider over the steps. TensorBoard keeps 100 curves of a tag.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use tch_tensorboard::PrCurve;
    ///
    /// let (labels, scores) = ([true, false, true], [0.9_f32, 0.4, 0.3]);
    /// logger.log_pr_curve("pr/cat", PrCurve::new(&labels, &scores), 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for lengths that differ, no labels, and
    /// fewer than 2 or more than 1000 thresholds;
    /// [`Error::UnsupportedTensor`], and as
    /// [`log_text`](Logger::log_text). Scores beyond 0 to 1 and labels that are neither are
    /// reported to [`on_error`](crate::LoggerBuilder::on_error).
    pub fn log_pr_curve(&self, tag: &str, curve: PrCurve<'_>, step: impl Step) -> Result<()> {
        let call = self.begin(tag, step)?;
        let curve = curve.inspect(tag, None)?;
        let (place, bytes) = (call.place(), curve.bytes());
        call.send_entry(bytes, || {
            let curves = curve.copy(tag, None)?.into_iter();
            let curves = curves.map(|curve| place.payload(tag, curve));
            Ok(RunEntry::Payloads(curves.collect()))
        })
    }

    /// Logs a curve of each class against all others, as `<tag>/<class>`. Labels are numbers of
    /// classes from 0 on; the scores are a row for each label, with a column for each class.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use tch_tensorboard::PrCurve;
    ///
    /// let softmax = [0.7_f32, 0.2, 0.1, /* next sample */ 0.1, 0.3, 0.6];
    /// let curves = PrCurve::new(&[0_i64, 2], &softmax);
    /// logger.log_pr_curves("pr", curves, &["cat", "dog", "bird"], 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`log_pr_curve`](Logger::log_pr_curve); no classes, more than 1000, one without a name.
    pub fn log_pr_curves(
        &self,
        tag: &str,
        curves: PrCurve<'_>,
        classes: &[&str],
        step: impl Step,
    ) -> Result<()> {
        let call = self.begin(tag, step)?;
        pr_curves::check_classes(tag, classes)?;
        let curves = curves.inspect(tag, Some(classes.len()))?;
        let (place, bytes) = (call.place(), curves.bytes());
        call.send_entry(bytes, || {
            let curves = curves.copy(tag, Some(classes.len()))?;
            let named = std::iter::zip(curves, classes);
            let named = named.map(|(curve, class)| place.payload(&format!("{tag}/{class}"), curve));
            Ok(RunEntry::Payloads(named.collect()))
        })
    }

    /// Logs the hyperparameters of this run, shown as a line of the table in the HParams dashboard,
    /// with parallel coordinates and a scatter plot of all runs below the log directory. Runs may
    /// have different ones. Each trial needs a run of its own: another logger, or a
    /// [`subrun`](Logger::subrun).
    ///
    /// The metrics of the table are the newest values of the run's scalars, and those of runs in
    /// directories below it. TensorBoard shows five columns of either at first, in the order of
    /// their names; a tag such as `hparam/accuracy` comes before those of `log_weights`. Steps of
    /// metrics beyond 2^31 - 1 make its table fail.
    ///
    /// [`close`](Logger::close) records that the run has succeeded, a panic that drops the logger
    /// that it has failed, and another drop that its end is not known; a run without an end is
    /// shown as running. TensorBoard keeps what comes first: a run that is resumed keeps
    /// hyperparameters and end of its first session.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use tch_tensorboard::HParams;
    ///
    /// let params = HParams::new()
    ///     .with("rate", 1e-3)
    ///     .with("optimizer", "adam")
    ///     .with("augment", true);
    /// logger.log_hparams(params)?;
    /// logger.log_scalar("hparam/accuracy", 0.98, 1000)?;
    /// logger.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for none at all, one without a name, a number that is not finite,
    /// and a second call for one run; [`Error::Closed`] for a closed logger.
    pub fn log_hparams(&self, params: HParams) -> Result<()> {
        let call = self.begin_of_run(hparams::START)?;
        params.check()?;
        if self.run.has_hparams.swap(true, Ordering::Relaxed) {
            let reason = "this run has its hyperparameters, and TensorBoard keeps the first; log \
                          another trial to a run of its own";
            return Err(Error::value("hyperparameters", hparams::START, reason));
        }
        let (place, bytes) = (call.place(), params.bytes());
        let wall_time = place.wall_time();
        call.send_entry(bytes, || {
            let start = SessionStart { params, wall_time };
            Ok(place.of_the_run(hparams::START, start).into())
        })
    }

    /// Logs a sound clip, played in the Audio dashboard as 16-bit WAV. TensorBoard keeps ten clips
    /// of a tag.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use tch_tensorboard::Audio;
    ///
    /// let tone: Vec<f32> = (0..8000).map(|n| (n as f32 * 0.345).sin()).collect();
    /// logger.log_audio("generated", Audio::mono(&tone, 8000), 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for no samples, more than 2^27, channels that differ in length, a
    /// rate of 0 or above 1 000 000, and samples that are neither floating nor `i16`;
    /// [`Error::UnsupportedTensor`], and as [`log_text`](Logger::log_text).
    pub fn log_audio(&self, tag: &str, clip: Audio<'_>, step: impl Step) -> Result<()> {
        let call = self.begin(tag, step)?;
        let clip = clip.inspect(tag)?;
        call.send(clip.bytes(), || clip.copy(tag))
    }

    /// Logs several values as one chart of the Custom Scalars dashboard, in the category *Charts*:
    /// those of `loss` with the names `train` and `val` as the scalars `loss/train` and `loss/val`.
    /// They are one run, where `add_scalars` of PyTorch makes a run of each, and cards of the
    /// Scalars and Time Series dashboards as all others.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// for step in 0..10 {
    ///     let loss = 1.0 / f64::from(step + 1);
    ///     logger.log_scalars_chart("loss", &[("train", loss), ("val", loss + 0.1)], step)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`log_scalars`](Logger::log_scalars); an empty name, or no values.
    pub fn log_scalars_chart<V: ScalarValue>(
        &self,
        chart: &str,
        values: &[(&str, V)],
        step: impl Step,
    ) -> Result<()> {
        check_tag(chart)?;
        let named = values.iter().map(|(name, value)| {
            check_tag(name)?;
            Ok((format!("{chart}/{name}"), value.scalar()))
        });
        let named: Vec<(String, Scalar<'_>)> = named.collect::<Result<_>>()?;
        let tagged: Vec<(&str, Scalar<'_>)> = named
            .iter()
            .map(|(tag, value)| (tag.as_str(), *value))
            .collect();
        if tagged.is_empty() {
            let reason = "has no values; the chart would stay empty";
            return Err(Error::value("chart", chart, reason));
        }
        self.log_scalars(&tagged, step)?;
        let tag = self.full_tag(chart);
        if lock(&self.run.charts).insert(tag.clone()) {
            let chart = custom_scalars::group(&tag, &tag);
            let chart = RunEntry::Chart(OWN_CATEGORY.into(), chart);
            return self.begin_of_run(&tag)?.send_entry(0, || Ok(chart));
        }
        Ok(())
    }

    /// Arranges scalars in charts of your own, shown in the Custom Scalars dashboard before the
    /// charts that [`log_weights`](Logger::log_weights) makes. A category of the same title as one
    /// before takes its place; in one that has the title of a generated category, your charts come
    /// first. Tags are those of this logger, with its scope.
    ///
    /// TensorBoard merges the categories of all runs by their titles, and reads the layout once its
    /// page is loaded.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use tch_tensorboard::{ChartCategory, CustomChart};
    ///
    /// logger.log_layout(&[ChartCategory::new(
    ///     "Progress",
    ///     [
    ///         CustomChart::lines("Losses", ["loss/train", "loss/val"]),
    ///         CustomChart::band("Accuracy", "acc/mean", "acc/low", "acc/high"),
    ///     ],
    /// )])?;
    /// let accuracy = [("acc/mean", 0.8), ("acc/low", 0.7), ("acc/high", 0.9)];
    /// logger.log_scalars(&accuracy, 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a category or chart without a title, one that would stay empty,
    /// a pattern that cannot be read, and more than 1000 charts; [`Error::Closed`] for a closed
    /// logger.
    pub fn log_layout(&self, layout: &[ChartCategory]) -> Result<()> {
        let call = self.begin_of_run(custom_scalars::TAG)?;
        let categories = charts::categories(layout, &|tag| self.full_tag(tag))?;
        call.send_entry(0, || Ok(RunEntry::Charts(categories)))
    }

    /// Logs points in space, with triangles and colours or without, shown in the Mesh dashboard.
    /// Its parts have tags of their own: `<tag>_VERTEX`, `<tag>_FACE` and `<tag>_COLOR`.
    ///
    /// TensorBoard gives the page each coordinate as text: a mesh of more than 100 000 vertices
    /// takes seconds to show. Its fast loader keeps 100 of a tag, its Python loader 10.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use tch_tensorboard::Mesh;
    ///
    /// let corners = [0.0_f32, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    /// let faces = [0, 2, 1, 0, 1, 3, 0, 3, 2, 1, 2, 3];
    /// logger.log_mesh("tetrahedron", Mesh::new(&corners).faces(&faces), 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for shapes that are not `[n, 3]` or `[batch, n, 3]` or do not fit
    /// each other, no vertices, more than 2 000 000, and a configuration that is no JSON object;
    /// [`Error::UnsupportedTensor`], and as [`log_text`](Logger::log_text). Coordinates that are
    /// not finite and places that no vertex has are reported to
    /// [`on_error`](crate::LoggerBuilder::on_error).
    pub fn log_mesh(&self, tag: &str, mesh: Mesh<'_>, step: impl Step) -> Result<()> {
        let call = self.begin(tag, step)?;
        let mesh = mesh.inspect(tag)?;
        let (place, name) = (call.place(), self.full_tag(tag));
        call.send_entry(mesh.bytes(), || {
            let parts = mesh.copy(&name)?.into_iter();
            let parts = parts.map(|(tag, part)| place.whole_tag(&tag, part));
            Ok(RunEntry::Payloads(parts.collect()))
        })
    }

    /// Shows the modules of a model in the Graphs dashboard: a box for each part of the variables'
    /// names, and in it the variables with shapes, types and roles, and how many parameters there
    /// are below. An edge leads from a part to what it is a part of: which values flow where is not
    /// known of a `VarStore`.
    ///
    /// A run has one graph. That of a second model goes to a [`subrun`](Logger::subrun).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// let model = [("conv1.weight", vec![0.0_f32; 288]), ("conv1.bias", vec![0.0; 32])];
    /// logger.log_graph(&model)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a model without variables, one of more than 100 000 nodes, and a
    /// second graph of a run; what the source returns; [`Error::Closed`] for a closed logger.
    pub fn log_graph<S: NamedTensors + ?Sized>(&self, model: &S) -> Result<()> {
        let call = self.begin_of_run(GRAPH)?;
        self.send_graph(call, graph::of_model(model)?)
    }

    /// Shows a serialized `GraphDef`, such as TensorFlow or PyTorch's `torch.utils.tensorboard`
    /// make, in the Graphs dashboard. It is stored as it is.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for bytes that are no graph, a graph without nodes, and a second one
    /// of a run; [`Error::Closed`] for a closed logger.
    pub fn log_graph_def(&self, graph: &[u8]) -> Result<()> {
        let call = self.begin_of_run(GRAPH)?;
        graph::check(graph)?;
        self.send_graph(call, graph.to_vec())
    }

    fn send_graph(&self, call: PayloadCall<'_>, graph: Vec<u8>) -> Result<()> {
        if self.run.has_graph.swap(true, Ordering::Relaxed) {
            let reason = "this run has a graph, and TensorBoard shows one; log another to a subrun";
            return Err(Error::value("graph", GRAPH, reason));
        }
        let (bytes, wall_time) = (graph.len(), call.place().wall_time());
        call.send_entry(bytes, || {
            let event = Event {
                wall_time: wall_time.secs(),
                what: Some(What::GraphDef(graph)),
                ..Default::default()
            };
            Ok(RunEntry::Event(Box::new(event), bytes))
        })
    }
}
