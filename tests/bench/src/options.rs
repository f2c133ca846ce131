//! Owns the command line of the harness. It decides nothing else.

use clap::Parser;
use std::path::PathBuf;

/// Compares pgmanifold with PgBouncer, a bare relay and no proxy at all, on real servers.
#[derive(Debug, Clone, Parser)]
#[command(name = "bench")]
pub(crate) struct Options {
    /// Rounds; every round runs every workload on every target, in rotating order.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Seconds of each measured pgbench run.
    #[arg(long, default_value_t = 2)]
    pub(crate) seconds: u64,
    /// One short round of fewer workloads: a look, not a measurement (under two minutes).
    #[arg(long)]
    pub(crate) quick: bool,
    /// Targets to compare.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "direct,pgbouncer,relay,pgmanifold",
        value_name = "NAMES"
    )]
    pub(crate) targets: Vec<String>,
    /// Only workloads whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) only: String,
    /// Leave out the phases after the rounds: system calls, memory, instructions.
    #[arg(long)]
    pub(crate) rounds_only: bool,
    /// Leave out the rounds: only system calls, memory, instructions.
    #[arg(long, conflicts_with = "rounds_only")]
    pub(crate) no_rounds: bool,
    /// Only what concerns shards.
    #[arg(long, conflicts_with_all = ["rounds_only", "no_rounds"])]
    pub(crate) shards: bool,
    /// Only the price of being watched: console and metrics under 1,000 clients.
    #[arg(long, conflicts_with_all = ["rounds_only", "no_rounds", "shards"])]
    pub(crate) console: bool,
    /// Only what counting statements costs.
    #[arg(long, conflicts_with_all = ["rounds_only", "no_rounds", "shards"])]
    pub(crate) digests: bool,
    /// Only moves of keys between shards: so many there and back.
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["rounds_only", "no_rounds", "shards"])]
    pub(crate) moves: Option<usize>,
    /// Transactions per second of the latency runs.
    #[arg(long, default_value_t = 2000)]
    pub(crate) rate_per_second: u32,
    /// Worker threads of pgmanifold (PgBouncer has one).
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: usize,
    /// Folder of the `pgmanifold` and `relay` binaries; where this one lies when not given.
    #[arg(long, value_name = "DIR")]
    pub(crate) binaries: Option<PathBuf>,
    /// The Markdown report goes here.
    #[arg(long, default_value = "target/bench/report.md", value_name = "FILE")]
    pub(crate) report: PathBuf,
    /// Write an annotated callgrind profile of pgmanifold into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) profile: Option<PathBuf>,
}

impl Options {
    /// Applies `--quick`.
    pub(crate) fn resolved(mut self) -> Self {
        if self.quick {
            self.rounds = 1;
            self.seconds = 1;
        }
        self
    }
}
