//! Owns what one probe is, what it asks a host and what its answer means. It must not decide
//! anything from it.

use std::time::{Duration, Instant};
use tokio_postgres::Row;
use tokio_postgres::types::PgLsn;

/// A probe to send now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Poll {
    pub(super) host: usize,
    pub(super) started: Instant,
    /// Of the host, before the probe was sent.
    pub(super) incarnation: u64,
    pub(super) sample: Option<SampleTag>,
}

/// Which sample a probe of the primary is.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleTag {
    pub(super) number: u64,
    pub(super) generation: u64,
}

/// What became of a probe.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) poll: Poll,
    pub(super) took: Duration,
    pub(super) result: Result<Seen, String>,
}

/// What cannot change while one connection lasts: which cluster, and since when the server runs.
pub(super) const IDENTIFY: &str = "\
select s.system_identifier, \
 (extract(epoch from pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint, \
 pg_catalog.current_setting('wal_block_size')::bigint \
from pg_catalog.pg_control_system() s";

/// Role and positions. The role is asked once (`offset 0` keeps it from being asked again), as
/// most of these functions fail in the other role. `pg_control_checkpoint().timeline_id` is stale
/// right after a promotion, so a primary tells its timeline by the name of the WAL file it writes,
/// and a replica by its WAL receiver, if it has one.
pub(super) const PROBE: &str = "\
select r.in_recovery, \
 case when r.in_recovery then pg_catalog.pg_last_wal_replay_lsn() \
  else pg_catalog.pg_current_wal_flush_lsn() end, \
 case when not r.in_recovery then pg_catalog.pg_current_wal_insert_lsn() end, \
 case when not r.in_recovery then pg_catalog.substr( \
  pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 1, 8) end, \
 w.received_tli, \
 case when r.in_recovery and w.received_tli is null then \
  (select timeline_id from pg_catalog.pg_control_checkpoint()) end \
from (select pg_catalog.pg_is_in_recovery() as in_recovery offset 0) r \
left join pg_catalog.pg_stat_wal_receiver w on true";

/// See `IDENTIFY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerIdentity {
    /// `pg_control_system().system_identifier`.
    pub(crate) system_id: u64,
    /// `pg_postmaster_start_time()` in microseconds since 1970.
    pub(crate) started_us: i64,
    /// `wal_block_size`.
    pub(crate) wal_block_bytes: u64,
}

/// What a probe saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) system_id: u64,
    pub(super) started_us: i64,
    pub(super) at: At,
}

/// Role and position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Not in recovery.
    Primary {
        timeline: u32,
        flush: u64,
        /// Never before `flush`.
        insert: u64,
    },
    /// In recovery.
    Replica {
        replay: u64,
        /// Timeline of the WAL receiver, while there is one.
        received: Option<u32>,
        /// Timeline of the last restart point, when there is no WAL receiver.
        checkpoint: Option<u32>,
    },
}

impl ServerIdentity {
    pub(super) fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let wal_block_bytes: i64 = row.try_get(2)?;
        Ok(Self {
            system_id: row.try_get::<_, i64>(0)?.cast_unsigned(),
            started_us: row.try_get(1)?,
            wal_block_bytes: wal_block_bytes.cast_unsigned(),
        })
    }
}

impl Seen {
    pub(super) fn read(row: &Row, identity: &ServerIdentity) -> Result<Self, String> {
        Self::read_columns(row, identity).map_err(|error| error.to_string())?
    }

    fn read_columns(
        row: &Row,
        identity: &ServerIdentity,
    ) -> Result<Result<Self, String>, tokio_postgres::Error> {
        let position = row.try_get::<_, Option<PgLsn>>(1)?.map_or(0, u64::from);
        let at = if row.try_get(0)? {
            At::Replica {
                replay: position,
                received: row.try_get::<_, Option<i32>>(4)?.map(i32::cast_unsigned),
                checkpoint: row.try_get::<_, Option<i32>>(5)?.map(i32::cast_unsigned),
            }
        } else {
            let insert = row.try_get::<_, Option<PgLsn>>(2)?.map_or(0, u64::from);
            let file: Option<&str> = row.try_get(3)?;
            let timeline = file.and_then(|text| u32::from_str_radix(text, 16).ok());
            let Some(timeline) = timeline else {
                return Ok(Err(format!("unexpected name of a WAL file: {file:?}")));
            };
            let insert = before_page_header(insert, identity.wal_block_bytes).max(position);
            At::Primary { timeline, flush: position, insert }
        };
        Ok(Ok(Self { system_id: identity.system_id, started_us: identity.started_us, at }))
    }

    /// A timeline the host has certainly seen: the newest one may be higher.
    pub(super) fn told(&self) -> u32 {
        match self.at {
            At::Primary { timeline, .. } => timeline,
            At::Replica { received, checkpoint, .. } => received.or(checkpoint).unwrap_or(0),
        }
    }

    /// Timeline, as far as it is told for sure: a restart point's can be outdated.
    pub(super) fn timeline(&self) -> Option<u32> {
        match self.at {
            At::Primary { timeline, .. } => Some(timeline),
            At::Replica { received, .. } => received,
        }
    }
}

/// Length of the header of a WAL page that does not begin a segment.
const PAGE_HEADER_BYTES: u64 = 24;

/// At a page border the insert position points behind the header of a page that has no record yet,
/// and nothing replays up to there until the next record is written. All records end at or before
/// the border.
fn before_page_header(insert: u64, wal_block_bytes: u64) -> u64 {
    match insert.checked_rem(wal_block_bytes) {
        Some(PAGE_HEADER_BYTES) => insert - PAGE_HEADER_BYTES,
        _ => insert,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insert_position_behind_a_page_header_moves_to_the_border() {
        assert_eq!(before_page_header(0x2000 + 24, 8192), 0x2000);
        assert_eq!(before_page_header(0x2000 + 32, 8192), 0x2000 + 32);
        assert_eq!(before_page_header(0x2000, 8192), 0x2000);
        assert_eq!(before_page_header(24, 0), 24);
    }
}
