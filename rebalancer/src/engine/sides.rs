//! Owns the two shards of a move, as a step of it meets them: sessions on both, and the tables.

use crate::config::{Config, ShardConfig};
use crate::connect::{self, Session};
use crate::error::Error;
use crate::journal::{Journal, Move};
use crate::tables::{self, MovedTable, Scope};
use crate::verify;
use pgmanifold_router::shard_map::{Keys, ShardMap};
use std::sync::Arc;

/// The two shards of a move.
#[derive(Debug)]
pub struct Sides {
    /// Number of the move.
    pub id: i64,
    /// Session on the source's primary.
    pub source: Session,
    /// Session on the target's primary.
    pub target: Session,
    /// The tables as the source has them.
    pub tables: Vec<MovedTable>,
    /// The tables as the target has them.
    pub target_tables: Vec<MovedTable>,
    /// The map as it was when the step began.
    pub map: ShardMap,
    /// Index of the distribution.
    pub distribution: usize,
    /// Which keys.
    pub keys: Keys,
    /// For further sessions.
    pub config: Arc<Config>,
    source_name: String,
    target_name: String,
}

impl Sides {
    /// Meets both shards, and ends what sessions an earlier step, or a dead mover, may have left.
    ///
    /// # Errors
    /// One of them is not reached, or lacks a table.
    pub async fn open(journal: &Journal, the_move: &Move) -> Result<Self, Error> {
        let config = Arc::clone(journal.config());
        let map = journal.map().await?;
        let distribution = distribution(&map, the_move)?;
        let source = shard(&config, &the_move.source).await?;
        let target = shard(&config, &the_move.target).await?;
        let tables = tables::load(&source, &map, distribution).await?;
        // What is missing there is told before the move begins, with everything else.
        let (target_tables, _) = tables::load_present(&target, &map, distribution).await?;
        Ok(Self {
            id: the_move.id,
            source,
            target,
            tables,
            target_tables,
            map,
            distribution,
            keys: the_move.keys.clone(),
            config,
            source_name: the_move.source.clone(),
            target_name: the_move.target.clone(),
        })
    }

    /// What moves, with the tables as the source has them.
    pub fn scope(&self) -> Scope<'_> {
        self.with_tables(&self.tables)
    }

    /// What moves, with the tables as the target has them.
    pub fn target_scope(&self) -> Scope<'_> {
        self.with_tables(&self.target_tables)
    }

    fn with_tables<'a>(&'a self, tables: &'a [MovedTable]) -> Scope<'a> {
        Scope {
            id: self.id,
            map: &self.map,
            distribution: self.distribution,
            keys: &self.keys,
            tables,
        }
    }

    /// What is compared.
    pub fn compared(&self) -> verify::Scope<'_> {
        verify::Scope { map: &self.map, distribution: self.distribution, keys: &self.keys }
    }

    /// How the source is reached.
    ///
    /// # Errors
    /// The file does not name it.
    pub fn source_config(&self) -> Result<&ShardConfig, Error> {
        self.config.shard(&self.source_name)
    }

    /// How the target is reached.
    ///
    /// # Errors
    /// The file does not name it.
    pub fn target_config(&self) -> Result<&ShardConfig, Error> {
        self.config.shard(&self.target_name)
    }

    /// A further session on the source's primary.
    ///
    /// # Errors
    /// It is not reached.
    pub async fn more_source(&self) -> Result<Session, Error> {
        connect::primary(&self.source_config()?.server, &place(&self.source_name)).await
    }

    /// A further session on the target's primary.
    ///
    /// # Errors
    /// It is not reached.
    pub async fn more_target(&self) -> Result<Session, Error> {
        connect::primary(&self.target_config()?.server, &place(&self.target_name)).await
    }

    /// The name of who has the keys, by the map.
    pub fn owner(&self) -> Option<&str> {
        let distribution = self.map.distributions.get(self.distribution)?;
        Some(self.map.name(distribution.owner_of(&self.keys)?))
    }

    /// Which histories the two servers are in: one that was replaced by a replica of it is in
    /// another one, and may lack what was committed last.
    ///
    /// # Errors
    /// What the servers say.
    pub async fn histories(&self) -> Result<String, Error> {
        let sql = "select s.system_identifier || '/' || pg_catalog.left(\
                   pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) \
                   from pg_catalog.pg_control_system() s";
        let (source, target) = (self.source.value(sql).await?, self.target.value(sql).await?);
        Ok(format!("{} {}", source.unwrap_or_default(), target.unwrap_or_default()))
    }
}

/// Index of a move's distribution.
///
/// # Errors
/// The map does not have it any more.
pub(super) fn distribution(map: &ShardMap, the_move: &Move) -> Result<usize, Error> {
    let found = map.distributions.iter().position(|one| *one.name == *the_move.distribution);
    found.ok_or_else(|| {
        Error::Stopped(format!("the map has no distribution {:?}", the_move.distribution))
    })
}

/// The primary of a shard, with nobody else of ours on it.
///
/// # Errors
/// It is not reached.
pub(super) async fn shard(config: &Config, name: &str) -> Result<Session, Error> {
    let session = connect::primary(&config.shard(name)?.server, &place(name)).await?;
    connect::end_others(&session).await?;
    Ok(session)
}

fn place(name: &str) -> String {
    format!("shard {name}")
}
