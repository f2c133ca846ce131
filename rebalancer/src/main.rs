//! The binary `pgmanifold-rebalancer`.

use std::process::ExitCode;

/// Wrong usage: what was asked for cannot be done by this version.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    eprintln!(
        "pgmanifold-rebalancer {}: moving key ranges is not available in this version; nothing \
         was changed",
        env!("CARGO_PKG_VERSION")
    );
    ExitCode::from(USAGE)
}
