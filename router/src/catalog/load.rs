//! Owns the load of keys in the catalog: how many executions went to which part of a hash space,
//! as each process has counted them since it began.

/// Equal parts of the hash space that executions are counted by.
pub const LOAD_PARTS: usize = 1024;

/// Bits of a hash that are below its part.
const SHIFT: u32 = i64::BITS - LOAD_PARTS.ilog2();

/// The part that a hash is in; the smallest hashes are in the first one.
pub fn load_part(hash: i64) -> usize {
    // From signed to unsigned order: what is left has as many bits as there are parts.
    ((hash.cast_unsigned() ^ (1 << (i64::BITS - 1))) >> SHIFT) as usize
}

/// Writes counts: `$1` database, `$2` distribution, `$3` name of the process, `$4` parts, as
/// `int4[]`, `$5` executions of each, as `int8[]`.
pub const WRITE_LOAD_SQL: &str = "insert into pgm.load as l \
     (database, distribution, process, part, executions) \
     select $1, $2, $3, part, executions from unnest($4::int4[], $5::int8[]) c (part, executions) \
     on conflict (database, distribution, process, part) do update \
     set executions = excluded.executions, counted_at = pg_catalog.clock_timestamp()";

/// Forgets the counts of a process, which begins anew: `$1` database, `$2` name of the process.
pub const RESET_LOAD_SQL: &str = "delete from pgm.load where database = $1 and process = $2";

/// Forgets the counts of processes that have not been heard of for a day: `$1` database.
pub const FORGET_LOAD_SQL: &str = "delete from pgm.load l where l.database = $1 \
     and l.counted_at < pg_catalog.clock_timestamp() - interval '1 day' \
     and not exists (select from pgm.proxy p \
                      where p.database = l.database and p.name = l.process \
                        and p.heartbeat > pg_catalog.clock_timestamp() - interval '1 day')";

/// Reads the counts of all processes, as part and executions: `$1` database, `$2` distribution.
pub const READ_LOAD_SQL: &str = "select part, pg_catalog.sum(executions)::int8 from pgm.load \
     where database = $1 and distribution = $2 group by part order by part";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_equal_and_in_order() {
        let width = 1_i64 << SHIFT;
        for (hash, part) in [
            (i64::MIN, 0),
            (i64::MIN + width - 1, 0),
            (i64::MIN + width, 1),
            (-1, LOAD_PARTS / 2 - 1),
            (0, LOAD_PARTS / 2),
            (i64::MAX, LOAD_PARTS - 1),
        ] {
            assert_eq!(load_part(hash), part, "{hash}");
        }
    }
}
