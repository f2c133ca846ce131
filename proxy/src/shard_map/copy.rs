//! Owns the copy of the maps on disk, for a start while the catalog cannot be reached: its form,
//! and that a file is either the old copy or the new one, whatever happens.

use pgmanifold_router::shard_map::{ShardMap, from_stored, to_stored};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::Path;

/// First line of every copy.
const HEADING: &str = "pgmanifold shard maps 1";
/// Begins the line with the catalog's identity.
const CATALOG: &str = "catalog ";
/// Begins the line before a stored map: its length in bytes, and the database's name.
const MAP: &str = "map ";
/// Last line.
const END: &str = "end\n";
/// Largest file.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// The maps of one catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    /// Which catalog they are from.
    pub(super) catalog: String,
    /// Name of the database, and its map.
    pub(super) maps: Vec<(String, ShardMap)>,
}

/// Writes a copy over what was there; both are never there in part.
///
/// # Errors
/// The system's; the old file is still there then.
pub(super) fn write(path: &Path, copy: &Copy) -> std::io::Result<()> {
    let Some(name) = path.file_name() else { return Err(std::io::ErrorKind::InvalidInput.into()) };
    let mut beside = name.to_owned();
    beside.push(".new");
    let beside = path.with_file_name(beside);
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(text(copy).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    // The rename itself is to survive a crash too.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Reads a copy; `None` when there is none.
///
/// # Errors
/// When the file cannot be read, or is not a whole copy.
pub(super) fn read(path: &Path) -> Result<Option<Copy>, String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(|error| error.to_string())?;
    parse(&text).map(Some).ok_or_else(|| "the file is damaged".to_owned())
}

fn text(copy: &Copy) -> String {
    let mut out = format!("{HEADING}\n{CATALOG}{}\n", copy.catalog);
    for (database, map) in &copy.maps {
        let stored = to_stored(map);
        // Writing to a String cannot fail.
        let _ = write!(out, "{MAP}{} {database}\n{stored}", stored.len());
    }
    out.push_str(END);
    out
}

fn parse(text: &str) -> Option<Copy> {
    let (heading, rest) = text.split_once('\n')?;
    let (catalog, mut rest) = rest.split_once('\n')?;
    if heading != HEADING {
        return None;
    }
    let mut copy = Copy { catalog: catalog.strip_prefix(CATALOG)?.to_owned(), maps: Vec::new() };
    while rest != END {
        let (line, after) = rest.split_once('\n')?;
        let (length, database) = line.strip_prefix(MAP)?.split_once(' ')?;
        let (stored, after) = after.split_at_checked(length.parse().ok()?)?;
        copy.maps.push((database.to_owned(), from_stored(stored).ok()?));
        rest = after;
    }
    Some(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgmanifold_router::key::KeyType;
    use pgmanifold_router::shard_map::MapParts;

    fn sample() -> Copy {
        let one = MapParts::new(&["s0", "s1"])
            .hash("customer", &[KeyType::Int8, KeyType::Text])
            .single("alone", "s1")
            .table("public", "orders", "customer", &["a", "b"]);
        let maps = [("app x", one), ("b", MapParts::new(&["s0"]))]
            .map(|(name, parts)| (name.to_owned(), ShardMap::build(parts).unwrap()));
        Copy { catalog: "7".to_owned(), maps: maps.into() }
    }

    #[test]
    fn a_copy_is_read_as_it_was_written() {
        let copy = sample();
        assert_eq!(parse(&text(&copy)).unwrap(), copy);
    }

    #[test]
    fn a_damaged_copy_is_refused() {
        let whole = text(&sample());
        for cut in 0..whole.len() {
            assert!(whole.get(..cut).is_none_or(|part| parse(part).is_none()), "cut at {cut}");
        }
        assert!(parse(&whole.replace("orders", "Orders")).is_none());
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = std::env::temp_dir().join(format!("pgmanifold-copy-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("maps");
        assert!(read(&path).unwrap().is_none());
        let copy = sample();
        write(&path, &copy).unwrap();
        write(&path, &copy).unwrap();
        assert_eq!(read(&path).unwrap(), Some(copy));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
        std::fs::write(&path, "x").unwrap();
        assert!(read(&path).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
