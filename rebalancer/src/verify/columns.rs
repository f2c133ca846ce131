//! Owns what is compared of a table: its columns as both sides have them, what names a row of it,
//! and which columns cannot be compared at all.

use super::compare::Scope;
use crate::connect::Session;
use crate::error::Error;
use pgmanifold_router::ownership::{keys_sql, quote_name, quote_text, table_sql};
use pgmanifold_router::shard_map::Table;

/// A column that cannot be compared exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverifiable {
    /// Its table: `schema.table`, quoted.
    pub table: String,
    /// Its name.
    pub column: String,
    /// Its type.
    pub type_name: String,
    /// Why not.
    pub reason: String,
}

/// A table as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compared {
    /// `schema.table`, quoted.
    pub(super) table: String,
    /// All columns, by name: what must be alike of them on both sides, and how they stand in SQL.
    pub(super) columns: Vec<(String, String)>,
    /// What names a row: the primary key, or else the key of the distribution. Quoted.
    pub(super) identity: Vec<String>,
    /// One row has one identity.
    pub(super) identity_is_unique: bool,
    /// The rows that are meant.
    pub(super) condition: String,
}

impl Compared {
    /// The whole row as text. It tells apart what is equal but not the same: the scale of a
    /// number, the spaces of a JSON text, the zero below zero.
    pub(super) fn row_text(&self) -> String {
        let columns = self.columns.iter().map(|(name, _)| quote_name(name)).collect::<Vec<_>>();
        row_text(&columns)
    }

    /// What names a row, as text.
    pub(super) fn identity_text(&self) -> String {
        row_text(&self.identity)
    }
}

/// The text of a row of these columns; under `C` its hash is that of its bytes everywhere.
pub(super) fn row_text(columns: &[String]) -> String {
    format!("(row({})::text collate pg_catalog.\"C\")", columns.join(", "))
}

/// The columns of the distribution's tables that cannot be compared exactly. A move of them is to
/// be refused: nobody could prove it right.
///
/// # Errors
/// What the server says.
pub async fn unverifiable_columns(
    session: &Session,
    scope: &Scope<'_>,
) -> Result<Vec<Unverifiable>, Error> {
    let mut found = Vec::new();
    for table in scope.tables() {
        let sql = UNVERIFIABLE_SQL.replace("$TABLE$", &quote_text(&table_sql(table)));
        for row in session.rows(&sql).await? {
            let mut fields = row.into_iter().map(Option::unwrap_or_default);
            let mut next = || fields.next().unwrap_or_default();
            let (column, type_name, reason) = (next(), next(), next());
            found.push(Unverifiable { table: table_sql(table), column, type_name, reason });
        }
    }
    Ok(found)
}

/// The types that a column is made of, and why one of them cannot be compared by its text. Those
/// of PostgreSQL itself whose text goes by settings are the same under the settings of a pair.
const UNVERIFIABLE_SQL: &str = "\
with recursive made_of (name, root, type) as ( \
 select attname, atttypid, atttypid from pg_catalog.pg_attribute \
 where attrelid = $TABLE$::pg_catalog.regclass and attnum > 0 and not attisdropped \
union \
 select m.name, m.root, part.type from made_of m \
 join pg_catalog.pg_type t on t.oid = m.type \
 cross join lateral ( \
  select t.typelem where t.typelem <> 0 and t.typcategory = 'A' \
  union all select t.typbasetype where t.typtype = 'd' \
  union all select r.rngsubtype from pg_catalog.pg_range r where t.oid in \
   (r.rngtypid, r.rngmultitypid) \
  union all select a.atttypid from pg_catalog.pg_attribute a \
   where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped \
 ) part (type) \
) \
select distinct m.name, pg_catalog.format_type(m.root, null), case \
 when n.nspname = 'pg_catalog' and t.typname like 'reg%' then \
  'it holds the number of an object, which is another one on another server' \
 when n.nspname = 'pg_catalog' and t.typname = 'aclitem' then \
  'it holds the numbers of roles, which are others on another server' \
 else pg_catalog.format('the text of type %s may depend on settings: its output function is not \
immutable', pg_catalog.format_type(t.oid, null)) end \
from made_of m join pg_catalog.pg_type t on t.oid = m.type \
join pg_catalog.pg_namespace n on n.oid = t.typnamespace \
join pg_catalog.pg_proc p on p.oid = t.typoutput \
where (n.nspname = 'pg_catalog' and (t.typname like 'reg%' or t.typname = 'aclitem')) \
 or (n.nspname <> 'pg_catalog' and t.typtype = 'b' and t.typcategory <> 'A' \
  and p.provolatile <> 'i') \
order by 1, 3";

/// What both sides have of the tables.
///
/// # Errors
/// What the servers say; a table is not alike on both sides.
pub(super) async fn load(
    leader: &Session,
    follower: &Session,
    scope: &Scope<'_>,
) -> Result<Vec<Compared>, Error> {
    let encoding = "select pg_catalog.getdatabaseencoding()";
    let (one, other) = (leader.value(encoding).await?, follower.value(encoding).await?);
    if one != other {
        let [one, other] = [one, other].map(Option::unwrap_or_default);
        return Err(Error::Refused(format!(
            "{} has encoding {one}, and {} has {other}: their rows cannot be compared",
            leader.place, follower.place
        )));
    }
    let mut tables = Vec::new();
    for table in scope.tables() {
        let (one, other) = (read(leader, table, scope).await?, read(follower, table, scope).await?);
        if one != other {
            return Err(Error::Refused(unlike(leader, follower, &one, &other)));
        }
        tables.push(one);
    }
    Ok(tables)
}

async fn read(session: &Session, table: &Table, scope: &Scope<'_>) -> Result<Compared, Error> {
    let name = table_sql(table);
    // Columns that are computed when they are read are not stored anywhere.
    let columns = format!(
        "select attname, pg_catalog.format_type(atttypid, atttypmod) || case attgenerated \
          when 's' then ' generated' else '' end \
         from pg_catalog.pg_attribute where attrelid = {}::pg_catalog.regclass and attnum > 0 \
         and not attisdropped and attgenerated <> 'v' order by attname collate pg_catalog.\"C\"",
        quote_text(&name)
    );
    let primary = format!(
        "select a.attname from pg_catalog.pg_index i \
         cross join lateral pg_catalog.unnest(i.indkey) with ordinality k (column_number, at) \
         join pg_catalog.pg_attribute a on a.attrelid = i.indrelid \
          and a.attnum = k.column_number \
         where i.indrelid = {}::pg_catalog.regclass and i.indisprimary \
          and k.at <= i.indnkeyatts order by k.at",
        quote_text(&name)
    );
    let columns = session.rows(&columns).await?.into_iter().map(|row| {
        let mut fields = row.into_iter().map(Option::unwrap_or_default);
        (fields.next().unwrap_or_default(), fields.next().unwrap_or_default())
    });
    let columns = columns.collect();
    let primary = session.rows(&primary).await?.into_iter().flatten().flatten();
    let primary: Vec<String> = primary.map(|name| quote_name(&name)).collect();
    let keys: Vec<String> = table.key_columns.iter().map(|name| quote_name(name)).collect();
    let key_names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let condition = keys_sql(scope.map.distribution(table), scope.keys, &key_names);
    let identity_is_unique = !primary.is_empty();
    let mut identity = keys.clone();
    identity.extend(primary.into_iter().filter(|name| !keys.contains(name)));
    Ok(Compared { table: name, columns, identity, identity_is_unique, condition })
}

/// How two tables differ.
fn unlike(leader: &Session, follower: &Session, one: &Compared, other: &Compared) -> String {
    let only = |these: &Compared, those: &Compared| {
        let mut only = these.columns.iter().filter(|column| !those.columns.contains(column));
        only.next().map(|(name, kind)| format!("column {} of type {kind}", quote_name(name)))
    };
    let what = match (only(one, other), only(other, one)) {
        (Some(what), _) => format!("{} has {what}, {} has not", leader.place, follower.place),
        (None, Some(what)) => format!("{} has {what}, {} has not", follower.place, leader.place),
        (None, None) => "their primary keys differ".to_owned(),
    };
    format!("table {} is not the same on both sides: {what}", one.table)
}
