//! Owns the built-in types whose values may be carried to another server: their names, and their
//! array types. Their OIDs are the same on every server.

/// A type and its arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) oid: u32,
    pub(super) array_oid: u32,
    /// As in `pg_type`.
    pub(super) name: &'static str,
}

/// By OID.
const TYPES: [(u32, u32, &str); 47] = [
    (16, 1000, "bool"),
    (17, 1001, "bytea"),
    (18, 1002, "char"),
    (19, 1003, "name"),
    (20, 1016, "int8"),
    (21, 1005, "int2"),
    (23, 1007, "int4"),
    (25, 1009, "text"),
    (26, 1028, "oid"),
    (114, 199, "json"),
    (142, 143, "xml"),
    (600, 1017, "point"),
    (601, 1018, "lseg"),
    (602, 1019, "path"),
    (603, 1020, "box"),
    (604, 1027, "polygon"),
    (628, 629, "line"),
    (650, 651, "cidr"),
    (700, 1021, "float4"),
    (701, 1022, "float8"),
    (718, 719, "circle"),
    (774, 775, "macaddr8"),
    (790, 791, "money"),
    (829, 1040, "macaddr"),
    (869, 1041, "inet"),
    (1042, 1014, "bpchar"),
    (1043, 1015, "varchar"),
    (1082, 1182, "date"),
    (1083, 1183, "time"),
    (1114, 1115, "timestamp"),
    (1184, 1185, "timestamptz"),
    (1186, 1187, "interval"),
    (1266, 1270, "timetz"),
    (1560, 1561, "bit"),
    (1562, 1563, "varbit"),
    (1700, 1231, "numeric"),
    (2950, 2951, "uuid"),
    (3220, 3221, "pg_lsn"),
    (3614, 3643, "tsvector"),
    (3615, 3645, "tsquery"),
    (3802, 3807, "jsonb"),
    (3904, 3905, "int4range"),
    (3906, 3907, "numrange"),
    (3908, 3909, "tsrange"),
    (3910, 3911, "tstzrange"),
    (3912, 3913, "daterange"),
    (3926, 3927, "int8range"),
];

/// `float4`.
pub(super) const FLOAT4: u32 = 700;
/// `float8`.
pub(super) const FLOAT8: u32 = 701;

impl Carried {
    /// The type with this OID, if its values may be carried.
    pub(super) fn find(oid: u32) -> Option<Self> {
        let at = TYPES.binary_search_by_key(&oid, |(oid, ..)| *oid).ok()?;
        let (oid, array_oid, name) = TYPES[at];
        Some(Self { oid, array_oid, name })
    }

    /// Whether it is one of these.
    pub(super) fn is_any(self, names: &[&str]) -> bool {
        names.contains(&self.name)
    }
}

#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = Carried> {
    TYPES.iter().filter_map(|(oid, ..)| Carried::find(*oid))
}
