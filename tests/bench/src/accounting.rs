//! Owns what the kernel says about a process: CPU time, context switches, memory. Reads `/proc`
//! only; the process measured is not touched.

use crate::error::{Context, Result};
use std::collections::BTreeMap;
use std::fs;

/// CPU time and context switches of every thread of a process at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    threads: BTreeMap<String, ThreadUsage>,
}

#[derive(Debug, Clone, Copy, Default)]
struct ThreadUsage {
    cpu_ns: u64,
    switches: u64,
}

/// What a process used between two moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// CPU time, user and kernel together.
    pub(crate) cpu_ns: f64,
    /// Voluntary and involuntary context switches.
    pub(crate) switches: f64,
}

impl Usage {
    /// Reads the accounts of all threads now.
    pub(crate) fn now(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/task");
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(&folder).context(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // A thread may end between the listing and the reading.
            let (Ok(schedstat), Ok(status)) = (
                fs::read_to_string(path.join("schedstat")),
                fs::read_to_string(path.join("status")),
            ) else {
                continue;
            };
            let first = schedstat.split_whitespace().next().unwrap_or("0");
            let cpu_ns = first.parse().context("schedstat")?;
            let switches = field(&status, "voluntary_ctxt_switches").unwrap_or(0)
                + field(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
            threads.insert(name, ThreadUsage { cpu_ns, switches });
        }
        Ok(Usage { threads })
    }

    /// What was used since `earlier`; threads that ended meanwhile are not counted.
    pub(crate) fn since(&self, earlier: &Usage) -> Used {
        let mut used = Used { cpu_ns: 0.0, switches: 0.0 };
        for (id, now) in &self.threads {
            let before = earlier.threads.get(id).copied().unwrap_or_default();
            used.cpu_ns += now.cpu_ns.saturating_sub(before.cpu_ns) as f64;
            used.switches += now.switches.saturating_sub(before.switches) as f64;
        }
        used
    }
}

/// CPU time of a process by the names of its threads, nanoseconds.
pub(crate) fn cpu_by_thread(pid: u32) -> Result<BTreeMap<String, u64>> {
    let folder = format!("/proc/{pid}/task");
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(&folder).context(&folder)? {
        let path = entry?.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        let schedstat = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        let cpu_ns = schedstat.split_whitespace().next().and_then(|first| first.parse().ok());
        *all.entry(name.trim().to_owned()).or_insert(0) += cpu_ns.unwrap_or(0_u64);
    }
    Ok(all)
}

/// Time of all cores since the machine started, in the kernel's ticks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MachineTime {
    all: u64,
    stolen: u64,
}

impl MachineTime {
    /// Reads it; nothing of it is known where `/proc/stat` says nothing.
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal; guest time is in user already.
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
        MachineTime { all: ticks.iter().sum(), stolen: ticks.get(7).copied().unwrap_or(0) }
    }

    /// Share of the time since `earlier` that the hypervisor gave to others, percent.
    pub(crate) fn stolen_percent_since(self, earlier: MachineTime) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        100.0 * self.stolen.saturating_sub(earlier.stolen) as f64 / all as f64
    }
}

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: u64,
    /// Most ever resident.
    pub(crate) peak: u64,
}

/// Reads the memory of a process.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).context(&path)?;
    let kib = |name| field(&status, name).unwrap_or(0) * 1024;
    Ok(Memory { resident: kib("VmRSS"), peak: kib("VmHWM") })
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "VmRSS:\t  12 kB\nnonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3";
        assert_eq!(field(status, "VmRSS"), Some(12));
        assert_eq!(field(status, "voluntary_ctxt_switches"), Some(3));
        assert_eq!(field(status, "nonvoluntary_ctxt_switches"), Some(7));
        assert_eq!(field(status, "Vm"), None);
    }

    #[test]
    fn own_cpu_time_grows() {
        let pid = std::process::id();
        let before = Usage::now(pid).expect("own accounts");
        let mut sum = 0_u64;
        for n in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(n));
        }
        let used = Usage::now(pid).expect("own accounts").since(&before);
        assert!(used.cpu_ns > 0.0, "{used:?} {sum}");
    }
}
