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

/// What the limit of a container leaves: see "memory.max" in the kernel's document on cgroup v2.
fn control_group() -> Option<u64> {
    let read = |file: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok();
    let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
    Some(number("memory.max")?.saturating_sub(number("memory.current")?))
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
}
