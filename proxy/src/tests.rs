//! Owns what tests of several modules need: the comparison of a generated document with the file in
//! docs/. `UPDATE_DOCS=1 cargo test` writes the file instead.

/// Fails when docs/`name` is not `text`.
pub(crate) fn check_document(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differ = text.lines().zip(found.lines()).position(|(wanted, found)| wanted != found);
    assert!(
        found == text,
        "docs/{name} is out of date (first at line {}): run UPDATE_DOCS=1 cargo test",
        differ.unwrap_or(text.lines().count().min(found.lines().count())) + 1
    );
}
