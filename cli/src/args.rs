//! What can be asked on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ColorChoice, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Without line breaks of its own: clap breaks the lines.
const EXIT_CODES: &str = concat!(
    "Exit status:\n",
    "  0  all is well\n",
    "  1  damage was found; what is whole was read all the same\n",
    "  2  something could not be done: a wrong argument, a pattern that matches nothing, a file ",
    "that cannot be opened or read, nothing to read\n",
    "  3  report found a fault in the weights, diff something else than was expected, or history ",
    "NaN or infinite weights\n",
    "Of several, 2 comes before 3 and 3 before 1.",
);

/// Inspects, checks and exports TensorBoard log directories, whoever wrote them, and reports
/// whether their weights learn.
#[derive(Debug, Parser)]
#[command(name = "tch-tensorboard", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Colours: auto is for a terminal whose user wants them (NO_COLOR)
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub(crate) color: ColorChoice,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists runs with their files and sizes, and their tags with kind, number of points, steps and
    /// newest value
    #[command(after_help = EXIT_CODES)]
    Inspect(Inspect),
    /// Checks every record: both checksums, that it is an event, that its time is finite
    ///
    /// Each fault is a line on standard output that names the file and the byte. Behind damage the
    /// next whole record is looked for, so that all faults are found. A last record that is only
    /// half there is mentioned, and is no fault: it is being written, or its writer was killed; see
    /// --strict.
    #[command(after_help = EXIT_CODES)]
    Verify(Verify),
    /// Writes values as CSV or as JSON lines
    ///
    /// CSV has one kind of values: scalars (run,tag,step,wall_time,value), histograms (one line a
    /// row: run,tag,step,wall_time,left,right,count) or texts (run,tag,step,wall_time,cell,text).
    /// JSON lines have all kinds: objects with run, tag, step, wall_time, kind and value, where NaN
    /// and infinities are the strings NaN, Infinity and -Infinity, and images, sounds and graphs
    /// are shown by their sizes; with --media the images and sounds are written to files, which the
    /// lines name. Points come in the order of the files; those that a resumed run wrote again come
    /// again.
    ///
    /// Spreadsheet programs take a cell that begins with = + - @ or white space for a formula and
    /// run it, and names and texts are whatever a file says. In CSV such a run, tag or text gets an
    /// apostrophe in front, and so does one that begins with an apostrophe: whoever takes one
    /// apostrophe off has what was logged. Control characters, which act on a terminal, are written
    /// as \u{1b}, \n and so on; texts keep their lines and tabs. With --raw, and in JSON lines, all
    /// is as it is.
    #[command(after_help = EXIT_CODES)]
    Export(Export),
    /// Says of each variable whether it learns, and if not, why: the weight report of the log
    ///
    /// The table is that of Logger::weight_report(), by the same rules. Of logs of this crate it
    /// shows what the run itself recorded; with --recompute, and where there is no such record, the
    /// points are judged, which say more where log_gradients has written gradients, too. Histograms
    /// that others have written (add_histogram of torch and tensorboardX, one tag a variable) show
    /// which variables do not move from point to point. Notes below the table say what the log does
    /// not allow to decide.
    #[command(after_help = EXIT_CODES)]
    Report(Report),
    /// Says of each tensor what became of it between two checkpoints: which changed and how much,
    /// which did not
    ///
    /// Takes .safetensors, folders of shards, .npz, PyTorch's .pt, .pth and .bin, TorchScript and
    /// tch's .ot, of the same format or not; nothing in them is executed. Verdicts: identical,
    /// changed, rounding (B is A cast to a narrower type, or each changed element moved to the next
    /// number of float32 or float64), scaled (B is A times a factor: weight decay alone), zero,
    /// non_finite, retyped, reshaped, transposed, renamed, missing, added, unreadable.
    #[command(after_help = EXIT_CODES)]
    Diff(Diff),
    /// Writes a series of checkpoints as a run of TensorBoard: any training gets the dashboard
    /// without a line of code
    ///
    /// Weights have the usual tags; changes from one checkpoint to the next have tags of their own
    /// (checkpoint_change, checkpoint_change_ratio, checkpoint_changed_fraction), since the change
    /// of a thousand steps is not that of one, and the distance from the first one, or from --base,
    /// is checkpoint_drift. Verdicts are those that do not depend on how many steps lie between. A
    /// checkpoint takes up to three copies of its elements in memory.
    #[command(after_help = EXIT_CODES)]
    History(History),
    /// Prints the completions of a shell: source them, or put them where the shell looks for them
    ///
    /// bash: source <(tch-tensorboard completions bash). zsh: write them to a file _tch-tensorboard
    /// in a folder of $fpath. fish: write them to ~/.config/fish/completions/tch-tensorboard.fish.
    Completions {
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Prints the manual page of the program, or of one of its commands: tch-tensorboard man report
    /// | man -l -
    Man {
        /// One of the commands [default: the program]
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// A log directory with runs below it, a run, or an event file
    #[arg(value_name = "LOGDIR")]
    pub(crate) logdir: PathBuf,
    #[command(flatten)]
    pub(crate) select: Select,
    /// Leave the tags out
    #[arg(long, conflicts_with = "json")]
    pub(crate) runs_only: bool,
    /// Write one JSON object a run
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Log directories, runs, or event files
    #[arg(value_name = "LOGDIR", required = true)]
    pub(crate) logdirs: Vec<PathBuf>,
    /// Take a half-written last record for damage: for runs that have ended
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print nothing but faults
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// A log directory with runs below it, a run, or an event file
    #[arg(value_name = "LOGDIR")]
    pub(crate) logdir: PathBuf,
    #[command(flatten)]
    pub(crate) select: Select,
    /// How to write
    #[arg(long, short, value_enum, default_value_t = Format::Csv)]
    pub(crate) format: Format,
    /// Which kinds of values; of CSV exactly one [default: scalar for CSV, all for JSON lines]
    #[arg(long, short, value_enum, value_name = "KIND")]
    pub(crate) kind: Vec<Kind>,
    /// Write texts to CSV as they are, also those that a spreadsheet program would run as a formula
    #[arg(long)]
    pub(crate) raw: bool,
    /// Write images and sounds to files in this directory, which must not exist:
    /// <run>/<tag>/<step>.png
    #[arg(long, value_name = "DIR")]
    pub(crate) media: Option<PathBuf>,
    /// Write to this file, which must not exist, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Report {
    /// A log directory with runs below it, a run, or an event file
    #[arg(value_name = "LOGDIR")]
    pub(crate) logdir: PathBuf,
    /// Only runs whose name matches this glob (* also matches slashes); several add up
    #[arg(long, value_name = "GLOB")]
    pub(crate) run: Vec<String>,
    /// Only variables whose name matches this glob, as if they were the whole model; several add up
    #[arg(long, value_name = "GLOB")]
    pub(crate) variable: Vec<String>,
    /// Without variables whose name matches this glob: activations beside weights, for one; several
    /// add up
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Variables that are not meant to move, where the log does not tell (that of another writer);
    /// several add up
    #[arg(long, value_name = "GLOB")]
    pub(crate) frozen: Vec<String>,
    /// Points that rules look back over, 4 to 1000: fewer for a log with a point an epoch
    #[arg(long, value_name = "POINTS", default_value_t = 20)]
    pub(crate) window: u32,
    /// Judge the points alone, also where the run has recorded its own report
    #[arg(long)]
    pub(crate) recompute: bool,
    /// Exit with status 3 only for these verdicts and remarks, by their names in the JSON, such as
    /// non_finite, frozen or hardly_moving [default: all faults]
    #[arg(long, value_name = "VERDICT")]
    pub(crate) fail_on: Vec<String>,
    /// Write one JSON object a run with weights
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// Write Markdown, for a pull request or a page of results
    #[arg(long, conflicts_with = "watch")]
    pub(crate) markdown: bool,
    /// Look again every 2 seconds, or so many, until Ctrl-C: a terminal shows the newest report,
    /// and programs (--json, or no terminal) get the JSON object of a run each time it changes
    #[arg(
        long,
        value_name = "SECS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = interval
    )]
    pub(crate) watch: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let secs: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match (0.1..=86_400.0).contains(&secs) {
        true => Ok(Duration::from_secs_f64(secs)),
        false => Err("seconds from 0.1 to 86400".to_owned()),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The earlier checkpoint: a file, an index of shards, or a folder
    #[arg(value_name = "A")]
    pub(crate) a: PathBuf,
    /// The later one
    #[arg(value_name = "B")]
    pub(crate) b: PathBuf,
    #[command(flatten)]
    pub(crate) select: SelectTensors,
    /// The order of the tensors
    #[arg(long, value_enum, default_value_t = SortBy::Change)]
    pub(crate) sort: SortBy,
    /// Show each of more than 100 tensors, instead of one line for those whose names differ in a
    /// layer's number
    #[arg(long)]
    pub(crate) all: bool,
    /// Exit with status 3 when a tensor has one of these verdicts
    #[arg(long, value_name = "VERDICT", value_delimiter = ',')]
    pub(crate) fail_on: Vec<String>,
    /// Exit with status 3 unless all tensors that match have changed, by more than rounding;
    /// several add up
    #[arg(long, value_name = "GLOB")]
    pub(crate) expect_changed: Vec<String>,
    /// Exit with status 3 unless all tensors that match are identical; several add up
    #[arg(long, value_name = "GLOB")]
    pub(crate) expect_identical: Vec<String>,
    /// Write one JSON object
    #[arg(long, conflicts_with_all = ["markdown", "csv"])]
    pub(crate) json: bool,
    /// Write Markdown, for a pull request or a page of results
    #[arg(long, conflicts_with = "csv")]
    pub(crate) markdown: bool,
    /// Write CSV, a line a tensor
    #[arg(long)]
    pub(crate) csv: bool,
    /// Also write histograms of both and of the change as a run of TensorBoard: A at step 0, B at
    /// step 1, or at the steps that they say themselves
    #[arg(long, value_name = "RUN")]
    pub(crate) logdir: Option<PathBuf>,
    /// Threads that read and compare [default: the cores, up to 8]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    /// Norm of the change against that of A, the largest first; NaN and zero before all
    Change,
    /// Natural order of the names
    Name,
    /// Share of the elements that changed
    Changed,
    /// The largest change of an element
    Largest,
    /// Norm of A
    Norm,
    /// The most remarkable first
    Verdict,
}

#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// Checkpoints: files, indices of shards, or folders. Their steps come from their names
    /// (checkpoint-100, epoch=3-step=1200.ckpt), their folders' names, a trainer_state.json beside
    /// them, or what they say themselves
    #[arg(value_name = "CKPT")]
    pub(crate) checkpoints: Vec<PathBuf>,
    /// The run to write
    #[arg(long, value_name = "RUN")]
    pub(crate) logdir: PathBuf,
    /// The steps of the checkpoints, in their order
    #[arg(long, value_name = "STEPS", value_delimiter = ',')]
    pub(crate) steps: Vec<i64>,
    /// The checkpoint from which the drift is taken [default: the first one]
    #[arg(long, value_name = "CKPT")]
    pub(crate) base: Option<PathBuf>,
    /// Wait for further checkpoints in this folder, those that are there first; whole files only
    #[arg(long, value_name = "FOLDER")]
    pub(crate) follow: Option<PathBuf>,
    /// Stop following when nothing has come for so many seconds [default: never]
    #[arg(long, value_name = "SECONDS", requires = "follow")]
    pub(crate) until_idle: Option<u64>,
    #[command(flatten)]
    pub(crate) select: SelectTensors,
    /// Threads that read and compare [default: the cores, up to 8]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) threads: Option<usize>,
}

/// Which tensors of a checkpoint.
#[derive(Debug, clap::Args)]
pub(crate) struct SelectTensors {
    /// Only tensors whose name, on either side of a comparison, matches this glob; several add up
    #[arg(long, value_name = "GLOB")]
    pub(crate) tensor: Vec<String>,
    /// Without tensors whose name, on either side, matches this glob; several add up
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Of a trainer's checkpoint this part, by its keys joined with dots, such as `ema` or
    /// `optimizer.state` [default: the model's]
    #[arg(long, value_name = "KEYS")]
    pub(crate) part: Option<String>,
}

/// Which runs and tags.
#[derive(Debug, clap::Args)]
pub(crate) struct Select {
    /// Only runs whose name matches this glob (* also matches slashes); several add up
    #[arg(long, value_name = "GLOB")]
    pub(crate) run: Vec<String>,
    /// Only tags that match this glob (* also matches slashes); several add up
    #[arg(long, value_name = "GLOB")]
    pub(crate) tag: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Csv,
    Jsonl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Scalar,
    Histogram,
    Text,
    Images,
    Audio,
    Hparams,
    HparamsEnd,
    PrCurve,
    Mesh,
    Layout,
    Graph,
    Tensor,
    Unknown,
}

impl Kind {
    /// As `PointValue::kind` spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Scalar => "scalar",
            Kind::Histogram => "histogram",
            Kind::Text => "text",
            Kind::Images => "images",
            Kind::Audio => "audio",
            Kind::Hparams => "hparams",
            Kind::HparamsEnd => "hparams_end",
            Kind::PrCurve => "pr_curve",
            Kind::Mesh => "mesh",
            Kind::Layout => "layout",
            Kind::Graph => "graph",
            Kind::Tensor => "tensor",
            Kind::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }
}
