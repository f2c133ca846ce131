//! Owns the table of all keys of the file: what each means, and which values it takes.

use super::Limits;
use std::time::Duration;

/// A key of the file.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The section it stands in; empty for the top of the file.
    pub section: &'static str,
    /// Its name; the unit comes last.
    pub name: &'static str,
    /// What it takes.
    pub form: Form,
    /// What holds without it, in words; empty when it must be there.
    pub default: &'static str,
    /// What it is for.
    pub help: &'static str,
}

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// Text.
    Text,
    /// A whole number within limits, and where it goes.
    Number {
        /// The smallest one.
        min: u64,
        /// The largest one.
        max: u64,
        /// Puts it where it belongs.
        set: fn(&mut Limits, u64),
    },
}

const fn text(
    section: &'static str,
    name: &'static str,
    default: &'static str,
    help: &'static str,
) -> Key {
    Key { section, name, form: Form::Text, default, help }
}

const fn limit(
    name: &'static str,
    (min, max): (u64, u64),
    set: fn(&mut Limits, u64),
    default: &'static str,
    help: &'static str,
) -> Key {
    Key { section: "limits", name, form: Form::Number { min, max, set }, default, help }
}

const BYTES: (u64, u64) = (1, 1 << 60);
const DAY_MS: u64 = 86_400_000;

/// All keys, in the order of the documentation.
pub const KEYS: &[Key] = &[
    text("", "database", "", "The sharded database, by the name that the proxies know it by."),
    text(
        "catalog",
        "url",
        "",
        "Database of the catalog: `postgresql://user:password@host:port,host:port/database`. \
         `${NAME}` stands for a variable of the environment.",
    ),
    text(
        "catalog",
        "password_file",
        "the url's password",
        "File whose first line is the password.",
    ),
    text(
        "catalog",
        "ca_file",
        "the server's certificate is not checked",
        "Certificates (PEM) that the server's certificate must come from. Needs \
         `sslmode=require` in the url.",
    ),
    text("shard", "name", "", "The shard, by its name in the map."),
    text(
        "shard",
        "url",
        "",
        "All servers of the shard, primary and replicas, as hosts of one URL; a superuser's login.",
    ),
    text("shard", "password_file", "the url's password", "File whose first line is the password."),
    text(
        "shard",
        "ca_file",
        "the server's certificate is not checked",
        "Certificates (PEM) that the servers' certificates must come from.",
    ),
    text(
        "shard",
        "subscription",
        "made of `url`",
        "How the servers of other shards reach this shard's primary for logical replication, as \
         libpq's connection string.",
    ),
    limit(
        "copy_bytes_per_s",
        BYTES,
        |limits, n| limits.copy_bytes_per_s = Some(n),
        "as fast as it goes",
        "Bytes copied per second.",
    ),
    limit(
        "replica_lag_bytes",
        BYTES,
        |limits, n| limits.replica_lag_bytes = n,
        "67108864",
        "Copying and deleting wait while a replica of either shard is further behind, in bytes of \
         WAL.",
    ),
    limit(
        "primary_latency_ms",
        (1, DAY_MS),
        |limits, n| limits.primary_latency = ms(n),
        "50",
        "Copying and deleting wait while a trivial query of either primary takes longer.",
    ),
    limit(
        "retained_wal_bytes",
        BYTES,
        |limits, n| limits.retained_wal_bytes = n,
        "17179869184",
        "The move stops when a server keeps more WAL for it.",
    ),
    limit(
        "free_disk_bytes",
        (0, 1 << 60),
        |limits, n| limits.free_disk_bytes = n,
        "1073741824",
        "Disk that must be left on the target after the copy.",
    ),
    limit(
        "acknowledge_timeout_ms",
        (0, DAY_MS),
        |limits, n| limits.acknowledge_timeout = ms(n),
        "30000",
        "Wait for proxies to end what they do by an older map, before they are cut off.",
    ),
    limit(
        "pause_timeout_ms",
        (1, 600_000),
        |limits, n| limits.pause_timeout = ms(n),
        "1000",
        "Wait for proxies before the fence, while new writes to the keys wait.",
    ),
    limit(
        "lock_timeout_ms",
        (1, 600_000),
        |limits, n| limits.lock_timeout = ms(n),
        "100",
        "One try for the locks of the fence, during which other writers of the tables wait too.",
    ),
    limit(
        "lock_tries",
        (1, 1000),
        |limits, n| limits.lock_tries = narrow(n),
        "10",
        "Tries for the locks within one pause.",
    ),
    limit(
        "cutover_tries",
        (1, 10_000),
        |limits, n| limits.cutover_tries = narrow(n),
        "20",
        "Pauses before the move stops.",
    ),
    limit(
        "end_blockers_after_ms",
        (1, DAY_MS),
        |limits, n| limits.end_blockers_after = Some(ms(n)),
        "never",
        "Transactions on the tables that hold up a cut-over for longer are ended.",
    ),
    limit(
        "copy_workers",
        (1, 64),
        |limits, n| limits.copy_workers = narrow(n),
        "2",
        "Sessions that copy at once.",
    ),
    limit(
        "cleanup_batch_rows",
        (1, 1_000_000),
        |limits, n| limits.cleanup_batch_rows = narrow(n),
        "5000",
        "Rows deleted in one transaction.",
    ),
];

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Of a number within the limits of its key.
fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of docs/moving-ranges.md between these are made from the table.
    const BEGIN: &str = "<!-- keys: made by `make docs` -->\n";
    const END: &str = "<!-- end of keys -->\n";

    fn table() -> String {
        let mut table =
            "| section | key | value | default | meaning |\n|---|---|---|---|---|\n".to_owned();
        for Key { section, name, form, default, help } in KEYS {
            let section = match *section {
                "" => String::new(),
                "shard" => "`[[shard]]`".to_owned(),
                one => format!("`[{one}]`"),
            };
            let value = match form {
                Form::Text => "text".to_owned(),
                Form::Number { min, max, .. } => format!("{min} … {max}"),
            };
            let default = if default.is_empty() { "**required**" } else { default };
            table += &format!("| {section} | `{name}` | {value} | {default} | {help} |\n");
        }
        table
    }

    #[test]
    fn documentation_matches() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/moving-ranges.md");
        let text = std::fs::read_to_string(file).unwrap();
        let (before, rest) = text.split_once(BEGIN).expect("the line before the table");
        let (_, after) = rest.split_once(END).expect("the line after the table");
        let wanted = format!("{before}{BEGIN}{}{END}{after}", table());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(file, &wanted).unwrap();
        } else {
            assert!(text == wanted, "docs/moving-ranges.md is not what `make docs` makes");
        }
    }
}
