//! Owns command tags: what several shards' `UPDATE 3` and `UPDATE 4` are together.

use std::fmt::Write;

/// The words of a tag without its row count, and the count.
fn split(tag: &str) -> (&str, Option<u64>) {
    match tag.rsplit_once(' ') {
        Some((words, number)) => match number.parse() {
            Ok(number) => (words, Some(number)),
            Err(_) => (tag, None),
        },
        None => (tag, None),
    }
}

/// A tag with all counts added; `None` when the commands differ.
pub(super) fn sum<'t>(mut tags: impl Iterator<Item = &'t str>) -> Option<String> {
    let Some(first) = tags.next() else { return Some(String::new()) };
    let (words, mut count) = split(first);
    for tag in tags {
        let (other, number) = split(tag);
        if other != words || number.is_some() != count.is_some() {
            return None;
        }
        count = count.zip(number).map(|(count, number)| count.saturating_add(number));
    }
    Some(counted(words, count))
}

/// A tag with another count, where it has one.
pub(super) fn with_count(tag: &str, rows: u64) -> String {
    let (words, count) = split(tag);
    counted(words, count.map(|_| rows))
}

fn counted(words: &str, count: Option<u64>) -> String {
    let mut tag = words.to_owned();
    if let Some(count) = count {
        let _ = write!(tag, " {count}");
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_added() {
        let sum = |tags: &[&str]| sum(tags.iter().copied());
        assert_eq!(sum(&["INSERT 0 2", "INSERT 0 3"]).as_deref(), Some("INSERT 0 5"));
        assert_eq!(sum(&["UPDATE 0", "UPDATE 7", "UPDATE 1"]).as_deref(), Some("UPDATE 8"));
        assert_eq!(sum(&["CREATE TABLE", "CREATE TABLE"]).as_deref(), Some("CREATE TABLE"));
        assert_eq!(sum(&["UPDATE 1", "DELETE 1"]), None);
        assert_eq!(sum(&["SELECT", "SELECT 1"]), None);
        assert_eq!(sum(&["", ""]).as_deref(), Some(""));
        assert_eq!(with_count("SELECT 30", 10), "SELECT 10");
        assert_eq!(with_count("SHOW", 10), "SHOW");
    }
}
