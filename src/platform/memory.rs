//! Memory that is free.

/// Bytes that the system has for new allocations without swapping; `None` where it does not say.
pub(crate) fn available() -> Option<u64> {
    let system = available_of(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(control_group().map_or(system, |own| own.min(system)))
}

/// `MemAvailable` of `/proc/meminfo`: see proc(5).
fn available_of(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What the limit of a container leaves.
fn control_group() -> Option<u64> {
    let read = |file: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok();
    let stat = read("memory.stat").unwrap_or_default();
    left_by(&read("memory.max")?, &read("memory.current")?, &stat)
}

/// What is left of a limit: see "memory.max" and "memory.stat" in the kernel's document on cgroup
/// v2. The pages of files that were read and are not in use count as taken there, and the kernel
/// gives them up where memory is asked for.
fn left_by(limit: &str, taken: &str, stat: &str) -> Option<u64> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let mut lines = stat.lines();
    let reclaimable = lines.find_map(|line| line.strip_prefix("inactive_file "));
    let reclaimable = reclaimable.and_then(number).unwrap_or_default();
    let in_use = number(taken)?.saturating_sub(reclaimable);
    Some(number(limit)?.saturating_sub(in_use))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_read_in_bytes() {
        let text = "MemTotal:       24000 kB\nMemFree:  10 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(available_of(text), Some(2048 * 1024));
        assert_eq!(available_of("MemTotal: 1 kB\n"), None);
        assert_eq!(available_of("MemAvailable: many\n"), None);
    }

    #[test]
    fn pages_of_files_that_are_not_in_use_are_available() {
        let stat = "anon 300\ninactive_anon 10\nactive_file 5\ninactive_file 600\n";
        assert_eq!(left_by("1000\n", "950\n", stat), Some(650));
        assert_eq!(left_by("1000\n", "950\n", ""), Some(50));
        assert_eq!(left_by("max\n", "950\n", stat), None);
    }
}
