//! `inspect`: what runs there are, and what is in them.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufWriter, Write};

use serde::Serialize;
use tch_tensorboard::{PointInfo, Run};

use crate::args::Inspect;
use crate::output::{Failure, Number, Status, count, shown, size};
use crate::progress::{Progress, bytes};
use crate::selection::Selection;

pub(crate) fn run(args: &Inspect) -> Result<Status, Failure> {
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
    drop(progress);
    Ok(status.max(selection.tag_status()))
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

/// The tags of a run, found by their names.
#[derive(Default)]
struct Tags {
    list: Vec<Known>,
    places: HashMap<Box<str>, usize>,
    /// Where the tag of the point before is in the list.
    last: usize,
}

struct Known {
    tag: Tag,
    is_wanted: bool,
    /// Where the tag is that came behind this one. Training logs the same tags in turn, so it
    /// mostly comes again, and comparing it is faster than looking it up.
    next: usize,
}

impl Tags {
    /// The tag of a point, if it was asked for.
    fn of(&mut self, point: &PointInfo, selection: &Selection) -> Option<&mut Tag> {
        let is_at = |place: usize| {
            let known = self.list.get(place);
            known.is_some_and(|known| known.tag.tag == point.tag)
        };
        let guess = self.list.get(self.last).map_or(0, |last| last.next);
        let place = match is_at(guess) {
            true => guess,
            false => self.place(point, selection),
        };
        if let Some(last) = self.list.get_mut(self.last) {
            last.next = place;
        }
        self.last = place;
        let known = self.list.get_mut(place)?;
        known.is_wanted.then_some(&mut known.tag)
    }

    fn place(&mut self, point: &PointInfo, selection: &Selection) -> usize {
        if let Some(place) = self.places.get(point.tag) {
            return *place;
        }
        let place = self.list.len();
        self.list.push(Known {
            tag: Tag::new(point),
            is_wanted: selection.has_tag(point.tag),
            next: 0,
        });
        self.places.insert(point.tag.into(), place);
        place
    }
}

impl Tag {
    fn new(point: &PointInfo) -> Tag {
        Tag {
            tag: point.tag.to_owned(),
            kind: point.kind,
            points: 0,
            first_step: point.step,
            last_step: point.step,
            last: None,
        }
    }

    fn add(&mut self, point: &PointInfo) {
        self.points += 1;
        self.first_step = self.first_step.min(point.step);
        self.last_step = self.last_step.max(point.step);
        self.last = point.scalar.map(Number).or(self.last);
    }
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
        let mut tags = Tags::default();
        let mut points = run.events().resync(true).point_infos();
        while let Some(point) = points.next_info() {
            match point {
                Ok(point) => {
                    if let Some(tag) = tags.of(&point, selection) {
                        tag.add(&point);
                        contents.add_time(point.wall_time);
                    }
                }
                Err(error) => {
                    let found = Status::of(&error);
                    contents.faults += u64::from(found == Status::Damage);
                    status = status.max(found);
                    progress.complain(error);
                }
            }
            progress.follow(points.events());
        }
        let wanted = tags.list.into_iter().filter(|known| known.is_wanted);
        contents.tags = wanted.map(|known| known.tag).collect();
        contents
            .tags
            .sort_by(|a, b| alphanumeric_sort::compare_str(&a.tag, &b.tag).then(a.tag.cmp(&b.tag)));
        (contents, status)
    }

    fn add_time(&mut self, time: f64) {
        if time.is_finite() {
            let first = self
                .first_wall_time
                .map_or(time, |Number(first)| first.min(time));
            let last = self
                .last_wall_time
                .map_or(time, |Number(last)| last.max(time));
            (self.first_wall_time, self.last_wall_time) = (Some(Number(first)), Some(Number(last)));
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
            "  {:<width$}  {:<11}  {:>9}  {:>21}  last",
            "tag", "kind", "points", "steps"
        )?;
        for tag in &self.tags {
            let steps = format!("{} .. {}", tag.first_step, tag.last_step);
            let last = tag.last.map(|last| last.to_string()).unwrap_or_default();
            let (name, kind, points) = (shown(&tag.tag), tag.kind, tag.points);
            let line = format!("  {name:<width$}  {kind:<11}  {points:>9}  {steps:>21}  {last}");
            writeln!(out, "{}", line.trim_end())?;
        }
        writeln!(out)
    }
}

impl fmt::Display for Contents<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = count(self.files as u64, "file");
        let tags = count(self.tags.len() as u64, "tag");
        let (run, size) = (shown(self.run), size(self.bytes));
        write!(formatter, "{run}: {files}, {size}, {tags}")?;
        let steps = self.tags.iter().map(|tag| tag.first_step).min();
        if let Some((first, last)) = steps.zip(self.tags.iter().map(|tag| tag.last_step).max()) {
            write!(formatter, ", steps {first} .. {last}")?;
        }
        if let Some((Number(first), Number(last))) = self.first_wall_time.zip(self.last_wall_time) {
            write!(formatter, ", {:.0} s", last - first)?;
        }
        match self.faults {
            0 => Ok(()),
            faults => write!(formatter, ", {}", count(faults, "fault")),
        }
    }
}
