//! Owns the types of random tables and the values in them: few, so that rows meet.

use super::{Generator, quoted};

/// A type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ty {
    /// `int`
    Int4,
    /// `bigint`
    Int8,
    /// `numeric(10, 2)`: equal values look equal
    Money,
    /// `numeric`: equal values may look different
    Numeric,
    /// `text` under the database's collation
    Text,
    /// `text collate "C"`
    TextC,
    /// `varchar(20)`
    Varchar,
    /// `char(4)`
    Char,
    /// `boolean`
    Bool,
    /// `date`
    Date,
    /// `timestamptz`
    Tstz,
    /// `double precision`
    Float,
    /// `jsonb`
    Jsonb,
    /// `uuid`
    Uuid,
    /// `int[]`
    IntArray,
    /// an enum
    Mood,
}

/// Types of columns that are no key.
pub const PALETTE: [(Ty, &str); 16] = [
    (Ty::Int4, "n"),
    (Ty::Int8, "b"),
    (Ty::Money, "m"),
    (Ty::Numeric, "u"),
    (Ty::Text, "s"),
    (Ty::TextC, "c"),
    (Ty::Varchar, "v"),
    (Ty::Char, "p"),
    (Ty::Bool, "o"),
    (Ty::Date, "d"),
    (Ty::Tstz, "z"),
    (Ty::Float, "f"),
    (Ty::Jsonb, "j"),
    (Ty::Uuid, "g"),
    (Ty::IntArray, "a"),
    (Ty::Mood, "e"),
];

const WORDS: [&str; 12] = ["a", "B", "ä", "b", "A", "Z", "zz", "", "o'clock", "日本", "a b", "10"];
const UUIDS: [&str; 10] = [
    "00000000-0000-0000-0000-000000000000",
    "c4ca4238-a0b9-2382-0dcc-509a6f75849b",
    "c81e728d-9d4c-2f63-6f06-7f89cc14862c",
    "eccbc87e-4b5c-e2fe-2830-8fd9f2a7baf3",
    "a87ff679-a2f3-e71d-9181-a67b7542122c",
    "e4da3b7f-bbce-2345-d777-2b0674a318d5",
    "1679091c-5a88-0faf-6fb5-e6087eb1b2dc",
    "8f14e45f-ceea-167a-5a36-dedd4bea2543",
    "c9f0f895-fb98-ab91-59f5-1fd0297e236d",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
];
const DATES: [&str; 12] = [
    "2024-01-01",
    "2024-01-15",
    "2024-01-31",
    "2024-02-01",
    "2024-02-02",
    "2024-02-29",
    "2024-03-01",
    "2024-03-02",
    "2024-12-31",
    "1999-12-31",
    "2000-01-01",
    "infinity",
];

impl Ty {
    /// Its name in SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Int4 => "int",
            Self::Int8 => "bigint",
            Self::Money => "numeric(10,2)",
            Self::Numeric => "numeric",
            Self::Text | Self::TextC => "text",
            Self::Varchar => "varchar(20)",
            Self::Char => "char(4)",
            Self::Bool => "boolean",
            Self::Date => "date",
            Self::Tstz => "timestamptz",
            Self::Float => "double precision",
            Self::Jsonb => "jsonb",
            Self::Uuid => "uuid",
            Self::IntArray => "int[]",
            Self::Mood => "mood",
        }
    }

    /// Its declaration as a column.
    pub fn declaration(self) -> &'static str {
        if self == Self::TextC { "text collate \"C\"" } else { self.sql() }
    }

    /// Its name as a parameter.
    pub fn parameter_name(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Money | Self::Numeric => "numeric",
            Self::Text | Self::TextC => "text",
            Self::Varchar => "varchar",
            Self::Char => "bpchar",
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Tstz => "timestamptz",
            Self::Float => "float8",
            Self::Uuid => "uuid",
            Self::IntArray => "int4[]",
            Self::Jsonb | Self::Mood => "",
        }
    }

    /// Whether its values are bound as parameters.
    pub fn is_bindable(self) -> bool {
        !self.parameter_name().is_empty()
    }

    /// A value as the encoder of the binary format wants it.
    pub fn binary_text(self, text: &str) -> String {
        match self {
            Self::Date => days(text).map_or("none".into(), |days| days.to_string()),
            // Left as text: the encoder does not know them.
            Self::Money | Self::Numeric | Self::Tstz => "none".into(),
            Self::Char => format!("{text:<4}"),
            _ => text.into(),
        }
    }

    /// Values of it; some are the same in another spelling.
    pub fn values(self) -> Vec<&'static str> {
        match self {
            Self::Int4 | Self::Int8 => {
                ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "-1", "-7", "12", "40"].into()
            }
            Self::Money => ["0.00", "1.00", "2.50", "-3.25", "10.00", "99.99", "7.10"].into(),
            Self::Numeric => ["0", "1", "1.0", "1.00", "2.5", "NaN", "-3.25", "1e3"].into(),
            Self::Text | Self::TextC | Self::Varchar => WORDS.into(),
            Self::Char => ["a", "B", "ab", "", "z"].into(),
            Self::Bool => ["true", "false"].into(),
            Self::Date => DATES.into(),
            Self::Tstz => [
                "2024-02-01 00:00:00+00",
                "2024-02-01 12:30:00.5+00",
                "1999-12-31 23:59:59+00",
                "infinity",
                "-infinity",
                "2024-03-01 00:00:00+02",
            ]
            .into(),
            Self::Float => ["0", "-0", "1.5", "-2.25", "0.5", "1024"].into(),
            Self::Jsonb => {
                ["1", "\"a\"", "null", "[1, 2]", "{\"a\": 1}", "{\"b\": 2, \"a\": 1}"].into()
            }
            Self::Uuid => UUIDS.into(),
            Self::IntArray => ["{}", "{1}", "{1,2}", "{2,1}", "{NULL,1}"].into(),
            Self::Mood => ["sad", "ok", "happy"].into(),
        }
    }

    /// Whether equal values may look different.
    pub fn is_unruly(self) -> bool {
        matches!(self, Self::Numeric | Self::Float)
    }

    /// Whether it has an order.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Int4 | Self::Int8 | Self::Money | Self::Numeric | Self::Float)
    }

    /// Whether it is text of any length.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::TextC | Self::Varchar)
    }
}

/// Days since 2000-01-01.
fn days(text: &str) -> Option<i32> {
    if text == "infinity" {
        return Some(i32::MAX);
    }
    let mut parts = text.split('-').map(|part| part.parse::<i32>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let since_zero = year * 365 + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + day;
    Some(since_zero - 1 - 730_425)
}

impl Generator<'_> {
    /// A value of a type, as text.
    pub fn value(&mut self, ty: Ty) -> String {
        (*self.dice.pick(&ty.values())).to_owned()
    }

    /// A literal that is this value when it meets a column of the type.
    pub fn literal(&mut self, ty: Ty, text: &str) -> String {
        let negative = text.starts_with('-');
        match ty {
            Ty::Int4 | Ty::Int8 => match self.dice.below(12) {
                0 => format!("'{text}'"),
                1 => format!("'{text}'::{}", ty.sql()),
                2 => format!("{} '{text}'", ty.sql()),
                3 => format!("cast({text} as bigint)"),
                4 if !negative => format!("{text}::int8"),
                5 => format!("({text})"),
                _ => text.into(),
            },
            Ty::Money => text.into(),
            Ty::Numeric if text != "NaN" => text.into(),
            Ty::Text | Ty::TextC | Ty::Varchar => self.text_literal(text),
            Ty::Uuid => match self.dice.below(6) {
                0 => quoted(&text.to_uppercase()),
                1 => quoted(&text.replace('-', "")),
                2 => quoted(&format!("{{{text}}}")),
                3 => format!("{}::uuid", quoted(text)),
                _ => quoted(text),
            },
            Ty::Bool => text.into(),
            Ty::Date if self.dice.chance(25) => format!("date '{text}'"),
            Ty::IntArray | Ty::Jsonb | Ty::Mood => format!("{}::{}", quoted(text), ty.sql()),
            _ if self.dice.chance(25) => format!("{}::{}", quoted(text), ty.sql()),
            _ => quoted(text),
        }
    }

    fn text_literal(&mut self, text: &str) -> String {
        match self.dice.below(12) {
            0 => format!("E{}", quoted(text)),
            // Behind a dollar digits would look like a parameter, to this generator only.
            1 if !text.starts_with(|c: char| c.is_ascii_digit()) => format!("$${text}$$"),
            2 if !text.starts_with(|c: char| c.is_ascii_digit()) => format!("$q${text}$q$"),
            3 => format!("{}::text", quoted(text)),
            4 => format!("text {}", quoted(text)),
            5 => {
                let escaped: String =
                    text.chars().map(|c| format!("\\+{:06x}", u32::from(c))).collect();
                format!("U&'{escaped}'")
            }
            6 if text.len() == 2 && text.is_ascii() => {
                let (a, b) = text.split_at(1);
                format!("'{a}'\n  '{b}'")
            }
            7 => format!("cast({} as varchar)", quoted(text)),
            _ => quoted(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::days;

    #[test]
    fn days_are_counted_as_postgres_counts_them() {
        assert_eq!(days("2000-01-01"), Some(0));
        assert_eq!(days("1999-12-31"), Some(-1));
        assert_eq!(days("2024-02-29"), Some(8825));
        assert_eq!(days("2024-03-01"), Some(8826));
    }
}
