//! The binary `pgmanifold-rebalancer`.

use clap::Parser;
use pgmanifold_rebalancer::cli::{self, Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::main(Cli::parse()))
}
