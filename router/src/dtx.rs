//! Owns the names of transactions over several shards and of their parts, as they stand in
//! `pg_prepared_xacts` and `pgm.dtx`.
//!
//! `pgm:HOME:ID` is a transaction whose decision is kept on the shard HOME, `pgm:HOME:ID:SHARD` its
//! part on SHARD. ID is 44 hexadecimal digits: 12 of the milliseconds since 1970 at which it was
//! made, by the clock of its home, and 32 of a hash of a secret. Names of shards have no colon.

/// Hexadecimal digits of an ID.
pub const ID_DIGITS: usize = 44;

/// What every name begins with.
pub const PREFIX: &str = "pgm:";

/// The name of a part, in its pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartName<'a> {
    /// The name of the whole transaction, `pgm:HOME:ID`.
    pub transaction: &'a str,
    /// Name of the shard that keeps the decision.
    pub home: &'a str,
    /// Name of the shard whose part it is.
    pub shard: &'a str,
}

/// The name of a transaction.
pub fn transaction_name(home: &str, id: &str) -> String {
    format!("{PREFIX}{home}:{id}")
}

/// The name of its part on a shard.
pub fn part_name(transaction: &str, shard: &str) -> String {
    format!("{transaction}:{shard}")
}

impl<'a> PartName<'a> {
    /// Reads the name of a part; `None` when it is not one of ours.
    pub fn parse(name: &'a str) -> Option<Self> {
        let mut pieces = name.strip_prefix(PREFIX)?.split(':');
        let (home, id, shard) = (pieces.next()?, pieces.next()?, pieces.next()?);
        let ours = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        let is_id = id.len() == ID_DIGITS
            && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if pieces.next().is_some() || !is_id || !ours(home) || !ours(shard) {
            return None;
        }
        let transaction = name.strip_suffix(shard)?.strip_suffix(':')?;
        Some(Self { transaction, home, shard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_made() {
        let id = "0123456789ab".to_owned() + &"f".repeat(32);
        let transaction = transaction_name("s-0.a_b", &id);
        let name = part_name(&transaction, "s1");
        let read = PartName::parse(&name).unwrap();
        assert_eq!(read, PartName { transaction: &transaction, home: "s-0.a_b", shard: "s1" });
        // The longest names a configuration may give fit into what PostgreSQL allows.
        let longest = part_name(&transaction_name(&"h".repeat(63), &id), &"s".repeat(63));
        assert!(longest.len() < 200, "{}", longest.len());
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        let id = "0".repeat(ID_DIGITS);
        for name in [
            String::new(),
            "pgm:".into(),
            format!("pgm:s0:{id}"),
            format!("pgm:s0:{id}:"),
            format!("pgm::{id}:s1"),
            format!("pgm:s0:{id}:s1:s2"),
            format!("pgm:s0:{}:s1", &id[1..]),
            format!("pgm:s0:{}g:s1", &id[1..]),
            format!("pgm:s0:{}F:s1", &id[1..]),
            format!("PGM:s0:{id}:s1"),
            format!("pgm:s0:{id}:s'1"),
        ] {
            assert_eq!(PartName::parse(&name), None, "{name}");
        }
    }
}
