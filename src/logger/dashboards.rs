//! The calls that fill TensorBoard's other dashboards, a method each.

use prost::Message;

use crate::error::{Error, Result};
use crate::logger::core::lock;
use crate::logger::once::TakenOnce;
use crate::logger::payload_call::PayloadCall;
use crate::logger::{Logger, check_tag};
use crate::model::types::Step;
use crate::proto::{Event, Summary, event::What};
use crate::run::entry::RunEntry;
use crate::source::named_tensors::NamedTensors;
use crate::source::values::{Scalar, ScalarValue};
use crate::summary::audio::Audio;
use crate::summary::charts::{self, ChartCategory, OWN_CATEGORY};
use crate::summary::custom_scalars;
use crate::summary::foreign;
use crate::summary::graph::{self, GraphSink};
use crate::summary::hparams::{self, HParams, SessionStart};
use crate::summary::mesh::Mesh;
use crate::summary::pr_curves::{self, PrCurve};
use crate::summary::projector::Embedding;

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
    /// [`log_text`](Logger::log_text). Scores and labels beyond 0 to 1, and weights that are
    /// negative or not finite, are reported to [`on_error`](crate::LoggerBuilder::on_error).
    #[doc(alias("add_pr_curve", "add_pr_curve_raw"))]
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
    /// As [`log_pr_curve`](Logger::log_pr_curve); no classes, more than 1000, one without a name,
    /// and two of one name. A label that is the number of no class is reported once for all
    /// curves, and none is written.
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
    #[doc(alias = "add_hparams")]
    pub fn log_hparams(&self, params: HParams) -> Result<()> {
        let call = self.begin_of_run(hparams::START)?;
        params.check()?;
        let taken = TakenOnce::take(&self.run.has_hparams).ok_or_else(|| {
            let reason = "this run has its hyperparameters, and TensorBoard keeps the first; log \
                          another trial to a run of its own";
            Error::value("hyperparameters", hparams::START, reason)
        })?;
        let (place, bytes) = (call.place(), params.bytes());
        let wall_time = place.wall_time();
        let is_accepted = call.offer(bytes, || {
            let start = SessionStart { params, wall_time };
            Ok(place.of_the_run(hparams::START, start).into())
        })?;
        taken.keep_if(is_accepted);
        Ok(())
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
    #[doc(alias = "add_audio")]
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
    #[doc(alias = "add_scalars")]
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
        if lock(&self.run.charts).contains(&tag) {
            return Ok(());
        }
        let shown = custom_scalars::group(&tag, &tag);
        let shown = RunEntry::Chart(OWN_CATEGORY.into(), shown);
        // Two threads may send it at once: the second one changes nothing.
        if self.begin_of_run(&tag)?.send_whole(shown)? {
            lock(&self.run.charts).insert(tag);
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
    #[doc(alias(
        "add_custom_scalars",
        "add_custom_scalars_multilinechart",
        "add_custom_scalars_marginchart"
    ))]
    pub fn log_layout(&self, layout: &[ChartCategory]) -> Result<()> {
        let call = self.begin_of_run(custom_scalars::TAG)?;
        let categories = charts::categories(layout, &|tag| self.full_tag(tag))?;
        call.send_whole(RunEntry::Charts(categories)).map(drop)
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
    #[doc(alias = "add_mesh")]
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
    /// second graph of a run; what the source returns; [`Error::Closed`] for a closed logger. A
    /// store that another thread keeps locked is no error: see
    /// [`WeightOptions::store_timeout`](crate::WeightOptions::store_timeout).
    #[doc(alias = "add_graph")]
    pub fn log_graph<S: NamedTensors + ?Sized>(&self, model: &S) -> Result<()> {
        let call = self.begin_of_run(GRAPH)?;
        let mut found = GraphSink::default();
        if !self.visit(model, &mut found)? {
            return Ok(());
        }
        self.send_graph(call, found.encode()?)
    }

    /// Shows a serialized `GraphDef`, such as TensorFlow or PyTorch's `torch.utils.tensorboard`
    /// make, in the Graphs dashboard. It is stored as it is.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use prost::Message;
    /// use tch_tensorboard::proto::{GraphDef, NodeDef};
    ///
    /// let node = |name: &str, op: &str, input: &[&str]| NodeDef {
    ///     name: name.into(),
    ///     op: op.into(),
    ///     input: input.iter().map(|name| name.to_string()).collect(),
    ///     ..Default::default()
    /// };
    /// let graph = GraphDef {
    ///     node: vec![node("x", "Input", &[]), node("block/relu", "Relu", &["x"])],
    ///     ..Default::default()
    /// };
    /// logger.log_graph_def(&graph.encode_to_vec())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for bytes that are no graph, a graph without nodes, and a second one
    /// of a run; [`Error::Closed`] for a closed logger.
    #[doc(alias("add_graph", "add_onnx_graph"))]
    pub fn log_graph_def(&self, graph: &[u8]) -> Result<()> {
        let call = self.begin_of_run(GRAPH)?;
        graph::check(graph)?;
        self.send_graph(call, graph.to_vec())
    }

    fn send_graph(&self, call: PayloadCall<'_>, graph: Vec<u8>) -> Result<()> {
        let taken = self.take_graph()?;
        let (bytes, wall_time) = (graph.len(), call.place().wall_time());
        let is_accepted = call.offer(bytes, || {
            let event = Event {
                wall_time: wall_time.secs(),
                what: Some(What::GraphDef(graph)),
                ..Default::default()
            };
            Ok(RunEntry::Event(Box::new(event), bytes))
        })?;
        taken.keep_if(is_accepted);
        Ok(())
    }

    /// Logs vectors with labels and pictures or without, shown in the Projector by PCA, t-SNE and
    /// UMAP. Each step is a choice of its own there.
    ///
    /// The projector reads files instead of events: this writes them to `projector/` in the run's
    /// directory, and their list to `projector_config.pbtxt`. TensorBoard reads the list when runs
    /// come up: what is logged while it is open appears once it is started again, or another run
    /// begins.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use tch_tensorboard::Embedding;
    ///
    /// let vectors = [0.0_f32, 0.1, 0.9, 1.0, 0.4, 0.2];
    /// let words = Embedding::new(&vectors, 3)
    ///     .label_table(["word", "count"], [["cat", "12"], ["dog", "7"]]);
    /// logger.log_embedding("words", words, 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for shapes that do not fit, no vectors, more than 100 000, more than
    /// 2^26 numbers in all, other numbers of labels or pictures, pictures of several sizes, and
    /// more pixels than 8192 in a row of pictures; [`Error::InvalidImage`] for files,
    /// [`Error::UnsupportedTensor`], and as [`log_text`](Logger::log_text). Numbers that are not
    /// finite, and what a disk refuses, are reported to
    /// [`on_error`](crate::LoggerBuilder::on_error).
    #[doc(alias = "add_embedding")]
    pub fn log_embedding(
        &self,
        tag: &str,
        embedding: Embedding<'_>,
        step: impl Step,
    ) -> Result<()> {
        let call = self.begin(tag, step)?;
        let embedding = embedding.inspect(tag)?;
        let (step, tag) = (call.place().step(), self.full_tag(tag));
        call.send_entry(embedding.bytes(), || {
            let files = embedding.copy(&tag, step)?;
            Ok(RunEntry::Embedding(Box::new(files)))
        })
    }

    /// Logs values as messages of your own: representations that no other call writes, and values
    /// that were read from another log. Tags are taken as they are, without the scope.
    ///
    /// The first value of a tag in a file gets the metadata that TensorBoard needs, with an
    /// explicit class of data; yours is kept.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use tch_tensorboard::proto::{Summary, summary};
    ///
    /// let value = summary::Value {
    ///     tag: "loss".into(),
    ///     value: Some(summary::value::Value::SimpleValue(0.5)),
    ///     ..Default::default()
    /// };
    /// logger.log_summary(Summary { value: vec![value] }, 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for what one of TensorBoard's loaders drops, misreads or fails on:
    /// no value, a tag twice, a class of data that contradicts the plugin, scalars that are not one
    /// `DT_FLOAT` of rank 0, histograms with empty ends, infinite or unsorted edges, texts that are
    /// not UTF-8, wrong shapes, metadata of another version. [`Error::InvalidStep`] and
    /// [`Error::Closed`]. A tag that holds something else, and a tensor whose tag nobody has named
    /// a plugin for, are reported to [`on_error`](crate::LoggerBuilder::on_error).
    #[doc(alias("add_summary", "add_tensor", "add_histogram_raw"))]
    pub fn log_summary(&self, summary: Summary, step: impl Step) -> Result<()> {
        let step = self.run.check_step("summary", step)?;
        self.log_event(Event {
            wall_time: self.now().secs(),
            step,
            what: Some(What::Summary(summary)),
            ..Default::default()
        })
    }

    /// The same of a whole event, with a step and a wall time of its own: one of another log, or
    /// timings of a step (`TaggedRunMetadata`) for the Graphs dashboard.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("old"))?;
    /// # logger.log_scalar("loss", 0.5, 3)?;
    /// # logger.flush()?;
    /// # let copy = tch_tensorboard::Logger::create(dir.path().join("copy"))?;
    /// use tch_tensorboard::{LogDir, proto::event::What};
    ///
    /// for event in LogDir::open(dir.path().join("old"))?.runs()[0].events() {
    ///     let event = event?;
    ///     if let Some(What::Summary(_)) = event.what {
    ///         copy.log_event(event)?;
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`log_summary`](Logger::log_summary); a wall time that is not finite, a file version, a
    /// session, a graph that is none, or an event with nothing in it.
    #[doc(alias = "add_event")]
    pub fn log_event(&self, mut event: Event) -> Result<()> {
        let call = self.begin("event", event.step)?;
        foreign::check_event(&event)?;
        let is_graph = matches!(event.what, Some(What::GraphDef(_)));
        let taken = is_graph.then(|| self.take_graph()).transpose()?;
        // It is that of the file.
        event.source_metadata = None;
        let bytes = event.encoded_len();
        let is_accepted = call.send_whole(RunEntry::Event(Box::new(event), bytes))?;
        if let Some(taken) = taken {
            taken.keep_if(is_accepted);
        }
        Ok(())
    }

    fn take_graph(&self) -> Result<TakenOnce<'_>> {
        TakenOnce::take(&self.run.has_graph).ok_or_else(|| {
            let reason = "this run has a graph, and TensorBoard shows one; log another to a subrun";
            Error::value("graph", GRAPH, reason)
        })
    }
}
