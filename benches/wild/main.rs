//! Training programs made after public reports of people whose weights did not update, or seemed
//! not to: does `weight_report()` give the right verdicts? See `--help`.
#![allow(unreachable_pub, reason = "the modules of a program are its own")]

mod answer;
mod judge;
mod seen;
mod suite;
mod unseen;
mod witness;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, ValueEnum};
use tch_tensorboard::{LogDir, Logger, Overhead};

use judge::Outcome;
use suite::Program;
use witness::Record;

const SEED: i64 = 20_170_404;

/// Runs training programs made after public reports and compares the verdicts with the right
/// answers.
#[derive(Debug, Parser)]
struct Args {
    /// Runs one half only
    #[arg(long, value_enum)]
    half: Option<Half>,
    /// Runs the programs whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Writes the table as Markdown
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Prints the reason of each verdict, and the findings
    #[arg(long)]
    verbose: bool,
    /// Measures each program with plain arithmetic, and holds the right answers against that
    #[arg(long)]
    check: bool,
    /// Keeps to two hundredths of the CPU time, so that what is observed depends on the machine
    #[arg(long)]
    limited: bool,
    /// Seed of libtorch's generator
    #[arg(long, value_name = "N", default_value_t = SEED)]
    seed: i64,
    /// What `cargo bench` passes
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Half {
    Seen,
    Unseen,
}

/// One row of the table.
struct ProgramRow {
    program: &'static Program,
    outcome: Outcome,
    mistakes: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    tch::set_num_threads(1);
    let mut out = io::stdout().lock();
    let mut rows = Vec::new();
    for program in chosen(args) {
        let (outcome, record) = train(program, args)?;
        let mistakes = judge::mistakes(program, &outcome)?;
        let row = ProgramRow {
            program,
            outcome,
            mistakes,
        };
        out.write_all(lines(&row, record.as_ref(), args)?.as_bytes())?;
        out.flush()?;
        rows.push(row);
    }
    let right = rows.iter().filter(|row| row.mistakes.is_empty()).count();
    writeln!(out, "right: {right} of {}", rows.len())?;
    if let Some(path) = &args.output {
        let wrote = fs::write(path, table(&rows, args)?);
        wrote.with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn chosen(args: &Args) -> Vec<&'static Program> {
    let mut programs = Vec::new();
    if args.half != Some(Half::Unseen) {
        programs.extend(seen::programs());
    }
    if args.half != Some(Half::Seen) {
        programs.extend(unseen::programs());
    }
    let wanted = |one: &&Program| {
        args.only
            .as_ref()
            .is_none_or(|part| one.name.contains(part))
    };
    programs.into_iter().filter(wanted).collect()
}

/// Runs one program in a thread of its own: the mode of gradients, and a panic, stay there.
fn train(program: &'static Program, args: &Args) -> Result<(Outcome, Option<Record>)> {
    let (seed, check) = (args.seed, args.check);
    let overhead = match args.limited {
        true => Overhead::AtMost(0.02),
        false => Overhead::Unlimited,
    };
    let work = move || -> Result<_> {
        tch::manual_seed(seed);
        if check {
            witness::start();
        }
        let dir = tempfile::tempdir()?;
        let logger = Logger::builder(dir.path().join("run"));
        let logger = logger.overhead(overhead).create()?;
        let begin = Instant::now();
        let caught = std::panic::catch_unwind(AssertUnwindSafe(|| (program.train)(&logger)));
        let secs = begin.elapsed().as_secs_f64();
        let failure = match caught {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some("a panic".to_owned()),
        };
        Ok((outcome(&logger, failure, secs)?, witness::take()))
    };
    let thread = thread::Builder::new().spawn(work)?;
    let joined = thread
        .join()
        .map_err(|_| anyhow!("{}: a panic", program.name))?;
    joined.with_context(|| program.name)
}

/// What the logger says at the end, and what its files say.
fn outcome(logger: &Logger, failure: Option<String>, secs: f64) -> Result<Outcome> {
    let report = logger.weight_report()?;
    let mut findings: Vec<String> = logger.take_findings().iter().map(answer::finding).collect();
    for one in report.findings.iter().map(answer::finding) {
        if !findings.contains(&one) {
            findings.push(one);
        }
    }
    logger.close()?;
    let said = answer::of(&report);
    let dir = LogDir::open(logger.logdir())?;
    let run = dir.runs().first().context("the run has no files")?;
    let read = answer::of(&run.weight_report()?.report);
    let mut differences = Vec::new();
    for (name, one) in &said {
        match read.get(name) {
            Some(other) if other.verdict == one.verdict => {}
            Some(other) => differences.push(format!("{name}: {one} / {other}")),
            None => differences.push(format!("{name}: {one} / nothing")),
        }
    }
    Ok(Outcome {
        said,
        findings,
        differences,
        failure,
        secs,
    })
}

/// What is printed of one program.
fn lines(row: &ProgramRow, record: Option<&Record>, args: &Args) -> Result<String> {
    let ProgramRow {
        program,
        outcome,
        mistakes,
    } = row;
    let word = if mistakes.is_empty() {
        "right"
    } else {
        "WRONG"
    };
    let mut text = String::new();
    writeln!(
        text,
        "{word} {} ({:.1} s, {})",
        program.name, outcome.secs, program.source
    )?;
    writeln!(text, "    expected  {}", judge::expected(program))?;
    writeln!(text, "    said      {}", judge::said(outcome))?;
    for mistake in mistakes {
        writeln!(text, "    mistake   {mistake}")?;
    }
    for difference in &outcome.differences {
        writeln!(text, "    files     {difference}")?;
    }
    if args.verbose {
        writeln!(
            text,
            "    about     {}\n    note      {}",
            program.about, program.note
        )?;
        for (name, one) in &outcome.said {
            writeln!(text, "    reason    {name}: {one}: {}", one.reason)?;
        }
        for finding in &outcome.findings {
            writeln!(text, "    finding   {finding}")?;
        }
    }
    if let Some(record) = record {
        for line in record.lines() {
            writeln!(text, "    measured  {line}")?;
        }
        for line in record.contradictions(program)? {
            writeln!(text, "    CONTRADICTION {line}")?;
        }
    }
    Ok(text)
}

/// What was changed of programs and answers after their first run.
const CHANGES: &str = "
## Changed after the first run

The first runs are `wild-seen-before.md` and `wild-unseen-before.md` (the rules of before), and \
`wild-unseen-first.md` (the unseen half, the new rules as they were then).

- Programs of which nothing ever moves, with gradients and an unknown rate, run 300 steps instead \
  of 100 to 200: gradients may be accumulated over so many calls, and a fault is named after 200. \
  They are `discriminator_never_steps`, `second_discriminator_forgotten`, `accumulation_of_one`, \
  `layers_replaced`, `restored_by_test`, `align_layer_forgotten`, \
  `scheduler_step_instead_of_optimizer_step`, `initial_weights_loaded_each_round`, \
  `head_not_given_to_the_optimizer`, `distillation_aligns_by_random_weights` and \
  `optimizer_steps_copies`.
- `some_dead_units`: the remark is asked for beside the matrix only, where it is made; a bias has \
  no rows of its own.
- `target_never_copied`: *undecided* is right, too. A target network that began as a copy may be \
  copied each thousand steps; before the first copy nobody can tell.
- Remarks are asked for by `remarks()`; before, words in the reason were.
";

/// The table as Markdown.
fn table(rows: &[ProgramRow], args: &Args) -> Result<String> {
    let right = rows.iter().filter(|row| row.mistakes.is_empty()).count();
    let alike = rows
        .iter()
        .filter(|row| row.outcome.differences.is_empty())
        .count();
    let mut text = String::from("# Verdicts on programs made after public reports\n\n");
    writeln!(
        text,
        "Each program is a report of somebody whose weights did not update, or seemed not to, in \
         small and on synthetic data, logged at each iteration with the default options. Seed {}. \
         Right: **{right} of {}**. In {alike} of {} runs the files give the verdicts of the live \
         report.\n",
        args.seed,
        rows.len(),
        rows.len()
    )?;
    text += "| program | source | what the user did | expected | said | right | files differ |\n";
    text += "| --- | --- | --- | --- | --- | --- | --- |\n";
    for row in rows {
        let cells = [
            row.program.name.to_owned(),
            row.program.source.to_owned(),
            row.program.about.to_owned(),
            judge::expected(row.program),
            judge::said(&row.outcome),
            match row.mistakes.is_empty() {
                true => "yes".to_owned(),
                false => format!("no: {}", row.mistakes.join("; ")),
            },
            row.outcome.differences.join("; "),
        ];
        let cells = cells.map(|cell| cell.replace('|', "or").replace('*', "\\*"));
        writeln!(text, "| {} |", cells.join(" | "))?;
    }
    text += CHANGES;
    Ok(text)
}
