//! `report`: whether the weights of each run learn.

mod asked;
mod machine;
mod markdown;
mod reading;
mod screen;
mod stop;
mod summary;
mod text;
mod watch;

use std::io::{self, BufWriter, Write};

use anstream::AutoStream;
use tch_tensorboard::Run;

use crate::args::Report;
use crate::output::{Failure, Status, complain};
use crate::progress::{Progress, bytes};
use crate::selection::Selection;
use asked::{Asked, Wanted};
use reading::{Judged, natural, read_on, reader};

pub(crate) fn run(args: &Report) -> Result<Status, Failure> {
    let wanted = Wanted::new(&args.fail_on)?;
    let mut asked = Asked::new(args)?;
    if let Some(every) = args.watch {
        return watch::run(args, &wanted, asked, every);
    }
    let selection = Selection::of(&args.logdir, &args.run, &[])?;
    let mut status = selection.status();
    let mut progress = Progress::new(selection.runs().map(bytes).sum());
    let mut out = BufWriter::new(io::stdout().lock());
    let mut all = Vec::new();
    let mut runs: Vec<&Run> = selection.runs().collect();
    runs.sort_by(|one, other| natural(one.name(), other.name()));
    for run in runs {
        let mut reader = reader(run, args)?;
        let complain = |progress: &Progress, error| {
            status = status.max(Status::of(&error));
            progress.complain(error);
        };
        read_on(&mut reader, &mut progress, || false, complain);
        let judged = Judged::of(run, reader.finish());
        asked.meet(&judged.found.variables);
        status = status.max(wanted.status(&judged));
        if args.json && judged.has_weights() {
            machine::write(&mut out, &judged)?;
            out.flush()?;
        }
        all.push(judged);
    }
    drop(progress);
    let idle = asked.idle();
    idle.iter().for_each(complain);
    if !all.iter().any(Judged::has_weights) {
        return Err(nothing(args, &asked));
    }
    if args.markdown {
        markdown::write(&mut out, &all)?;
        out.flush()?;
    } else if !args.json {
        drop(out);
        let mut out = BufWriter::new(AutoStream::auto(io::stdout().lock()));
        text::write(&mut out, &all)?;
        out.flush()?;
    }
    Ok(match idle.is_empty() {
        true => status,
        false => status.max(Status::CouldNot),
    })
}

/// Why there is no report.
fn nothing(args: &Report, asked: &Asked) -> Failure {
    let logdir = args.logdir.display();
    Failure::Argument(match asked.names() {
        0 => format!(
            "no weights in {logdir}: log_weights writes them, or add_histogram of other writers"
        ),
        _ => format!("no variable of {logdir} is left to report on: see the patterns"),
    })
}
