//! `inspect`: what runs there are, and what is in them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufWriter, Write};

use serde::Serialize;
use tch_tensorboard::{Point, PointValue, Run};

use crate::args::Inspect;
use crate::output::{Failure, Number, Status, shown, size};
use crate::progress::{Progress, bytes};
use crate::selection::Selection;

pub fn run(args: &Inspect) -> Result<Status, Failure> {
    let selection = Selection::new(&args.logdir, &args.select)?;
    let mut status = selection.status();
    let mut progress = Progress::new(selection.runs().map(bytes).sum());
    let mut out = BufWriter::new(io::stdout().lock());
    for run in selection.runs() {
        let (contents, found) = Contents::of(run, &selection, &mut progress);
        status = status.max(found);
        if args.json {
            serde_json::to_writer(&mut out, &contents)?;
            writeln!(out)?;
        } else {
            contents.print(&mut out, args.runs_only)?;
        }
        out.flush()?;
    }
    Ok(status)
}

/// What is in a run.
#[derive(Serialize)]
struct Contents<'a> {
    run: &'a str,
    files: usize,
    bytes: u64,
    first_wall_time: Option<Number>,
    last_wall_time: Option<Number>,
    /// Faults, half-written ends not counted.
    faults: u64,
    tags: Vec<Tag>,
}

/// What is in a tag.
#[derive(Serialize)]
struct Tag {
    tag: String,
    kind: &'static str,
    points: u64,
    first_step: i64,
    last_step: i64,
    /// The newest value of scalars.
    last: Option<Number>,
}

impl<'a> Contents<'a> {
    fn of(run: &'a Run, selection: &Selection, progress: &mut Progress) -> (Contents<'a>, Status) {
        let mut contents = Contents {
            run: run.name(),
            files: run.files().map_or(0, |files| files.len()),
            bytes: bytes(run),
            first_wall_time: None,
            last_wall_time: None,
            faults: 0,
            tags: Vec::new(),
        };
        let mut status = Status::Fine;
        let mut tags = BTreeMap::new();
        let mut points = run.events().resync(true).points();
        while let Some(point) = points.next() {
            match point {
                Ok(point) if selection.has_tag(&point.tag) => contents.add(&mut tags, point),
                Ok(_) => {}
                Err(error) => {
                    let found = Status::of(&error);
                    contents.faults += u64::from(found == Status::Damage);
                    status = status.max(found);
                    progress.complain(error);
                }
            }
            if let Some((file, offset)) = points.events().position() {
                progress.at(file, offset);
            }
        }
        contents.tags = tags.into_values().collect();
        contents
            .tags
            .sort_by(|a, b| alphanumeric_sort::compare_str(&a.tag, &b.tag));
        (contents, status)
    }

    fn add(&mut self, tags: &mut BTreeMap<String, Tag>, point: Point) {
        let time = point.wall_time;
        if time.is_finite() {
            let first = self
                .first_wall_time
                .map_or(time, |Number(first)| first.min(time));
            let last = self
                .last_wall_time
                .map_or(time, |Number(last)| last.max(time));
            (self.first_wall_time, self.last_wall_time) = (Some(Number(first)), Some(Number(last)));
        }
        let last = match point.value {
            PointValue::Scalar(value) => Some(Number(value)),
            _ => None,
        };
        match tags.get_mut(&point.tag) {
            Some(tag) => {
                tag.points += 1;
                tag.first_step = tag.first_step.min(point.step);
                tag.last_step = tag.last_step.max(point.step);
                tag.last = last.or(tag.last);
            }
            None => {
                let tag = Tag {
                    tag: point.tag.clone(),
                    kind: point.value.kind(),
                    points: 1,
                    first_step: point.step,
                    last_step: point.step,
                    last,
                };
                tags.insert(point.tag, tag);
            }
        }
    }

    fn print(&self, out: &mut impl Write, runs_only: bool) -> io::Result<()> {
        writeln!(out, "{self}")?;
        if runs_only {
            return Ok(());
        }
        let width = self.tags.iter().map(|tag| tag.tag.chars().count());
        let width = width.max().unwrap_or(0).clamp(3, 72);
        writeln!(
            out,
            "  {:<width$}  {:<9}  {:>9}  {:>21}  last",
            "tag", "kind", "points", "steps"
        )?;
        for tag in &self.tags {
            let steps = format!("{} .. {}", tag.first_step, tag.last_step);
            let last = tag.last.map(|last| last.to_string()).unwrap_or_default();
            let (name, kind, points) = (shown(&tag.tag), tag.kind, tag.points);
            let line = format!("  {name:<width$}  {kind:<9}  {points:>9}  {steps:>21}  {last}");
            writeln!(out, "{}", line.trim_end())?;
        }
        writeln!(out)
    }
}

impl fmt::Display for Contents<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plural, tags) = (if self.files == 1 { "" } else { "s" }, self.tags.len());
        let (run, size) = (shown(self.run), size(self.bytes));
        write!(
            formatter,
            "{run}: {} file{plural}, {size}, {tags} tags",
            self.files
        )?;
        let steps = self.tags.iter().map(|tag| tag.first_step).min();
        if let Some((first, last)) = steps.zip(self.tags.iter().map(|tag| tag.last_step).max()) {
            write!(formatter, ", steps {first} .. {last}")?;
        }
        if let Some((Number(first), Number(last))) = self.first_wall_time.zip(self.last_wall_time) {
            write!(formatter, ", {:.0} s", last - first)?;
        }
        match self.faults {
            0 => Ok(()),
            faults => write!(formatter, ", {faults} faults"),
        }
    }
}
