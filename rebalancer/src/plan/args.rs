//! Owns the command line of `plan`.

use super::parts::By;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Proposes moves, and touches nothing. Without a subcommand it balances all shards.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct PlanArgs {
    /// Something narrower than balancing.
    #[command(subcommand)]
    pub command: Option<Narrow>,
    /// What is to be alike on all shards.
    #[arg(long, value_enum, default_value = "bytes")]
    pub by: By,
    /// A shard that is to get its share; may be given again.
    #[arg(long, value_name = "SHARD")]
    pub add_shard: Vec<String>,
    /// A shard that is to have nothing; may be given again.
    #[arg(long, value_name = "SHARD")]
    pub drain: Vec<String>,
    /// Only this distribution; may be given again.
    #[arg(long, value_name = "NAME")]
    pub distribution: Vec<String>,
    /// Shards that are within this much of their share are left as they are, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    pub threshold: f64,
    /// A move must bring shards closer to their shares by this much of what it moves, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 50.0)]
    pub improvement: f64,
    /// How it is read and shown.
    #[command(flatten)]
    pub shown: Shown,
}

/// How a plan is made and shown.
#[derive(Debug, Clone, Args)]
pub struct Shown {
    /// Read all rows of large tables too, not a sample.
    #[arg(long)]
    pub exact: bool,
    /// Write the plan into this file too, as JSON, for `apply --plan`. (`--json` prints that.)
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What else can be planned.
#[derive(Debug, Clone, Subcommand)]
pub enum Narrow {
    /// Split the range that a border is in. Both stay where they are.
    Split {
        /// The distribution.
        #[arg(long, value_name = "NAME")]
        distribution: String,
        /// Where the second range begins: a hash, or a key.
        #[arg(long, value_name = "BORDER", allow_hyphen_values = true)]
        at: String,
        /// How it is shown.
        #[command(flatten)]
        shown: Shown,
    },
    /// Make one range of neighbours on one shard.
    Merge {
        /// The distribution.
        #[arg(long, value_name = "NAME")]
        distribution: String,
        /// Where the second range begins. Without it: all neighbours.
        #[arg(long, value_name = "BORDER", allow_hyphen_values = true)]
        at: Option<String>,
        /// How it is shown.
        #[command(flatten)]
        shown: Shown,
    },
    /// Make a key a range of its own.
    Isolate {
        /// The distribution.
        #[arg(long, value_name = "NAME")]
        distribution: String,
        /// The key; once for each of its columns.
        #[arg(long, value_name = "VALUE", required = true, allow_hyphen_values = true)]
        key: Vec<String>,
        /// The shard that is to have it.
        #[arg(long, value_name = "SHARD", visible_alias = "to")]
        target: Option<String>,
        /// How it is shown.
        #[command(flatten)]
        shown: Shown,
    },
    /// Give keys to a shard.
    Give {
        /// The distribution.
        #[arg(long, value_name = "NAME")]
        distribution: String,
        /// The first border; without it, the very beginning.
        #[arg(long, value_name = "BORDER", allow_hyphen_values = true)]
        from: Option<String>,
        /// The border beyond the last key; without it, the very end.
        #[arg(long, value_name = "BORDER", allow_hyphen_values = true)]
        to: Option<String>,
        /// Of a list: a value; may be given again.
        #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
        value: Vec<String>,
        /// The shard that is to have them.
        #[arg(long, value_name = "SHARD")]
        target: String,
        /// How it is shown.
        #[command(flatten)]
        shown: Shown,
    },
}

impl PlanArgs {
    /// How the plan is made and shown, whatever is planned.
    pub fn shown(&self) -> &Shown {
        match &self.command {
            None => &self.shown,
            Some(
                Narrow::Split { shown, .. }
                | Narrow::Merge { shown, .. }
                | Narrow::Isolate { shown, .. }
                | Narrow::Give { shown, .. },
            ) => shown,
        }
    }
}
