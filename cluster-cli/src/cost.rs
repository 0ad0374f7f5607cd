//! What this process costs, and how much it may open: for examples that measure.

use std::io;
use std::time::{Duration, Instant};

/// What this process has used up to a moment. Known on Linux only.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    at: Instant,
    processor: Duration,
    memory: u64,
}

impl Cost {
    /// What it has used up to now.
    ///
    /// # Errors
    ///
    /// The operating system does not say, or not in `/proc/self`.
    pub fn now() -> io::Result<Cost> {
        let (stat, status) =
            (std::fs::read_to_string("/proc/self/stat")?, std::fs::read_to_string("/proc/self/status")?);
        let unknown = || io::Error::other("/proc/self is not as proc(5) says");
        // User and system time, in hundredths of a second. The name before them is in brackets.
        let (_, fields) = stat.rsplit_once(')').ok_or_else(unknown)?;
        let ticks =
            fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or_else(unknown)?;
        let kibibytes = resident.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        Ok(Cost {
            at: Instant::now(),
            processor: Duration::from_millis(10 * ticks.ok_or_else(unknown)?),
            memory: kibibytes.ok_or_else(unknown)? << 10,
        })
    }

    /// The resident memory that has come since an earlier moment, in bytes.
    #[must_use]
    pub fn memory_since(&self, before: &Cost) -> u64 {
        self.memory.saturating_sub(before.memory)
    }

    /// How much of one core was used since an earlier moment: 1 is all of it.
    #[must_use]
    pub fn cores_since(&self, before: &Cost) -> f64 {
        (self.processor - before.processor).as_secs_f64() / (self.at - before.at).as_secs_f64()
    }
}

/// Makes sure that this process can have so many descriptors open, raising its soft limit as far as it may. Returns what
/// may be open now.
///
/// # Errors
///
/// What is missing, in words.
pub fn allow_descriptors(needed: u64) -> Result<u64, String> {
    #[cfg(unix)]
    {
        use rlimit::Resource;
        let unknown = |error| format!("the limit of open files is not known: {error}");
        let (soft, hard) = Resource::NOFILE.get().map_err(unknown)?;
        if soft >= needed {
            return Ok(soft);
        }
        if hard < needed {
            return Err(format!(
                "{needed} files must be open at a time and the operating system allows {hard}, {} too few: raise the hard \
                 limit (ulimit -Hn, or LimitNOFILE), or take fewer nodes",
                needed - hard
            ));
        }
        let raised = Resource::NOFILE.set(needed, hard);
        raised.map_err(|error| format!("the limit of open files cannot be raised from {soft} to {needed}: {error}"))?;
        Ok(needed)
    }
    #[cfg(not(unix))]
    Ok(needed)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_seen() {
        let before = Cost::now().unwrap();
        let memory = vec![1_u8; 64 << 20];
        while Cost::now().unwrap().processor < before.processor + Duration::from_millis(20) {}
        let after = Cost::now().unwrap();
        assert!(after.memory_since(&before) >= 60 << 20, "{after:?} {before:?}");
        assert!(after.cores_since(&before) > 0.0);
        drop(memory);
    }

    #[test]
    fn a_limit_that_is_too_low_says_what_is_missing() {
        assert!(allow_descriptors(10).unwrap() >= 10);
        let (_, hard) = rlimit::Resource::NOFILE.get().unwrap();
        if let Some(needed) = hard.checked_add(7) {
            let words = allow_descriptors(needed).unwrap_err();
            assert!(words.contains("7 too few"), "{words}");
        }
    }
}
