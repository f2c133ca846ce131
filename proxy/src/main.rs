//! The binary `pgmanifold`: the command line, and nothing else.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
