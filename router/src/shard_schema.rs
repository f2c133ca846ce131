//! Owns the SQL of the schema `pgm` that every shard has: decisions of transactions over several
//! shards, the shard's own number, and ids that no other shard makes. Texts only; who runs them is
//! somebody else's business.
//!
//! Layout of an id, from the highest bit: 0, then 41 bits of milliseconds since 2020-01-01 UTC,
//! 12 bits of the shard's number, 10 bits of a counter.

/// Version of the schema, as `pgm.this_shard` says it.
pub const VERSION: u32 = 2;

/// Shards are numbered from 0 up to this.
pub const NUMBER_MAX: u16 = 4095;

/// Asks a shard whether it has the schema, for its `max_prepared_transactions`, whether the login
/// is a superuser, and whether it may resolve.
pub const CHECK: &str = "\
select pg_catalog.to_regclass('pgm.this_shard') is not null, \
 pg_catalog.current_setting('max_prepared_transactions')::integer, \
 (select rolsuper from pg_catalog.pg_roles where rolname = current_user), \
 coalesce(pg_catalog.has_function_privilege(\
  pg_catalog.to_regprocedure('pgm.resolve(text)'), 'execute'), false)";

/// Asks a shard that has the schema for its number and for the version of the schema.
pub const IDENTIFY: &str = "select number, version from pgm.this_shard";

const TEXT: &str = include_str!("shard_schema.sql");

/// Says that a connection is to carry statements of a sharded database: `$1` is the name of the
/// process (`text`), `$2` the epoch below which none of its statements runs any more (`int8`).
/// Fails with [`TOO_OLD`] where that epoch is below the shard's least one. To be run at the
/// beginning of every such connection, on replicas too, outside of transactions of the client's.
pub const ATTACH: &str = "select pgm.attach($1::text, $2::int8)";

/// SQLSTATE of writes to keys that are being moved, or were, to another shard.
pub const MOVED: &str = "PGM01";
/// SQLSTATE of DDL and TRUNCATE while keys of the table are being moved.
pub const MOVING: &str = "PGM02";
/// SQLSTATE of a connection by a map that is older than the shard allows.
pub const TOO_OLD: &str = "PGM07";

/// Most decisions that one call of `pgm.forget` deletes.
pub const FORGET_MAX: u64 = 10_000;

/// What installs the schema on the shard with this number, and lets these roles recover
/// transactions. It must be run as one transaction; to run it again changes nothing, and brings an
/// older version up to this one.
pub fn install(number: u16, recovery_roles: &[&str]) -> String {
    let mut text =
        TEXT.replace("$NUMBER$", &number.to_string()).replace("$VERSION$", &VERSION.to_string());
    for role in recovery_roles {
        let role = role.replace('"', "\"\"");
        text.push_str(&format!(
            "grant execute on function pgm.resolve(text), pgm.forget(text, text[]) to \"{role}\";\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_quoted() {
        let text = install(7, &["re\"co"]);
        assert!(text.contains("pgm.forget(text, text[]) to \"re\"\"co\";"), "{text}");
        assert!(!text.contains("$NUMBER$") && !text.contains("$VERSION$"));
        assert!(text.contains("number <> 7"));
    }
}
