//! Whether verdicts are right: training runs with a known fault, and healthy ones that could be
//! taken for faulty.
//!
//! ```sh
//! make bench-faults                                       # all, to benches/results/faults.md
//! make bench-faults BENCH_ARGS="--fault stalled --verbose" # one fault, each miss with its report
//! ```
//!
//! Thresholds were chosen on the tuning part (two networks, three seeds). The rest is only
//! reported.

#[path = "../../examples/digits/mod.rs"]
#[allow(dead_code, unused_imports, reason = "only the data is needed here")]
mod digits;
mod nets;
mod run;
mod scenario;
mod table;
mod witness;

use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use clap::Parser;

use run::{Digits, Result, Seen, faulty, healthy};
use scenario::{FAULTS, HEALTHY, Label, OPTIMIZERS, label, not_applicable, target};

/// Steps that rules ignore, and those they look back over: the defaults of `Thresholds`.
const WARM_UP: i64 = 10;

#[derive(Parser, Clone)]
struct Args {
    /// Only this fault, or `healthy`, or one healthy variant.
    #[arg(long)]
    fault: Option<String>,
    /// Only this network.
    #[arg(long)]
    net: Option<String>,
    /// `tuning`, `held-out` or `all`.
    #[arg(long, default_value = "all")]
    part: String,
    /// Seeds of each cell.
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Processes at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Logs with the defaults, which keep to a limit of costs: what is observed depends on the
    /// machine.
    #[arg(long)]
    limited: bool,
    /// Prints the report of each miss.
    #[arg(long)]
    verbose: bool,
    /// Where the tables go.
    #[arg(long)]
    output: Option<std::path::PathBuf>,
    /// Used by the program itself: every `jobs`-th run from this one on.
    #[arg(long, hide = true)]
    shard: Option<usize>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One run to make.
#[derive(Debug, Clone, Copy)]
struct Cell {
    fault: &'static str,
    net: &'static str,
    optimizer: &'static str,
    seed: u64,
}

impl Cell {
    fn is_healthy(&self) -> bool {
        HEALTHY.contains(&self.fault)
    }

    fn part(&self) -> &'static str {
        let tuned = matches!(self.net, "cnn" | "mlp") && self.seed < 3;
        if tuned { "tuning" } else { "held-out" }
    }
}

/// What came of a run.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) fault: String,
    pub(crate) net: String,
    pub(crate) optimizer: String,
    pub(crate) part: String,
    pub(crate) found: bool,
    pub(crate) right: bool,
    /// Findings that nothing explains.
    pub(crate) wrong: usize,
    pub(crate) steps: Option<i64>,
    /// The first verdict found, for the confusion matrix.
    pub(crate) verdict: String,
    /// What the tensors say against the label; empty: nothing.
    pub(crate) objection: String,
}

fn cells(args: &Args) -> Vec<Cell> {
    let mut all = Vec::new();
    let faults = FAULTS.iter().map(|(fault, _)| *fault).chain(HEALTHY);
    for fault in faults {
        let nets: &[&'static str] = match fault {
            "tied" => &["tied"],
            "residual" => &["residual"],
            "adapter" => &["adapter"],
            "norm-layers" => &["normed"],
            "sparse-embedding" => &["words"],
            "gan-scopes" | "gan-one-store" => &["gan"],
            _ => &nets::NAMES,
        };
        for net in nets {
            for optimizer in OPTIMIZERS {
                all.extend((0..args.seeds).map(|seed| Cell {
                    fault,
                    net,
                    optimizer,
                    seed,
                }));
            }
        }
    }
    let wanted =
        |wanted: &Option<String>, is: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(is);
    all.retain(|cell| {
        let fault = wanted(&args.fault, &|fault| {
            fault == cell.fault || (fault == "healthy" && cell.is_healthy())
        });
        let net = wanted(&args.net, &|net| net == cell.net);
        let part = args.part == "all" || args.part == cell.part();
        fault && net && part && not_applicable(cell.fault, cell.net).is_none()
    });
    all
}

fn main() -> Result<()> {
    let args = Args::parse();
    let cells = cells(&args);
    match args.shard {
        Some(shard) => work(&args, cells.into_iter().skip(shard).step_by(args.jobs)),
        None => collect(&args, cells.len()),
    }
}

/// Makes runs one after the other and prints a line of each.
fn work(args: &Args, cells: impl Iterator<Item = Cell>) -> Result<()> {
    tch::set_num_threads(1);
    run::IS_LIMITED.store(args.limited, Ordering::Relaxed);
    let digits = Digits::load()?;
    for cell in cells {
        let outcome = outcome(&digits, cell, args.verbose)?;
        println!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            outcome.fault,
            outcome.net,
            outcome.optimizer,
            outcome.part,
            outcome.found,
            outcome.right,
            outcome.wrong,
            outcome.steps.map_or("-".into(), |steps| steps.to_string()),
            outcome.verdict,
            outcome.objection
        );
    }
    Ok(())
}

/// Starts the workers and puts their lines together: libtorch has one random generator a process.
fn collect(args: &Args, runs: usize) -> Result<()> {
    let program = std::env::current_exe()?;
    let given: Vec<String> = std::env::args().skip(1).collect();
    let mut workers = Vec::new();
    for shard in 0..args.jobs {
        let mut command = Command::new(&program);
        command.args(&given).arg("--shard").arg(shard.to_string());
        workers.push(command.stdout(Stdio::piped()).spawn()?);
    }
    let mut outcomes = Vec::new();
    for worker in workers {
        let output = worker.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("a worker ended with {}", output.status).into());
        }
        for line in String::from_utf8(output.stdout)?.lines() {
            match Outcome::parse(line) {
                Some(outcome) => outcomes.push(outcome),
                None => println!("{line}"),
            }
        }
    }
    if outcomes.len() != runs {
        return Err(format!("{} of {runs} runs came back", outcomes.len()).into());
    }
    let text = table::tables(&outcomes);
    println!("{text}");
    if let Some(path) = &args.output {
        std::fs::write(path, text)?;
    }
    Ok(())
}

impl Outcome {
    fn parse(line: &str) -> Option<Outcome> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [
            fault,
            net,
            optimizer,
            part,
            found,
            right,
            wrong,
            steps,
            verdict,
            objection,
        ] = fields.as_slice()
        else {
            return None;
        };
        Some(Outcome {
            fault: (*fault).into(),
            net: (*net).into(),
            optimizer: (*optimizer).into(),
            part: (*part).into(),
            found: found.parse().ok()?,
            right: right.parse().ok()?,
            wrong: wrong.parse().ok()?,
            steps: steps.parse().ok(),
            verdict: (*verdict).into(),
            objection: (*objection).into(),
        })
    }
}

fn outcome(digits: &Digits, cell: Cell, verbose: bool) -> Result<Outcome> {
    let Cell {
        fault,
        net,
        optimizer,
        seed,
    } = cell;
    let (seen, label) = if cell.is_healthy() {
        (healthy(digits, net, optimizer, seed, fault)?, None)
    } else {
        // The hint is given in every other run.
        let hinted = seed % 2 == 1;
        let layer = target(fault, net, seed);
        let (seen, names, matrices) = faulty(digits, net, optimizer, seed, (fault, layer), hinted)?;
        (seen, Some(label(fault, net, hinted, &names, &matrices)))
    };
    let outcome = judge(cell, &seen, label.as_ref());
    if verbose && !outcome.objection.is_empty() {
        eprintln!("!!! {cell:?}: {}", outcome.objection);
    }
    if verbose && (!outcome.found || !outcome.right || outcome.wrong > 0) {
        eprintln!("=== {cell:?} {outcome:?}\n{label:?}\n{}", seen.report);
        seen.findings
            .iter()
            .for_each(|finding| eprintln!("at {}: {finding}", finding.step));
    }
    Ok(outcome)
}

fn judge(cell: Cell, seen: &Seen, label: Option<&Label>) -> Outcome {
    let first = seen
        .findings
        .first()
        .map_or("none", |finding| finding.verdict.name());
    let mut outcome = Outcome {
        fault: cell.fault.into(),
        net: cell.net.into(),
        optimizer: cell.optimizer.into(),
        part: cell.part().into(),
        found: true,
        right: seen.findings.is_empty(),
        wrong: seen.findings.len(),
        steps: None,
        verdict: first.into(),
        objection: seen.objection.clone().unwrap_or_default(),
    };
    let Some(label) = label else {
        return outcome;
    };
    if label.verdicts == ["frozen"] {
        let is_frozen = |name: &String| {
            seen.verdicts
                .get(name)
                .is_some_and(|verdict| verdict.name() == "frozen")
        };
        outcome.found = label.must.iter().all(is_frozen);
        outcome.right &= outcome.found;
        outcome.verdict = if outcome.found { "frozen" } else { "none" }.into();
        return outcome;
    }
    let fits: Vec<_> = seen
        .findings
        .iter()
        .filter(|finding| label.verdicts.contains(&finding.verdict.name()))
        .collect();
    let named = |name: &String| {
        fits.iter()
            .find(|finding| finding.variable.as_ref() == Some(name))
    };
    let is_remarked = label.remark.is_some_and(|remark| {
        let mut must = label.must.iter();
        must.all(|name| seen.remarks.contains(&(name.clone(), remark)))
    });
    outcome.found = match label.must.as_slice() {
        _ if is_remarked => true,
        [] => !fits.is_empty(),
        names => names.iter().any(|name| named(name).is_some()),
    };
    let cause = label.cause.is_none_or(|(cause, sure)| {
        fits.iter().all(|finding| match finding.verdict {
            tch_tensorboard::Verdict::NotUpdated { cause: found } => {
                let candidates: Vec<String> =
                    found.candidates().iter().map(ToString::to_string).collect();
                candidates.iter().any(|one| one == cause) && (!sure || candidates.len() == 1)
            }
            _ => false,
        })
    });
    let all_named = label.must.iter().all(|name| named(name).is_some());
    outcome.right = outcome.found && cause && (is_remarked || all_named);
    let is_explained = |finding: &&tch_tensorboard::Finding| {
        let (may, name) = (label.may.as_ref(), finding.variable.as_ref());
        let place = may.is_none_or(|may| name.is_some_and(|name| may.contains(name)));
        let verdict = finding.verdict.name();
        let known = label.verdicts.contains(&verdict) || label.also.contains(&verdict);
        // Units that die on the way are a fault of their own, whatever brought it about.
        let dead = verdict == "dead_gradient" && name.is_some_and(|name| seen.dead.contains(name));
        dead || (place && known && finding.step >= label.since)
    };
    let findings = seen.findings.iter();
    outcome.wrong = findings.filter(|finding| !is_explained(finding)).count();
    // The slowest of the variables that must be named; nothing is sure before warm-up is over.
    let last = match label.must.as_slice() {
        [] => fits.first().map(|finding| finding.step),
        names => names
            .iter()
            .filter_map(|name| named(name).map(|finding| finding.step))
            .max(),
    };
    outcome.steps = last.map(|step| (step - label.since.max(WARM_UP)).max(0));
    if let Some(first) = fits.first() {
        outcome.verdict = first.verdict.name().into();
    }
    outcome
}
