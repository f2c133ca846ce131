//! Owns how placings, choices and spreads look as text: in EXPLAIN, logs and golden files.

use super::{Choice, Condition, KeyFilter, Limits, Merge, Operand, Placing, SortKey, Spread};
use std::fmt::{self, Display, Formatter, Result};

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Literal { at, negative } => {
                write!(f, "{}literal {at}", if *negative { "-" } else { "" })
            }
            Self::Parameter(number) => write!(f, "${number}"),
            Self::Null => f.write_str("NULL"),
        }
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let bound = |bound: &Option<Operand>| bound.map_or("…".to_string(), |b| b.to_string());
        match self {
            Self::OneOf(operands) => {
                f.write_str("in (")?;
                list(f, operands, ", ")?;
                f.write_str(")")
            }
            Self::InArray(operand) => write!(f, "= any ({operand})"),
            Self::Between(from, to) => write!(f, "between {} and {}", bound(from), bound(to)),
        }
    }
}

impl Display for KeyFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}[", self.distribution)?;
        for (index, (column, condition)) in self.conditions.iter().enumerate() {
            let and = if index == 0 { "" } else { " and " };
            write!(f, "{and}key {column} {condition}")?;
        }
        f.write_str("]")
    }
}

impl Display for Placing {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::On(shard) => write!(f, "on {shard}"),
            Self::Anywhere => f.write_str("anywhere"),
            Self::Keyed { filters, also, writes, .. } => {
                f.write_str(if *writes { "keyed write " } else { "keyed " })?;
                list(f, filters, " + ")?;
                for shard in also {
                    write!(f, " + on {shard}")?;
                }
                Ok(())
            }
            Self::Rows { distribution, keys } => {
                write!(f, "rows {distribution}")?;
                for key in keys {
                    f.write_str(" (")?;
                    list(f, key, ", ")?;
                    f.write_str(")")?;
                }
                Ok(())
            }
            Self::Cursor => f.write_str("cursor"),
            Self::CopyIn => f.write_str("copy in"),
            Self::Everywhere { outside_transaction: false } => f.write_str("everywhere"),
            Self::Everywhere { outside_transaction: true } => {
                f.write_str("everywhere outside of a transaction")
            }
            Self::Session => f.write_str("session"),
            Self::Transaction => f.write_str("transaction"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

impl Display for Choice {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::One(shard) => write!(f, "one {shard}"),
            Self::Any => f.write_str("any"),
            Self::Several(shards) => {
                f.write_str("several ")?;
                list(f, shards, ",")
            }
            Self::None => f.write_str("none"),
        }
    }
}

impl Display for Limits {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(limit) = self.limit {
            write!(f, " limit {limit}")?;
        }
        if self.offset > 0 {
            write!(f, " offset {}", self.offset)?;
        }
        Ok(())
    }
}

impl Display for SortKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(if self.descending { "desc" } else { "asc" })?;
        f.write_str(if self.nulls_first { " nulls first" } else { " nulls last" })?;
        f.write_str(if self.byte_order { " bytes" } else { "" })
    }
}

impl Display for Merge {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Concat { limits } => write!(f, "concat{limits}"),
            Self::Ordered { keys, limits } => {
                f.write_str("ordered (")?;
                list(f, keys, ", ")?;
                write!(f, "){limits}")
            }
            Self::Finish { sql, columns, .. } => {
                let sql = String::from_utf8_lossy(sql);
                write!(f, "finish {} columns: {}", columns.len(), sql.escape_debug())
            }
            Self::Sum => f.write_str("sum"),
            Self::InputOrder(shards) => {
                f.write_str("input order ")?;
                list(f, shards, ",")
            }
            Self::Same => f.write_str("same"),
            Self::Headed => f.write_str("headed"),
            Self::CopyOut { header, binary } => {
                f.write_str("copy out")?;
                f.write_str(if *header { " header" } else { "" })?;
                f.write_str(if *binary { " binary" } else { "" })
            }
        }
    }
}

/// The merge, then each text with the shards that are sent it.
impl Display for Spread {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}{}", self.merge, if self.writes { " writes" } else { "" })?;
        let mut rest = self.parts.as_slice();
        while let Some(first) = rest.first() {
            let same =
                |part: &&super::Part| part.sql == first.sql && part.parameters == first.parameters;
            let count = rest.iter().take_while(same).count();
            let (these, others) = rest.split_at(count);
            f.write_str(" | ")?;
            let shards: Vec<_> = these.iter().map(|part| part.shard).collect();
            list(f, &shards, ",")?;
            write!(f, ": {}", String::from_utf8_lossy(&first.sql))?;
            if let Some(parameters) = &first.parameters {
                write!(f, " {parameters:?}")?;
            }
            rest = others;
        }
        Ok(())
    }
}

fn list<T: Display>(f: &mut Formatter<'_>, items: &[T], between: &str) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if index == 0 { "" } else { between })?;
    }
    Ok(())
}
