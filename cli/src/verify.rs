//! `verify`: every record of every file.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tch_tensorboard::EventReader;

use crate::args::Verify;
use crate::output::{Failure, Status, count, shown, size};
use crate::progress::Progress;
use crate::selection;

/// Records between two updates of the progress bar.
const PER_UPDATE: u64 = 256;

pub(crate) fn run(args: &Verify) -> Result<Status, Failure> {
    let mut files = Vec::new();
    let mut status = Status::Fine;
    for logdir in &args.logdirs {
        let log = selection::open(logdir)?;
        status = status.max(selection::unreadable(&log));
        for run in log.runs() {
            files.extend(run.files()?);
        }
    }
    let mut check = Check::new(args, &files);
    for file in &files {
        check.file(file);
    }
    let Check {
        seen,
        status: found,
        ..
    } = check;
    if !args.quiet {
        seen.tell(files.len());
    }
    Ok(status.max(found))
}

struct Check<'a> {
    args: &'a Verify,
    progress: Progress,
    seen: Seen,
    status: Status,
}

/// What was counted, over all files.
#[derive(Default)]
struct Seen {
    records: u64,
    bytes: u64,
    faults: u64,
    half_written: u64,
    /// Nobody reads what is printed any more. The exit status still tells.
    unheard: bool,
}

impl Seen {
    fn say(&mut self, line: impl fmt::Display) {
        let mut out = io::stdout().lock();
        if !self.unheard && writeln!(out, "{}", shown(&line.to_string())).is_err() {
            self.unheard = true;
        }
    }

    fn tell(mut self, files: usize) {
        let Seen {
            records,
            bytes,
            faults,
            half_written,
            ..
        } = self;
        let (files, records) = (count(files as u64, "file"), count(records, "whole record"));
        let (faults, ends) = (
            count(faults, "fault"),
            count(half_written, "half-written end"),
        );
        let bytes = size(bytes);
        self.say(format!("{files}, {records}, {bytes}: {faults}, {ends}"));
    }
}

impl<'a> Check<'a> {
    fn new(args: &'a Verify, files: &[PathBuf]) -> Check<'a> {
        let sizes = files.iter().filter_map(|file| fs::metadata(file).ok());
        Check {
            args,
            progress: Progress::new(sizes.map(|file| file.len()).sum()),
            seen: Seen::default(),
            status: Status::Fine,
        }
    }

    fn file(&mut self, path: &Path) {
        let mut events = match EventReader::open(path) {
            Ok(events) => events.resync(true),
            Err(error) => {
                self.status = Status::CouldNot;
                return self.progress.complain(error);
            }
        };
        let mut offset = 0;
        while let Some(event) = events.check_next() {
            match event {
                Ok(time) if time.is_finite() => self.seen.records += 1,
                Ok(time) => {
                    self.seen.records += 1;
                    let path = path.display();
                    self.fault(format!(
                        "{path}: the event at byte {offset} has the time {time}; TensorBoard's \
                         fast loader drops it, or the rest of the file"
                    ));
                }
                Err(error) if error.is_truncated() => {
                    self.seen.half_written += 1;
                    match self.args.strict {
                        true => self.fault(error),
                        false if self.args.quiet => {}
                        false => self.seen.say(format!("{error} (no fault: see --strict)")),
                    }
                }
                Err(error) if Status::of(&error) == Status::CouldNot => {
                    self.status = Status::CouldNot;
                    self.progress.complain(error);
                    break;
                }
                Err(error) => self.fault(error),
            }
            offset = events.offset();
            if self.seen.records.is_multiple_of(PER_UPDATE) {
                self.progress.at(path, offset);
            }
        }
        self.progress.at(path, offset);
        self.seen.bytes += offset;
    }

    fn fault(&mut self, fault: impl fmt::Display) {
        self.seen.faults += 1;
        self.status = self.status.max(Status::Damage);
        self.seen.say(fault);
    }
}
