//! Owns PostgreSQL's keyword classes, of versions 13 to 18 together.
//!
//! A word that is a keyword in one version only is listed with the class that makes fewer texts
//! reads: see each function.

/// Reserved: never the name of a function unless quoted or qualified.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "both", "case",
    "cast", "check", "collate", "column", "constraint", "create", "current_catalog", "current_date",
    "current_role", "current_time", "current_timestamp", "current_user", "default", "deferrable",
    "desc", "distinct", "do", "else", "end", "except", "false", "fetch", "for", "foreign", "from",
    "grant", "group", "having", "in", "initially", "intersect", "into", "lateral", "leading",
    "limit", "localtime", "localtimestamp", "not", "null", "offset", "on", "only", "or", "order",
    "placing", "primary", "references", "returning", "select", "session_user", "some", "symmetric",
    "table", "then", "to", "trailing", "true", "union", "unique", "user", "using", "variadic",
    "when", "where", "window", "with",
];

/// Reserved, though functions and types may have such names.
#[rustfmt::skip]
const RESERVED_BUT_FUNCTIONS: &[&str] = &[
    "authorization", "binary", "collation", "concurrently", "cross", "current_schema", "freeze",
    "full", "ilike", "inner", "is", "isnull", "join", "left", "like", "natural", "notnull",
    "outer", "overlaps", "right", "similar", "tablesample", "verbose",
];

/// Words of syntax that stand for types or for functions of `pg_catalog`, none of them volatile.
/// TREAT is not here: it calls the function that has its type's name.
#[rustfmt::skip]
const BUILTIN_SYNTAX: &[&str] = &[
    "between", "bigint", "bit", "boolean", "char", "character", "coalesce", "dec", "decimal",
    "exists", "extract", "float", "greatest", "grouping", "inout", "int", "integer", "interval",
    "least", "national", "nchar", "none", "normalize", "nullif", "numeric", "out", "overlay",
    "position", "precision", "real", "row", "setof", "smallint", "substring", "time", "timestamp",
    "trim", "values", "varchar", "xmlattributes", "xmlconcat", "xmlelement", "xmlexists",
    "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot", "xmlserialize", "xmltable",
];

/// Not reserved, but SQL puts them before a parenthesis. When the catalog has a function of such
/// a name, that function counts.
#[rustfmt::skip]
const BEFORE_PARENTHESIS: &[&str] = &[
    "authorization", "binary", "by", "collation", "columns", "concurrently", "cross", "cube",
    "current_schema", "escape", "exclude", "filter", "following", "freeze", "full", "groups",
    "ilike", "inner", "is", "isnull", "join", "json", "json_array", "json_arrayagg", "json_exists",
    "json_object", "json_objectagg", "json_query", "json_scalar", "json_serialize", "json_table",
    "json_value", "key", "left", "like", "materialized", "natural", "nested", "notnull", "of",
    "operator", "outer", "over", "overlaps", "passing", "preceding", "range", "repeatable", "right",
    "rollup", "rows", "set", "sets", "similar", "tablesample", "unbounded", "value", "verbose",
    "zone",
];

/// All other keywords, as far as they may stand before a function call.
#[rustfmt::skip]
const OTHER_KEYWORDS: &[&str] = &[
    "abort", "absent", "absolute", "access", "action", "add", "admin", "after", "aggregate", "also",
    "alter", "always", "asensitive", "assertion", "assignment", "at", "atomic", "attach",
    "attribute", "backward", "before", "begin", "breadth", "cache", "call", "called", "cascade",
    "cascaded", "catalog", "chain", "characteristics", "checkpoint", "class", "close", "cluster",
    "comment", "comments", "commit", "committed", "compression", "conditional", "configuration",
    "conflict", "connection", "constraints", "content", "continue", "conversion", "copy", "cost",
    "csv", "current", "cursor", "cycle", "data", "database", "day", "deallocate", "declare",
    "defaults", "deferred", "definer", "delete", "delimiter", "delimiters", "depends", "depth",
    "detach", "dictionary", "disable", "discard", "document", "domain", "double", "drop", "each",
    "empty", "enable", "encoding", "encrypted", "enforced", "enum", "error", "event", "excluding",
    "exclusive", "execute", "explain", "expression", "extension", "external", "family", "finalize",
    "first", "force", "format", "forward", "function", "functions", "generated", "global",
    "granted", "handler", "header", "hold", "hour", "identity", "if", "immediate", "immutable",
    "implicit", "import", "include", "including", "increment", "indent", "index", "indexes",
    "inherit", "inherits", "inline", "input", "insensitive", "insert", "instead", "invoker",
    "isolation", "keep", "keys", "label", "language", "large", "last", "leakproof", "level",
    "listen", "load", "local", "location", "lock", "locked", "logged", "mapping", "match",
    "matched", "maxvalue", "merge", "merge_action", "method", "minute", "minvalue", "mode", "month",
    "move", "name", "names", "new", "next", "nfc", "nfd", "nfkc", "nfkd", "no", "normalized",
    "nothing", "notify", "nowait", "nulls", "object", "objects", "off", "oids", "old", "omit",
    "option", "options", "ordinality", "others", "overriding", "owned", "owner", "parallel",
    "parameter", "parser", "partial", "partition", "password", "path", "period", "plan", "plans",
    "policy", "prepare", "prepared", "preserve", "prior", "privileges", "procedural", "procedure",
    "procedures", "program", "publication", "quote", "quotes", "read", "reassign", "recheck",
    "recursive", "ref", "referencing", "refresh", "reindex", "relative", "release", "rename",
    "replace", "replica", "reset", "restart", "restrict", "return", "returns", "revoke", "role",
    "rollback", "routine", "routines", "row", "rule", "savepoint", "scalar", "schema", "schemas",
    "scroll", "search", "second", "security", "sequence", "sequences", "serializable", "server",
    "session", "share", "show", "simple", "skip", "snapshot", "source", "split", "sql", "stable",
    "standalone", "start", "statement", "statistics", "stdin", "stdout", "storage", "stored",
    "strict", "string", "strip", "subscription", "support", "sysid", "system", "system_user",
    "tables", "tablespace", "target", "temp", "template", "temporary", "text", "ties",
    "transaction", "transform", "treat", "trigger", "truncate", "trusted", "type", "types",
    "uescape", "uncommitted", "unconditional", "unencrypted", "unknown", "unlisten", "unlogged",
    "until", "update", "vacuum", "valid", "validate", "validator", "varying", "version", "view",
    "views", "virtual", "volatile", "whitespace", "within", "without", "work", "wrapper", "write",
    "xml", "year", "yes",
];

pub(crate) fn is_reserved(word: &str) -> bool {
    RESERVED.binary_search(&word).is_ok()
}

/// Whether the word cannot be the name of a table, column or channel unless quoted.
pub(crate) fn is_reserved_name(word: &str) -> bool {
    is_reserved(word) || RESERVED_BUT_FUNCTIONS.binary_search(&word).is_ok()
}

pub(crate) fn is_builtin_syntax(word: &str) -> bool {
    BUILTIN_SYNTAX.binary_search(&word).is_ok()
}

pub(crate) fn may_precede_parenthesis(word: &str) -> bool {
    BEFORE_PARENTHESIS.binary_search(&word).is_ok()
}

/// Whether the word is a keyword of any kind in any version; the empty word counts as one.
pub(crate) fn is_keyword(word: &str) -> bool {
    word.is_empty()
        || is_reserved(word)
        || is_builtin_syntax(word)
        || may_precede_parenthesis(word)
        || OTHER_KEYWORDS.binary_search(&word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted() {
        for list in
            [RESERVED, RESERVED_BUT_FUNCTIONS, BUILTIN_SYNTAX, BEFORE_PARENTHESIS, OTHER_KEYWORDS]
        {
            assert!(list.is_sorted());
        }
    }
}
