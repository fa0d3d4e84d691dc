//! What points there are, without what they hold.

use std::collections::VecDeque;

use crate::format::event_file::ReadError;
use crate::read::outline::Outline;
use crate::read::plugin::Plugins;
use crate::read::point::{Point, take_apart};
use crate::read::points::outlined;
use crate::read::run_reader::RunReader;
use crate::read::value::PointValue;

/// What is known of a point without what it holds, but for the number of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct PointInfo<'a> {
    /// The name under which it is shown.
    pub tag: &'a str,
    /// The training step.
    pub step: i64,
    /// Seconds since the Unix epoch; a damaged or odd file may hold any number, NaN included.
    pub wall_time: f64,
    /// What it is, in a word: that of [`PointValue::kind`].
    pub kind: &'static str,
    /// The number, when it is a scalar.
    pub scalar: Option<f64>,
}

/// The points of a run, in the order of the files, without what they hold: several times faster
/// than [`Points`](crate::Points), and otherwise the same.
///
/// ```no_run
/// # let log = tch_tensorboard::LogDir::open("runs")?;
/// let mut infos = log.runs()[0].events().point_infos();
/// while let Some(info) = infos.next_info() {
///     let info = info?;
///     println!("{} {} {}", info.tag, info.step, info.kind);
/// }
/// # Ok::<(), tch_tensorboard::ReadError>(())
/// ```
#[derive(Debug)]
pub struct PointInfos {
    events: RunReader,
    plugins: Plugins,
    outline: Outline,
    /// The value of the outline that comes next.
    next: usize,
    /// The points of an event that had to be decoded, and the one handed out.
    ready: VecDeque<Point>,
    current: Option<Point>,
}

impl RunReader {
    /// Which points there are: tags, steps, times and kinds, and the numbers of scalars. Several
    /// times faster than [`points`](RunReader::points).
    pub fn point_infos(self) -> PointInfos {
        PointInfos::new(self)
    }
}

impl PointInfos {
    pub(crate) fn new(events: RunReader) -> PointInfos {
        PointInfos {
            events,
            plugins: Plugins::default(),
            outline: Outline::default(),
            next: 0,
            ready: VecDeque::new(),
            current: None,
        }
    }

    /// The reader underneath, to ask where it is.
    pub fn events(&self) -> &RunReader {
        &self.events
    }

    /// The next point. `None` and errors are those of [`Points`](crate::Points).
    pub fn next_info(&mut self) -> Option<Result<PointInfo<'_>, ReadError>> {
        while self.next == self.outline.len() && self.ready.is_empty() {
            if let Err(error) = self.read()? {
                return Some(Err(error));
            }
        }
        if let Some(point) = self.ready.pop_front() {
            return Some(Ok(PointInfo::of(self.current.insert(point))));
        }
        let (tag, kind) = self.outline.get(self.next)?;
        self.next += 1;
        Some(Ok(PointInfo {
            tag,
            step: self.outline.step,
            wall_time: self.outline.wall_time,
            kind: kind.name,
            scalar: kind.scalar,
        }))
    }

    /// Takes in the next event.
    fn read(&mut self) -> Option<Result<(), ReadError>> {
        self.next = 0;
        let (outline, plugins) = (&mut self.outline, &mut self.plugins);
        let event = match outlined(&mut self.events, outline, plugins, |_| true)? {
            Ok(event) => event,
            Err(error) => return Some(Err(error)),
        };
        if let Some(event) = event {
            take_apart(event, plugins, &mut self.ready);
        }
        Some(Ok(()))
    }
}

impl PointInfo<'_> {
    fn of(point: &Point) -> PointInfo<'_> {
        PointInfo {
            tag: &point.tag,
            step: point.step,
            wall_time: point.wall_time,
            kind: point.value.kind(),
            scalar: match point.value {
                PointValue::Scalar(number) => Some(number),
                _ => None,
            },
        }
    }
}
