//! How much memory this process takes, as the operating system counts it.

use std::fs;

/// Bytes of memory that the process has in use; nothing where the system does not say.
pub fn resident_bytes() -> Option<u64> {
    read(&fs::read_to_string("/proc/self/status").ok()?)
}

fn read(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_how_much_is_in_use() {
        assert_eq!(read("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t1\n"), Some(2_097_152));
        assert_eq!(read("Name:\tx\n"), None);
        assert!(resident_bytes().is_none_or(|bytes| bytes > 100_000));
    }
}
