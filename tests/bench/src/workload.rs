//! Owns the list of workloads and how one is asked of pgbench. It starts nothing.

use crate::process::Scratch;

/// How pgbench sends statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One Query message.
    Simple,
    /// Unnamed Parse, Bind, Describe, Execute, Sync.
    Extended,
    /// A named statement parsed once, then Bind, Describe, Execute, Sync.
    Prepared,
}

/// What one transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// One row by primary key (`pgbench -S`).
    Select,
    /// pgbench's TPC-B-like transaction of seven statements.
    TpcB,
    /// 1,000 rows of about 100 bytes.
    Rows,
}

/// File with the script of `Script::Rows`.
pub(crate) const ROWS_FILE: &str = "rows.sql";
/// Its text.
pub(crate) const ROWS_SQL: &str = "select * from bench_rows limit 1000;\n";

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Workload {
    /// What is asked.
    pub(crate) script: Script,
    /// How.
    pub(crate) mode: Mode,
    /// By how many clients at once.
    pub(crate) clients: usize,
}

impl Workload {
    /// The workloads of a run, in order.
    pub(crate) fn all(quick: bool, only: &str) -> Vec<Workload> {
        let mut all = Vec::new();
        for mode in [Mode::Simple, Mode::Extended, Mode::Prepared] {
            for clients in [1, 10, 100] {
                all.push(Workload { script: Script::Select, mode, clients });
            }
        }
        all.push(Workload { script: Script::TpcB, mode: Mode::Simple, clients: 10 });
        all.push(Workload { script: Script::Rows, mode: Mode::Simple, clients: 10 });
        all.retain(|workload| {
            let left_out = quick && workload.mode == Mode::Extended && workload.clients != 10;
            !left_out && workload.name().contains(only)
        });
        all
    }

    /// Its name in the report.
    pub(crate) fn name(self) -> String {
        let mode = match self.mode {
            Mode::Simple => "simple",
            Mode::Extended => "extended",
            Mode::Prepared => "prepared",
        };
        let script = match self.script {
            Script::Select => "select",
            Script::TpcB => "tpc-b",
            Script::Rows => "1000 rows",
        };
        let s = if self.clients == 1 { "" } else { "s" };
        format!("{script} {mode}, {} client{s}", self.clients)
    }

    /// Statements in one transaction.
    pub(crate) fn queries(self) -> f64 {
        match self.script {
            Script::TpcB => 7.0,
            Script::Select | Script::Rows => 1.0,
        }
    }

    /// The arguments that make pgbench do this.
    pub(crate) fn arguments(self, scratch: &Scratch) -> Vec<String> {
        let mut words = vec!["-n".to_owned(), "-M".to_owned()];
        words.push(
            match self.mode {
                Mode::Simple => "simple",
                Mode::Extended => "extended",
                Mode::Prepared => "prepared",
            }
            .to_owned(),
        );
        words.extend(["-c".to_owned(), self.clients.to_string(), "-j".to_owned(), "1".to_owned()]);
        match self.script {
            Script::Select => words.push("-S".to_owned()),
            Script::TpcB => {}
            Script::Rows => {
                words.push("-f".to_owned());
                words.push(scratch.join(ROWS_FILE).display().to_string());
            }
        }
        words
    }
}
