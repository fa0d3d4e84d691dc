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
    let mut runs: Vec<&Run> = selection.runs().collect();
    runs.sort_by(|one, other| natural(one.name(), other.name()));
    let mut out = BufWriter::new(output(args));
    let (mut all, mut has_weights) = (Vec::new(), false);
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
        has_weights |= judged.has_weights();
        match args.json {
            true if judged.has_weights() => {
                machine::write(&mut out, &judged)?;
                out.flush()?;
            }
            true => {}
            false => all.push(judged),
        }
    }
    drop(progress);
    match args.markdown {
        // Written already, or nothing to write.
        _ if args.json || !has_weights => {}
        true => markdown::write(&mut out, &all)?,
        false => text::write(&mut out, &all)?,
    }
    out.flush()?;
    // Behind the tables, where it is seen.
    let idle = asked.idle();
    idle.iter().for_each(complain);
    match (has_weights, idle.is_empty()) {
        (false, _) => Err(nothing(args, &asked)),
        (true, true) => Ok(status),
        (true, false) => Ok(status.max(Status::CouldNot)),
    }
}

/// Standard output; a table gets its colours where they are asked for.
fn output(args: &Report) -> Box<dyn Write> {
    let out = io::stdout().lock();
    match args.json || args.markdown {
        true => Box::new(out),
        false => Box::new(AutoStream::auto(out)),
    }
}

/// Why there is no report.
fn nothing(args: &Report, asked: &Asked) -> Failure {
    let logdir = args.logdir.display();
    Failure::Argument(match asked.names() {
        0 => format!(
            "no weights in {logdir}: log_weights writes them, or add_histogram of other writers"
        ),
        _ => format!(
            "no variable of {logdir} is left: --variable and --exclude leave out all that have \
             values"
        ),
    })
}
