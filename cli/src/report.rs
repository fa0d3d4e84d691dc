//! `report`: whether the weights of each run learn.

use std::io::{self, BufWriter, Write};

use anstream::AutoStream;
use serde::Serialize;
use tch_tensorboard::{
    LoggedReport, ParameterReport, ReportReader, Role, Run, Thresholds, Verdict, WeightOptions,
};

use crate::args::Report;
use crate::output::{Failure, Number, Status, shown};
use crate::progress::{Progress, bytes};
use crate::selection::Selection;

/// Events between two updates of the progress bar.
const PER_UPDATE: u64 = 64;

/// Names of the verdicts that are faults, in the order in which rules decide.
fn faults() -> impl Iterator<Item = &'static str> {
    Verdict::all()
        .filter(|verdict| verdict.is_fault())
        .map(Verdict::name)
}

pub(crate) fn run(args: &Report) -> Result<Status, Failure> {
    let wanted = wanted(&args.fail_on)?;
    let selection = Selection::of(&args.logdir, &args.run, &[])?;
    let mut status = selection.status();
    let mut progress = Progress::new(selection.runs().map(bytes).sum());
    let mut out = BufWriter::new(output(args));
    let (mut has_weights, mut others) = (false, Vec::new());
    for run in selection.runs() {
        let (found, read) = read(run, args, &mut progress)?;
        status = status.max(read);
        if found.report.parameters.is_empty() {
            others.push(shown(run.name()));
            continue;
        }
        if found.faults().any(|fault| wanted.includes(fault)) {
            status = status.max(Status::Fault);
        }
        has_weights = true;
        write(&mut out, run, &found, args)?;
        out.flush()?;
    }
    if has_weights && !others.is_empty() && !args.json {
        writeln!(out, "No weights in {}", others.join(", "))?;
        out.flush()?;
    }
    if !has_weights {
        return Err(Failure::Argument(format!(
            "no weights in {}: log_weights writes them, or add_histogram of other writers{}",
            args.logdir.display(),
            match args.variable.is_empty() && args.exclude.is_empty() {
                true => "",
                false => "; or no variable matches",
            }
        )));
    }
    Ok(status)
}

/// Standard output; a table gets its colours when that is a terminal whose user wants them.
fn output(args: &Report) -> Box<dyn Write> {
    let out = io::stdout().lock();
    match args.json || args.markdown {
        true => Box::new(out),
        false => Box::new(AutoStream::auto(out)),
    }
}

/// The verdicts to fail for, by their names; all faults when there are none.
struct Wanted(Vec<&'static str>);

impl Wanted {
    fn includes(&self, fault: Verdict) -> bool {
        self.0.is_empty() || self.0.contains(&fault.name())
    }
}

fn wanted(asked: &[String]) -> Result<Wanted, Failure> {
    let known = |asked: &String| {
        let asked = asked.replace('-', "_");
        let known = faults().find(|fault| *fault == asked);
        known.ok_or_else(|| {
            let all = faults().collect::<Vec<_>>().join(", ");
            Failure::Argument(format!("no fault is called {asked}; there are {all}"))
        })
    };
    let names: Result<Vec<&str>, Failure> = asked.iter().map(known).collect();
    names.map(Wanted)
}

fn read(
    run: &Run,
    args: &Report,
    progress: &mut Progress,
) -> Result<(LoggedReport, Status), Failure> {
    let mut thresholds = Thresholds::default();
    thresholds.window = args.window;
    let options = WeightOptions::new()
        .select(args.variable.iter().map(String::as_str))
        .exclude(args.exclude.iter().map(String::as_str))
        .thresholds(thresholds);
    let mut reader = ReportReader::new(run)
        .recompute(args.recompute)
        .options(options)?
        .frozen(args.frozen.iter().map(String::as_str))?
        .resync(true);
    let (mut status, mut events) = (Status::Fine, 0_u64);
    while let Some(read) = reader.read_event() {
        if let Err(error) = read {
            status = status.max(Status::of(&error));
            progress.complain(error);
        }
        events += 1;
        if events.is_multiple_of(PER_UPDATE)
            && let Some((file, offset)) = reader.events().position()
        {
            progress.at(file, offset);
        }
    }
    Ok((reader.finish(), status))
}

fn write(
    out: &mut impl Write,
    run: &Run,
    found: &LoggedReport,
    args: &Report,
) -> Result<(), Failure> {
    if args.json {
        serde_json::to_writer(&mut *out, &Contents::of(run, found))?;
        writeln!(out)?;
    } else if args.markdown {
        let name = shown(run.name()).replace('`', "'");
        writeln!(out, "## `{name}`\n\n{}", found.report.to_markdown())?;
    } else {
        writeln!(out, "{}:", shown(run.name()))?;
        writeln!(out, "{}\n", found.report.styled())?;
    }
    Ok(())
}

/// What is said of a run.
#[derive(Serialize)]
struct Contents<'a> {
    run: &'a str,
    /// Some variable has a fault.
    faulty: bool,
    models: Vec<Model<'a>>,
    variables: Vec<Variable<'a>>,
    /// What the report that the run itself wrote says otherwise.
    recorded: Vec<RecordedRow<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Model<'a> {
    scope: &'a str,
    step: Option<i64>,
    trend: Option<String>,
}

#[derive(Serialize)]
struct Variable<'a> {
    scope: &'a str,
    variable: &'a str,
    shape: &'a [i64],
    role: &'static str,
    verdict: &'static str,
    fault: bool,
    /// The verdict with its cause.
    text: String,
    since: Option<i64>,
    reason: &'a str,
    advice: &'static str,
    /// Points that were compared.
    compared: u64,
    mean: Option<Number>,
    std: Option<Number>,
    norm: Option<Number>,
    update_ratio: Option<Number>,
    changed_fraction: Option<Number>,
    drift: Option<Number>,
    nonfinite: u64,
}

#[derive(Serialize)]
struct RecordedRow<'a> {
    variable: &'a str,
    step: i64,
    verdict: &'static str,
    text: String,
}

impl<'a> Contents<'a> {
    fn of(run: &'a Run, found: &'a LoggedReport) -> Contents<'a> {
        let report = &found.report;
        let models = report.models.iter().map(|model| Model {
            scope: &model.scope,
            step: model.step,
            trend: model.trend.map(|trend| trend.to_string()),
        });
        let recorded = found.recorded.iter().map(|recorded| RecordedRow {
            variable: &recorded.variable,
            step: recorded.step,
            verdict: recorded.verdict.name(),
            text: recorded.verdict.to_string(),
        });
        Contents {
            run: run.name(),
            faulty: found.faults().next().is_some(),
            models: models.collect(),
            variables: report.parameters.iter().map(Variable::of).collect(),
            recorded: recorded.collect(),
            notes: &report.notes,
        }
    }
}

impl<'a> Variable<'a> {
    fn of(parameter: &'a ParameterReport) -> Variable<'a> {
        let verdict: Verdict = parameter.verdict;
        Variable {
            scope: &parameter.scope,
            variable: &parameter.name,
            shape: &parameter.shape,
            role: match parameter.role {
                Role::Frozen => "frozen",
                Role::Buffer => "buffer",
                _ => "trainable",
            },
            verdict: verdict.name(),
            fault: verdict.is_fault(),
            text: verdict.to_string(),
            since: parameter.since,
            reason: &parameter.reason,
            advice: verdict.advice(),
            compared: parameter.evidence.steps,
            mean: parameter.mean.map(Number),
            std: parameter.std.map(Number),
            norm: parameter.norm.map(Number),
            update_ratio: parameter.update_ratio.map(Number),
            changed_fraction: parameter.changed_fraction.map(Number),
            drift: parameter.drift.map(Number),
            nonfinite: parameter.nonfinite,
        }
    }
}
