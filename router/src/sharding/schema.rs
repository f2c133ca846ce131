//! Owns what a name in a statement means to the shards: a sharded table, a copy on every shard, a
//! table of one shard, a view or function that reaches such tables, or nothing that is known.

use super::{Catalog, Refusal};
use crate::facts::Call;
use crate::facts::schema::{Lookup, Relation, RelationKind};
use crate::lexer::TokenKind;
use crate::planner::{Text, argument_count, is_call, is_local_function, is_syntax, schema_of};
use crate::shard_map::{DistributionKind, ShardId, Table};

/// What the name of a relation means.
#[derive(Debug, Clone)]
pub(crate) enum Meaning<'a> {
    /// Its rows are spread by their key.
    Sharded(&'a Table),
    /// A whole copy on every shard.
    Reference,
    /// It lives on this shard alone.
    On(ShardId),
    /// Of the system catalogs; on every server, and different on each.
    System,
    /// It cannot be used where there are shards.
    Refused(Box<Refusal>),
    /// No relation of this name is known.
    Unknown,
}

impl<'a> Catalog<'a> {
    /// What the name of a relation means.
    pub(crate) fn meaning(&self, schema: Option<&str>, name: &str) -> Meaning<'a> {
        if matches!(schema, Some("pg_catalog" | "information_schema" | "pg_toast")) {
            return Meaning::System;
        }
        let mapped: Vec<&'a Table> = self.mapped(schema, name).collect();
        let known = match self.facts.schema().lookup(schema, name) {
            Lookup::Unknown => &[][..],
            Lookup::One(relation) => std::slice::from_ref(relation),
            Lookup::Several(relations) => relations,
        };
        let is_mapped =
            |relation: &&Relation| mapped.iter().any(|table| table.schema == relation.schema);
        let others: Vec<&'a Relation> =
            known.iter().filter(|relation| !is_mapped(relation)).collect();
        match (mapped.as_slice(), others.as_slice()) {
            ([table], []) => self.mapped_meaning(table),
            ([], []) if schema.is_none() && name.starts_with("pg_") => Meaning::System,
            ([], []) if !self.facts.schema().is_known() => Meaning::Refused(not_loaded()),
            ([], []) => Meaning::Unknown,
            ([], [relation]) => self.other_meaning(relation),
            ([], several) => {
                let meanings = several.iter().map(|relation| self.other_meaning(relation));
                let refused = meanings.into_iter().find(|m| matches!(m, Meaning::Refused(_)));
                refused.unwrap_or(Meaning::On(self.map.home))
            }
            _ => Meaning::Refused(ambiguous(name)),
        }
    }

    fn mapped<'s>(
        &self,
        schema: Option<&'s str>,
        name: &'s str,
    ) -> impl Iterator<Item = &'a Table> + use<'a, 's> {
        let map = self.map;
        map.tables.iter().filter(move |table| {
            *table.name == *name && schema.is_none_or(|schema| *table.schema == *schema)
        })
    }

    fn mapped_meaning(&self, table: &'a Table) -> Meaning<'a> {
        let Some(distribution) = self.map.distributions.get(table.distribution) else {
            return Meaning::Unknown;
        };
        let relation = self.facts.schema().relation(&table.schema, &table.name);
        if relation.is_some_and(|relation| relation.row_security)
            && let Some(reached) = self.reached_from(&table.name, &table.name)
        {
            return Meaning::Refused(reaches("table", &table.name, &reached));
        }
        match distribution.kind {
            DistributionKind::Reference => Meaning::Reference,
            DistributionKind::Single => Meaning::On(distribution.home),
            DistributionKind::Hash | DistributionKind::Range | DistributionKind::List => {
                Meaning::Sharded(table)
            }
        }
    }

    fn other_meaning(&self, relation: &'a Relation) -> Meaning<'a> {
        let name = &*relation.name;
        if let Some(parent) = self.sharded_parent(relation) {
            let refusal = Refusal::new("partition", "a part of a sharded table is named by itself")
                .detail(format!("\"{name}\" is a partition or child of \"{parent}\"."))
                .hint("Name the sharded table instead.");
            return Meaning::Refused(Box::new(refusal));
        }
        let what = match relation.kind {
            RelationKind::View => "view",
            RelationKind::Materialized => "materialized view",
            _ if relation.row_security => "table",
            _ => "",
        };
        if !what.is_empty()
            && let Some(reached) = self.reached_from(name, name)
        {
            return Meaning::Refused(reaches(what, name, &reached));
        }
        let owner = relation.owned_by.as_ref();
        if let Some((schema, table, _)) = owner
            && matches!(
                self.mapped(Some(schema), table).next().map(|t| self.mapped_meaning(t)),
                Some(Meaning::Sharded(_))
            )
        {
            let refusal = Refusal::new("sequence", "each shard has a sequence of its own")
                .detail(format!("\"{name}\" belongs to the sharded table \"{table}\"."));
            return Meaning::Refused(Box::new(refusal));
        }
        Meaning::On(self.map.home)
    }

    /// The sharded table that has this relation as a partition or child, or the other way round.
    fn sharded_parent(&self, relation: &Relation) -> Option<&'a str> {
        let schema = self.facts.schema();
        let is_it = |(parent_schema, parent): &(Box<str>, Box<str>)| {
            *parent_schema == relation.schema && *parent == relation.name
        };
        let above = self.map.tables.iter().find(|table| {
            let child = schema.relation(&table.schema, &table.name);
            child.and_then(|child| child.parent.as_ref()).is_some_and(is_it)
        });
        if let Some(table) = above {
            return Some(&table.name);
        }
        let mut parent = relation.parent.as_ref();
        for _ in 0..MAX_PARENTS {
            let (schema_name, name) = parent?;
            if let Some(table) = self.mapped(Some(schema_name), name).next() {
                return Some(&table.name);
            }
            parent = schema.relation(schema_name, name)?.parent.as_ref();
        }
        None
    }

    /// The sharded table, or text of unknown content, that a view or function reaches.
    fn reached_from(&self, name: &str, itself: &str) -> Option<String> {
        let found = |mentioned: &str| mentioned != itself && self.is_sharded_name(mentioned);
        self.facts.schema().reaches(name, found).map(str::to_string)
    }

    /// Whether some table of this name has its rows on several shards, or on one that is not home.
    pub(crate) fn is_sharded_name(&self, name: &str) -> bool {
        self.mapped(None, name).any(|table| {
            self.map.distributions.get(table.distribution).is_none_or(|distribution| {
                match distribution.kind {
                    DistributionKind::Reference => false,
                    DistributionKind::Single => distribution.home != self.map.home,
                    _ => true,
                }
            })
        })
    }

    /// Whether a relation of this name is not the same on every shard.
    fn is_local_name(&self, name: &str) -> bool {
        let is_reference = self.mapped(None, name).any(|_| true) && !self.is_sharded_name(name);
        !is_reference && self.facts.schema().is_relation(name)
    }

    /// What the functions called in the text reach: a refusal when it is a sharded table, whether
    /// it is a table of the home shard.
    pub(crate) fn called(&self, text: &Text<'_>, at: std::ops::Range<usize>) -> Called {
        let schema = self.facts.schema();
        let mut called = Called::default();
        for here in at.filter(|&here| text.is_identifier(here)) {
            let Some(name) = text.name(here) else { continue };
            if schema.mentions(&name).is_none() {
                continue;
            }
            let call = text.is_kind(here + 1, TokenKind::OpenParen);
            let attribute = text.kind_before(here) == Some(TokenKind::Dot);
            if !call && (!attribute || schema.is_relation(&name)) {
                continue;
            }
            if matches!(text.word_before(here), "into" | "with" | "recursive") {
                continue;
            }
            if let Some(reached) = self.reached_from(&name, "") {
                called.refusal.get_or_insert_with(|| reaches("function", &name, &reached));
            }
            let local = schema.reaches(&name, |mentioned| self.is_local_name(mentioned));
            called.home |= local.is_some();
        }
        called
    }

    /// Why a range of tokens must not be run by several shards: it calls something whose answer is
    /// one server's own, or that may write.
    pub(crate) fn spread_call(
        &self,
        text: &Text<'_>,
        at: std::ops::Range<usize>,
    ) -> Option<String> {
        for here in at.filter(|&here| text.is_identifier(here)) {
            let Some(name) = text.name(here) else { continue };
            if !text.is_kind(here + 1, TokenKind::OpenParen) {
                continue;
            }
            if is_local_function(&name) || is_one_servers(&name) {
                return Some(format!("{name} is about one server or session"));
            }
            if !is_call(text, here) {
                continue;
            }
            let schema = schema_of(text, here);
            match self.facts.call(schema.as_deref(), &name, argument_count(text, here + 1)) {
                Call::Harmless => {}
                Call::Volatile if matches!(&*name, "random" | "random_normal") => {}
                Call::Volatile => return Some(format!("{name} may write")),
                Call::Unknown if schema.is_none() && is_syntax(text, here) => {}
                Call::Unknown => return Some(format!("{name} is not known")),
            }
        }
        None
    }
}

/// Most levels of partitions that are followed.
const MAX_PARENTS: usize = 16;

/// What the functions of a text reach.
#[derive(Debug, Default)]
pub(crate) struct Called {
    pub(crate) refusal: Option<Box<Refusal>>,
    /// A table that lives on the home shard.
    pub(crate) home: bool,
}

/// Functions about one server that are not so for a replica.
fn is_one_servers(name: &str) -> bool {
    const NAMES: [&str; 23] = [
        "nextval",
        "setval",
        "set_config",
        "pg_notify",
        "pg_is_in_recovery",
        "pg_relation_size",
        "pg_total_relation_size",
        "pg_table_size",
        "pg_indexes_size",
        "pg_database_size",
        "pg_tablespace_size",
        "pg_size_of",
        "pg_export_snapshot",
        "setseed",
        "lo_create",
        "pg_relation_filenode",
        "pg_relation_filepath",
        "pg_control_system",
        "pg_current_wal_lsn",
        "pg_current_wal_flush_lsn",
        "pg_current_wal_insert_lsn",
        "pg_last_wal_replay_lsn",
        "pg_last_xact_replay_timestamp",
    ];
    NAMES.contains(&name)
        || [
            "pg_advisory_",
            "pg_try_advisory_",
            "lo_",
            "txid_",
            "pg_xact_",
            "pg_blocking_",
            "pg_ls_",
            "pg_read_",
            "pg_terminate_",
            "pg_cancel_",
            "pg_create_",
            "pg_drop_",
            "pg_logical_",
            "pg_replication_",
            "dblink",
            "query_to_",
            "cursor_to_",
            "pg_switch_",
            "pg_wal_",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn not_loaded() -> Box<Refusal> {
    let refusal = Refusal::new("facts", "the catalog of the database has not been read yet")
        .hint("Try again in a moment.");
    Box::new(refusal)
}

fn ambiguous(name: &str) -> Box<Refusal> {
    let refusal = Refusal::new("ambiguous-table", format!("\"{name}\" may mean several tables"))
        .detail("Schemas have different tables of this name, and not all are sharded alike.")
        .hint("Write the name with its schema.");
    Box::new(refusal)
}

fn reaches(what: &'static str, name: &str, reached: &str) -> Box<Refusal> {
    let slug = if what == "function" { "function" } else { "view" };
    let detail = match reached {
        "EXECUTE" => format!("The {what} \"{name}\" runs SQL that is made while it runs."),
        _ => format!("The {what} \"{name}\" uses the sharded table \"{reached}\"."),
    };
    let refusal = Refusal::new(slug, format!("a {what} would see one shard's rows only"))
        .detail(detail)
        .hint("Write its query into the statement, or choose a shard by SET pgm.shard.");
    Box::new(refusal)
}
