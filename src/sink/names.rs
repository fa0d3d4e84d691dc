//! What event files are called.

use std::ffi::{OsStr, OsString};
use std::fmt;

/// What the names of event files begin with, up to the time.
const PREFIX: &str = "events.out.tfevents.";
/// Digits of the time in a name. Both loaders sort names as text, so every time needs as many.
const SECS_DIGITS: usize = 10;
/// The greatest time of that many digits.
const MAX_SECS: u64 = 9_999_999_999;
/// The counter in a name has four digits, for the same reason.
const MAX_COUNTER: u32 = 9999;

/// The name of an event file of this writer: time, host, process and a counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentName {
    secs: u64,
    host: String,
    process: u32,
    counter: u32,
}

impl SegmentName {
    /// A name for a file created at `now_secs` that sorts behind the names `listed` and behind
    /// `previous`, the file of this writer before. TensorBoard reads the files of a run in the
    /// order of their names, and ignores those before the one it is at.
    ///
    /// Behind a file of this very writer the counter gives the order, as files may follow each
    /// other within a second; behind any other the time does.
    pub(super) fn after(
        listed: Vec<OsString>,
        previous: Option<&OsStr>,
        now_secs: u64,
        host: &OsStr,
        process: u32,
    ) -> SegmentName {
        let host = host_label(host);
        let named = |secs: u64, counter| SegmentName {
            secs: secs.min(MAX_SECS),
            host: host.clone(),
            process,
            counter,
        };
        let with_secs = listed
            .into_iter()
            .chain(previous.map(OsStr::to_owned))
            .filter_map(|name| Some((secs_of(&name)?, name)));
        let Some((taken, newest)) = with_secs.max_by(|(_, a), (_, b)| a.cmp(b)) else {
            return named(now_secs, 0);
        };
        if taken < now_secs.min(MAX_SECS) {
            return named(now_secs, 0);
        }
        let own = format!("{PREFIX}{taken:0SECS_DIGITS$}.{host}.{process}.");
        let counter = newest
            .to_str()
            .filter(|_| previous == Some(&newest))
            .and_then(|name| name.strip_prefix(&own)?.parse::<u32>().ok());
        match counter {
            Some(counter) if counter < MAX_COUNTER => named(taken, counter + 1),
            // Host and process number decide within a second, and may go either way.
            _ => named(taken + 1, 0),
        }
    }

    /// The next name of the same second. Processes in two containers may share host name and
    /// process number, and two loggers of one process start in the same second.
    pub(super) fn next(self) -> Option<SegmentName> {
        let counter = self.counter + 1;
        (counter <= MAX_COUNTER).then_some(SegmentName { counter, ..self })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SegmentName {
            secs,
            host,
            process,
            counter,
        } = self;
        write!(
            f,
            "{PREFIX}{secs:0SECS_DIGITS$}.{host}.{process}.{counter:04}"
        )
    }
}

/// The time in the name of an event file, as it sorts: the first ten characters behind the prefix.
/// Fewer digits, as other writers may use, sort like ten with zeros behind; more like their first
/// ten.
fn secs_of(name: &OsStr) -> Option<u64> {
    let rest = name.as_encoded_bytes().strip_prefix(PREFIX.as_bytes())?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    let padded = digits
        .chain(std::iter::repeat(&b'0'))
        .take(SECS_DIGITS)
        .fold(0, |secs, digit| secs * 10 + u64::from(digit - b'0'));
    Some(padded)
}

/// The host's name as a part of a file name: ASCII letters, digits, `-`, `_` and `.` are kept, all
/// else becomes `_`.
fn host_label(host: &OsStr) -> String {
    const MAX_LEN: usize = 64; // Linux' own limit; a file name may have 255 bytes in all.
    let label: String = host
        .to_string_lossy()
        .chars()
        .take(MAX_LEN)
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => c,
            _ => '_',
        })
        .collect();
    match label.is_empty() {
        true => "localhost".to_owned(),
        false => label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::event_file::is_event_file_name;

    const NOW_SECS: u64 = 1_700_000_000;

    fn after(listed: &[&str], previous: Option<&str>) -> SegmentName {
        let listed = listed.iter().map(OsString::from).collect();
        SegmentName::after(
            listed,
            previous.map(OsStr::new),
            NOW_SECS,
            OsStr::new("a"),
            1,
        )
    }

    #[test]
    fn names_sort_behind_all_that_are_there() {
        for taken in [
            "events.out.tfevents.1600000000.host.1.0", // the usual case
            "events.out.tfevents.1700000000.zzz.99.0", // the same second
            "events.out.tfevents.1800000000.host",     // the clock was set back
            "events.out.tfevents.1700000000123.host.v2", // another writer's milliseconds
            "events.out.tfevents.18.host",
            "events.out.tfevents.",
            "a.tfevents",
        ] {
            let name = after(&[taken], None);
            assert!(name.secs >= NOW_SECS);
            let name = name.to_string();
            assert!(name.as_str() > taken, "{taken} {name}");
            assert_eq!(name.len(), "events.out.tfevents.1700000000.a.1.0000".len());
        }
        let last = after(&["events.out.tfevents.9999999999.host"], None);
        assert_eq!((last.secs, last.counter), (MAX_SECS, 0));
    }

    #[test]
    fn files_of_one_writer_count_within_a_second() {
        let first = after(&[], None);
        let listed = first.to_string();
        let second = after(&[&listed], Some(&listed));
        assert_eq!((second.secs, second.counter), (NOW_SECS, 1));
        // Of another process, or of the same one that does not go on from it.
        let other = after(&[&listed], None);
        assert_eq!((other.secs, other.counter), (NOW_SECS + 1, 0));
        let next = first.next().unwrap();
        assert_eq!(next.to_string(), second.to_string());
        let last = SegmentName {
            counter: MAX_COUNTER,
            ..next
        };
        assert_eq!(last.next(), None);
    }

    #[test]
    fn host_names_become_part_of_a_file_name() {
        for (host, label) in [
            ("node-7.cluster", "node-7.cluster"),
            ("", "localhost"),
            ("a/b\\c:d e", "a_b_c_d_e"),
            ("rechnér", "rechn_r"),
        ] {
            assert_eq!(host_label(OsStr::new(host)), label);
        }
        assert_eq!(host_label(OsStr::new(&"é".repeat(300))).len(), 64);
    }

    #[cfg(unix)]
    #[test]
    fn a_host_name_need_not_be_utf8() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(host_label(OsStr::from_bytes(b"no\xffde")), "no_de");
        assert!(is_event_file_name(OsStr::from_bytes(b"\xff.tfevents\xff")));
    }
}
