//! What a scenario logs through, and the comparison with what is expected.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tch_tensorboard::{
    LogDir, Logger, LoggerBuilder, NamedTensors, Overhead, ParameterReport, ReportReader,
    WeightOptions,
};

use crate::canonical::Lines;

/// Variables that share one line of an expectation, so that it stays short.
const MANY: usize = 100;

/// One scenario.
pub struct Net {
    name: &'static str,
    dir: tempfile::TempDir,
    lines: Lines,
    errors: Arc<Mutex<Vec<String>>>,
}

/// A logger of a scenario, which waits after each call until all of it is written.
pub struct Log {
    pub logger: Logger,
}

impl Log {
    pub fn weights<S: NamedTensors + ?Sized>(&self, source: &S, step: i64) {
        self.logger.log_weights(source, step).unwrap();
        self.flush();
    }

    pub fn scalar(&self, tag: &str, value: f64, step: i64) {
        self.logger.log_scalar(tag, value, step).unwrap();
        self.flush();
    }

    /// An error of a flush is one of `on_error`, too, where the net looks at it.
    pub fn flush(&self) {
        let _ = self.logger.flush();
    }

    pub fn scoped(&self, name: &str) -> Log {
        Log {
            logger: self.logger.scoped(name).unwrap(),
        }
    }

    pub fn sub_run(&self, name: &str) -> Log {
        Log {
            logger: self.logger.subrun(name).unwrap(),
        }
    }
}

/// Logs a scenario and compares what was written.
pub fn scenario(name: &'static str, log: impl FnOnce(&mut Net)) {
    let mut net = Net {
        name,
        dir: tempfile::tempdir().unwrap(),
        lines: Lines::default(),
        errors: Arc::default(),
    };
    log(&mut net);
    net.take_files();
    net.compare();
}

impl Net {
    pub fn builder(&self) -> LoggerBuilder {
        let errors = self.errors.clone();
        Logger::builder(self.dir.path().join("run"))
            .overhead(Overhead::Unlimited)
            .on_error(move |error| errors.lock().unwrap().push(error.to_string()))
    }

    pub fn create(&self, options: WeightOptions) -> Log {
        self.open(self.builder().weights(options))
    }

    pub fn open(&self, builder: LoggerBuilder) -> Log {
        Log {
            logger: builder.create().unwrap(),
        }
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// The scenario does not wait after its calls.
    pub fn runs_free(&mut self) {
        self.lines.is_free_running = true;
    }

    /// Adds a line that is no value of the log.
    pub fn note(&mut self, tag: &str, line: impl Debug) {
        self.lines.add(tag, "net", format!("{line:?}"));
    }

    /// Takes what the logger says of its weights, and closes it.
    pub fn close(&mut self, log: Log) {
        let logger = log.logger;
        let _ = logger.flush();
        self.take_report(&logger);
        let closed = logger.close();
        let stats = logger.stats();
        let counts = (stats.queued, stats.dropped, stats.errors);
        self.note("(closed)", (closed.is_ok(), counts));
        let pinned = logger.board_url("http://localhost:6006");
        self.note("(pinned)", pinned);
    }

    pub fn take_report(&mut self, logger: &Logger) {
        let report = logger.weight_report().unwrap();
        let many = report.parameters.len() > MANY;
        for one in &report.parameters {
            let tag = format!("(report) {}", shown_name(&one.scope, &one.name, many));
            let run = self.relative(&one.run);
            self.lines.add(&tag, "report", report_line(&run, one));
            let reason = format!("{}: {}; {}", one.name, one.verdict, one.reason);
            self.lines.add("(reasons)", "text", reason);
            self.lines
                .add("(reasons)", "text", one.verdict.advice().into());
        }
        for model in &report.models {
            let line = format!("{:?} {:?} {:?}", model.scope, model.step, model.trend);
            self.lines.add("(models)", "report", line);
        }
        for found in report.findings.iter().chain(&logger.take_findings()) {
            let name = found.variable.as_deref();
            let verdict = found.verdict.name();
            let steps = (found.first_step, found.step);
            let line = format!("{:?} {name:?} {verdict} {steps:?}", found.scope);
            self.lines.add("(findings)", "report", line);
            self.lines.add("(findings)", "text", found.to_string());
        }
        for note in report.notes {
            self.lines.add("(notes)", "text", note);
        }
    }

    fn relative(&self, path: &Path) -> String {
        let relative = path
            .strip_prefix(self.dir.path())
            .expect("a run of this net");
        relative.display().to_string()
    }

    fn take_files(&mut self) {
        let found = LogDir::open(self.dir.path()).unwrap();
        for run in found.runs() {
            let relative = self.relative(run.path());
            let prefix = match relative.as_str() {
                "run" => String::new(),
                other => format!("<{other}> "),
            };
            self.lines.take_run(&prefix, run.path());
            let mut reader = ReportReader::new(run).recompute(true);
            while let Some(read) = reader.read_event() {
                read.unwrap();
            }
            let judged = reader.finish();
            let many = judged.report.parameters.len() > MANY;
            for one in &judged.report.parameters {
                let name = shown_name(&one.scope, &one.name, many);
                let line = format!("{} {} {:?}", one.name, one.verdict.name(), one.since);
                self.lines
                    .add(&format!("{prefix}(judged) {name}"), "judged", line);
            }
            for other in &judged.recorded {
                // The step of the report is the clock's choice.
                let line = format!("{} {}", other.variable, other.verdict.name());
                self.lines
                    .add(&format!("{prefix}(recorded)"), "judged", line);
            }
        }
        let errors = std::mem::take(&mut *self.errors.lock().unwrap());
        self.note("(errors)", errors.len());
        for error in errors {
            let error = error.replace(&*self.dir.path().to_string_lossy(), "");
            self.lines.add("(errors)", "text", error);
        }
    }

    fn compare(self) {
        if let Some(folder) = env::var_os("NET_DUMP") {
            self.dump(Path::new(&folder));
        }
        let path = expectations().join(self.name).with_extension("txt");
        let actual = rows(&self.lines);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut expected = parse(&text);
        let update = env::var("UPDATE_NET").unwrap_or_default();
        if !update.is_empty() {
            let classes: Vec<&str> = update.split(',').collect();
            let renews = |class: &str| update == "1" || classes.contains(&class);
            expected.retain(|(_, class), _| !renews(class));
            let renewed = actual.iter().filter(|((_, class), _)| renews(class));
            expected.extend(renewed.map(|(key, row)| (key.clone(), row.clone())));
            fs::write(&path, spell(&expected)).unwrap();
        }
        let differences = differences(&expected, &actual);
        assert!(
            differences.is_empty(),
            "{}: {} differences from {}; NET_DUMP=folder writes the lines behind the digests, to \
             be compared with those of an older commit\n{}",
            self.name,
            differences.len(),
            path.display(),
            differences
                .iter()
                .take(40)
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join("\n")
        );
    }

    fn dump(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let mut text = String::new();
        for ((tag, class), lines) in &self.lines.of {
            for line in lines {
                text.push_str(&format!("{tag}\t{class}\t{line}\n"));
            }
        }
        fs::write(folder.join(self.name).with_extension("txt"), text).unwrap();
    }
}

fn shown_name(scope: &str, name: &str, many: bool) -> String {
    match (scope, many) {
        (_, true) => "*".to_owned(),
        ("", false) => name.to_owned(),
        (scope, false) => format!("{scope}/{name}"),
    }
}

/// Numbers to six digits: logarithms may differ in the last bit from one processor to another.
fn report_line(run: &str, one: &ParameterReport) -> String {
    let number = |number: Option<f64>| number.map_or("-".into(), |number| format!("{number:.5e}"));
    let numbers = [
        one.mean,
        one.std,
        one.norm,
        one.update_ratio,
        one.changed_fraction,
        one.drift,
    ];
    let numbers = numbers.map(number).join(" ");
    let evidence = &one.evidence;
    let seen = (evidence.steps, evidence.moves, evidence.gradient);
    format!(
        "{run} {} {} {:?} step={} {:?} {:?} {:?} {numbers} nonfinite={} {seen:?}",
        one.name,
        one.verdict.name(),
        one.since,
        one.step,
        one.dtype,
        one.shape,
        one.role,
        one.nonfinite
    )
}

pub fn expectations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/net")
}

/// By tag and class: how many points, and their digest.
type Rows = BTreeMap<(String, String), (usize, String)>;

fn rows(lines: &Lines) -> Rows {
    let row = |lines: &Vec<String>| (lines.len(), format!("{:012x}", digest(lines) >> 16));
    let rows = lines.of.iter();
    rows.map(|((tag, class), lines)| ((tag.escape_debug().to_string(), class.clone()), row(lines)))
        .collect()
}

/// FNV-1a.
fn digest(lines: &[String]) -> u64 {
    let bytes = lines.iter().flat_map(|line| line.bytes().chain([b'\n']));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn spell(rows: &Rows) -> String {
    let line = |((tag, class), (points, digest)): (&(String, String), &(usize, String))| {
        format!("{tag}\t{class}\t{points}\t{digest}\n")
    };
    rows.iter().map(line).collect()
}

fn parse(text: &str) -> Rows {
    let row = |line: &str| {
        let [tag, class, points, digest] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("a line of an expectation has four columns: {line:?}");
        };
        let key = (tag.to_owned(), class.to_owned());
        (key, (points.parse().unwrap(), digest.to_owned()))
    };
    text.lines().map(row).collect()
}

fn differences(expected: &Rows, actual: &Rows) -> Vec<String> {
    let mut found = Vec::new();
    for ((tag, class), (points, digest)) in expected {
        match actual.get(&(tag.clone(), class.clone())) {
            None => found.push(format!("missing  {tag} ({class}, {points} lines)")),
            Some((now, _)) if now != points => {
                found.push(format!(
                    "changed  {tag} ({class}): {now} lines for {points}"
                ));
            }
            Some((_, now)) if now != digest => found.push(format!("changed  {tag} ({class})")),
            Some(_) => {}
        }
    }
    let new = actual.keys().filter(|key| !expected.contains_key(*key));
    found.extend(new.map(|(tag, class)| format!("new      {tag} ({class})")));
    found
}
