//! Owns the types of expressions: fewer than PostgreSQL has, each with one form in SQLite. Whole
//! numbers, OIDs and booleans are INTEGER, float8 is REAL, all others are TEXT; numeric is its
//! decimal text and compared by the collation `NUMERIC_COLLATION`.

use crate::value::Kind;

/// The collation that compares decimal texts as numbers.
pub(crate) const NUMERIC_COLLATION: &str = "pgnum";

/// What an OID names, when it is shown by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reg {
    /// `regclass`
    Class,
    /// `regtype`
    Type,
    /// `regproc`
    Proc,
    /// `regnamespace`
    Namespace,
    /// `regrole`
    Role,
}

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Type {
    /// Of a constant in quotes, NULL or a parameter, until its surroundings say.
    Unknown,
    /// `bool`
    Bool,
    /// `int4`, and `int2`
    Int4,
    /// `int8`
    Int8,
    /// `numeric`
    Numeric,
    /// `float8`, and `float4`
    Float8,
    /// `text`, and all types that are shown as text.
    Text,
    /// `oid`
    Oid,
    /// An OID shown by name.
    Reg(Reg),
    /// An array of text, in its text form.
    Texts,
    /// An array of whole numbers, in its text form.
    Ints,
}

impl Type {
    /// That of a column of the console.
    pub(crate) fn of_kind(kind: Kind) -> Self {
        match kind {
            Kind::Text => Type::Text,
            Kind::Int4 => Type::Int4,
            Kind::Int8 => Type::Int8,
            Kind::Numeric => Type::Numeric,
            Kind::Float8 => Type::Float8,
            Kind::Bool => Type::Bool,
        }
    }

    /// What a client is told.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Type::Bool => Kind::Bool,
            Type::Int4 => Kind::Int4,
            Type::Int8 | Type::Oid => Kind::Int8,
            Type::Numeric => Kind::Numeric,
            Type::Float8 => Kind::Float8,
            Type::Unknown | Type::Text | Type::Reg(_) | Type::Texts | Type::Ints => Kind::Text,
        }
    }

    /// That of a name; none for a type the console does not have.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "bool" | "boolean" => Type::Bool,
            "int2" | "int4" | "int" | "integer" | "smallint" => Type::Int4,
            "int8" | "bigint" => Type::Int8,
            "numeric" | "decimal" | "dec" => Type::Numeric,
            "float8" | "float4" | "double precision" | "real" | "float" => Type::Float8,
            "text" | "name" | "char" | "varchar" | "bpchar" | "character varying" | "character"
            | "cstring" | "json" | "jsonb" | "pg_node_tree" | "inet" | "uuid" | "aclitem"
            | "pg_lsn" | "bytea" | "tid" | "pg_ndistinct" | "pg_dependencies"
            | "sql_identifier" | "character_data" | "yes_or_no" | "time_stamp" | "cidr" => {
                Type::Text
            }
            "cardinal_number" => Type::Int4,
            "oid" | "xid" | "cid" => Type::Oid,
            "xid8" => Type::Int8,
            "regclass" => Type::Reg(Reg::Class),
            "regtype" => Type::Reg(Reg::Type),
            "regproc" | "regprocedure" => Type::Reg(Reg::Proc),
            "regnamespace" => Type::Reg(Reg::Namespace),
            "regrole" => Type::Reg(Reg::Role),
            "oidvector" | "int2vector" => Type::Ints,
            "anyarray" => Type::Texts,
            _ => return Self::of_array_name(name),
        })
    }

    fn of_array_name(name: &str) -> Option<Self> {
        let element = name.strip_suffix("[]").or_else(|| name.strip_prefix('_'))?;
        match Self::of_name(element)? {
            Type::Int4 | Type::Int8 | Type::Oid => Some(Type::Ints),
            Type::Text | Type::Reg(_) => Some(Type::Texts),
            _ => None,
        }
    }

    /// Its name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Type::Unknown => "unknown",
            Type::Bool => "boolean",
            Type::Int4 => "integer",
            Type::Int8 => "bigint",
            Type::Numeric => "numeric",
            Type::Float8 => "double precision",
            Type::Text => "text",
            Type::Oid => "oid",
            Type::Reg(Reg::Class) => "regclass",
            Type::Reg(Reg::Type) => "regtype",
            Type::Reg(Reg::Proc) => "regproc",
            Type::Reg(Reg::Namespace) => "regnamespace",
            Type::Reg(Reg::Role) => "regrole",
            Type::Texts => "text[]",
            Type::Ints => "integer[]",
        }
    }

    /// Whether it is one of the number types; OIDs are not.
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Type::Int4 | Type::Int8 | Type::Numeric | Type::Float8)
    }

    /// Whether it is an array.
    pub(crate) fn is_array(self) -> bool {
        matches!(self, Type::Texts | Type::Ints)
    }

    /// The type of an array's elements.
    pub(crate) fn element(self) -> Option<Type> {
        match self {
            Type::Texts => Some(Type::Text),
            Type::Ints => Some(Type::Int8),
            _ => None,
        }
    }

    /// How far it is from here to a type that PostgreSQL would take it for without a cast.
    pub(crate) fn implicit(self, to: Type) -> Option<u8> {
        let rank = |of: Type| match of {
            Type::Int4 => Some(0),
            Type::Int8 => Some(1),
            Type::Numeric => Some(2),
            Type::Float8 => Some(3),
            _ => None,
        };
        match (self, to) {
            (from, to) if from == to => Some(0),
            (Type::Unknown, _) => Some(0),
            (Type::Reg(_), Type::Oid) | (Type::Ints, Type::Texts) => Some(1),
            (Type::Oid | Type::Reg(_), Type::Int8) => Some(4),
            (Type::Int4 | Type::Int8, Type::Oid) => Some(5),
            (Type::Int4 | Type::Int8, Type::Reg(_)) => Some(6),
            (Type::Oid, Type::Reg(_)) => Some(2),
            _ => match (rank(self), rank(to)) {
                (Some(from), Some(to)) if from < to => Some(to - from),
                _ => None,
            },
        }
    }

    /// The type of both in a comparison, CASE, UNION…; none when there is none without a cast.
    pub(crate) fn unify(self, other: Type) -> Option<Type> {
        match (self, other) {
            (one, other) if one == other => Some(one),
            (Type::Unknown, other) => Some(other),
            (one, Type::Unknown) => Some(one),
            (Type::Reg(_), Type::Reg(_)) => Some(Type::Oid),
            (Type::Oid | Type::Reg(_), Type::Int4 | Type::Int8 | Type::Oid | Type::Reg(_))
            | (Type::Int4 | Type::Int8, Type::Oid | Type::Reg(_)) => Some(Type::Oid),
            (one, other) if one.implicit(other).is_some() => Some(other),
            (one, other) if other.implicit(one).is_some() => Some(one),
            _ => None,
        }
    }
}
