//! Owns `pgmanifold map`: what may be asked of it, and how the answers look. The work is done by
//! the library.

mod json;

use super::{USAGE, complain, load, say};
use clap::Subcommand;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use pgmanifold::shard_map::admin::change::{self, Changed, Permissions};
use pgmanifold::shard_map::admin::moving::describe;
use pgmanifold::shard_map::admin::verify::{Count, Verified, verify};
use pgmanifold::shard_map::admin::{Admin, AdminError, install, sequences};
use pgmanifold_router::shard_map::{Distribution, DistributionKind, ShardMap};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The database (default: the only one with `shards`).
    #[arg(long, value_name = "NAME", global = true)]
    database: Option<String>,
    /// A user of the configuration, whose server login is used on the shards (default: each
    /// shard's `monitor_user`).
    #[arg(long, value_name = "NAME", global = true)]
    user: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the schema `pgm` on every shard, and in the catalog when there is one.
    Init,
    /// Write what the file says of distributions and tables into the catalog.
    Apply {
        /// Only print what would change.
        #[arg(long)]
        dry_run: bool,
        /// Take out of the map what the file does not name.
        #[arg(long)]
        remove: bool,
        /// Let keys have another shard: their rows are there already.
        #[arg(long)]
        yes_the_rows_are_there: bool,
    },
    /// Print the map that holds.
    Show {
        /// Form of the output.
        #[arg(long, value_parser = ["table", "json"], default_value = "table")]
        format: String,
    },
    /// Count rows on the wrong shard, and name what keeps statements over shards from being right.
    Verify,
    /// Set the sequences of sharded tables so that no two shards give the same number.
    Sequences {
        /// Only print what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Make two ranges of one; both stay on its shard.
    Split {
        /// The distribution.
        #[arg(long, value_name = "NAME")]
        distribution: String,
        /// The hash or key the new range begins with.
        #[arg(long, value_name = "BORDER", allow_hyphen_values = true)]
        at: String,
        /// Only print what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Give a range, or a value of a list, to another shard. Moves no rows.
    Move {
        /// The distribution.
        #[arg(long, value_name = "NAME")]
        distribution: String,
        /// The hash or key the range begins with, or the value (default: the first range).
        #[arg(long, value_name = "BORDER", allow_hyphen_values = true)]
        from: Option<String>,
        /// The shard that is to have it.
        #[arg(long, value_name = "SHARD")]
        to: String,
        /// The rows are on the new shard already.
        #[arg(long)]
        yes_the_rows_are_there: bool,
        /// Only print what would change.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs one command. Exit code 0, 1 when something failed or is wrong, 2 for wrong usage.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let common = &arguments.common;
    let Some(path) = &common.config else {
        complain("error: --config FILE is missing");
        return ExitCode::from(USAGE);
    };
    let Some(loaded) = load(path) else { return ExitCode::from(USAGE) };
    let admin = Admin::new(loaded.config, common.database.as_deref(), common.user.as_deref());
    let admin = match admin {
        Ok(admin) => admin,
        Err(error) => {
            complain(&format!("error: {error}"));
            return ExitCode::from(USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(execute(&arguments.command, &admin)) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: &Command, admin: &Admin) -> Result<ExitCode, AdminError> {
    match command {
        Command::Init => {
            let done = install::install(admin).await?;
            done.iter().for_each(|line| say(line));
        }
        Command::Apply { dry_run, remove, yes_the_rows_are_there } => {
            let permissions = Permissions {
                dry: *dry_run,
                remove: *remove,
                rows_are_there: *yes_the_rows_are_there,
            };
            changed(&change::apply(admin, permissions).await?, *dry_run);
        }
        Command::Show { format } => {
            let map = admin.map().await?;
            match format.as_str() {
                "json" => say(&json::render(&map)),
                _ => show(&map),
            }
        }
        Command::Verify => return Ok(verified(&verify(admin).await?)),
        Command::Sequences { dry_run } => {
            let changes = sequences::set(admin, *dry_run).await?;
            if changes.is_empty() {
                say("nothing to set: no two shards give the same number");
            }
            for change in changes {
                let sequences::Change { shard, sequence, next } = change;
                let word = if *dry_run { "would go" } else { "goes" };
                say(&format!("shard {shard}: {sequence} {word} on with {next}"));
            }
        }
        Command::Split { distribution, at, dry_run } => {
            changed(&change::split(admin, distribution, at, *dry_run).await?, *dry_run);
        }
        Command::Move { distribution, from, to, yes_the_rows_are_there, dry_run } => {
            let permissions = Permissions {
                dry: *dry_run,
                rows_are_there: *yes_the_rows_are_there,
                ..Permissions::default()
            };
            let done =
                change::assign(admin, distribution, from.as_deref(), to, permissions).await?;
            changed(&done, *dry_run);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn changed(changed: &Changed, dry: bool) {
    changed.lines.iter().for_each(|line| say(line));
    say(&match (changed.lines.is_empty(), dry) {
        (true, _) => format!("nothing to change: the map has epoch {}", changed.epoch),
        (false, true) => format!("would be epoch {}; nothing was written", changed.epoch),
        (false, false) => format!("the map has epoch {}", changed.epoch),
    });
}

fn show(map: &ShardMap) {
    say(&format!("epoch {}, home {}", map.epoch, map.name(map.home)));
    let mut ranges = table(&["distribution", "kind", "key", "from", "shard"]);
    for one in &map.distributions {
        for (from, shard) in owners(map, one) {
            let types: Vec<String> = one.key_types.iter().map(ToString::to_string).collect();
            ranges.add_row([&*one.name, &one.kind.to_string(), &types.join(", "), &from, &shard]);
        }
    }
    say(&ranges.to_string());
    for one in &map.distributions {
        for moving in &one.moving {
            let moving = moving.with_shards(|shard| map.name(*shard));
            say(&format!("distribution {}: {}", one.name, describe(&moving)));
        }
    }
    let mut tables = table(&["table", "distribution", "key columns"]);
    for one in &map.tables {
        let columns = one.key_columns.join(", ");
        let name = format!("{}.{}", one.schema, one.name);
        tables.add_row([&name, &*map.distribution(one).name, &columns]);
    }
    say(&tables.to_string());
}

/// Where ranges and values of a distribution begin, and who has them.
fn owners(map: &ShardMap, one: &Distribution) -> Vec<(String, String)> {
    let name = |shard| map.name(shard).to_owned();
    match one.kind {
        DistributionKind::Reference => vec![("".into(), "all".into())],
        DistributionKind::Single => vec![("".into(), name(one.home))],
        DistributionKind::Hash | DistributionKind::Range => {
            let range = one.ranges.iter().map(|range| {
                let from = range.from.as_ref();
                (
                    from.map_or_else(|| "the beginning".into(), ToString::to_string),
                    name(range.shard),
                )
            });
            range.collect()
        }
        DistributionKind::List => {
            let value = one.values.iter().map(|(value, shard)| (value.to_string(), name(*shard)));
            value.collect()
        }
    }
}

fn verified(found: &Verified) -> ExitCode {
    let mut counts = table(&["table", "shard", "rows", "moving", "misplaced", "without key"]);
    for one in &found.counts {
        let numbers = [one.rows, one.moving, one.misplaced, one.keyless];
        let [rows, moving, misplaced, keyless] = &numbers.map(|number| number.to_string());
        counts.add_row([&one.table, &one.shard, rows, moving, misplaced, keyless]);
    }
    for column in counts.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    say(&counts.to_string());
    for one in found.counts.iter().filter(|one| one.moving > 0) {
        let Count { table, shard, moving, .. } = one;
        say(&format!("shard {shard}: {moving} rows of {table} have keys that are on their way"));
    }
    found.problems.iter().for_each(|problem| complain(&format!("problem: {problem}")));
    match found.problems.len() {
        0 => {
            say(&format!("all as the map with epoch {} says", found.epoch));
            ExitCode::SUCCESS
        }
        many => {
            complain(&format!("problems: {many}"));
            ExitCode::FAILURE
        }
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table
}
