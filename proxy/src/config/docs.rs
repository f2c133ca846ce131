//! Owns the text of docs/configuration.md, made from the key table.

use super::keys::{Absent, Key, Kind, Reload, SECTIONS, Section};
use std::fmt::Write;

const INTRODUCTION: &str = include_str!("configuration.head.md");

fn render() -> String {
    let mut out = INTRODUCTION.to_owned();
    for section in SECTIONS {
        render_section(section, &mut out);
    }
    out
}

fn render_section(section: &Section, out: &mut String) {
    let _ = write!(out, "\n## `{}`\n\n{}\n", section.header(), section.help);
    out.push_str("\n| key | value | default | reload | meaning |\n|---|---|---|---|---|\n");
    for key in section.keys() {
        if section.name == "database"
            && SECTIONS.iter().any(|pool| pool.name == "pool" && pool.key(key.name).is_some())
        {
            continue;
        }
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} |",
            key.name,
            kind(key.kind),
            default(key),
            reload(key.reload),
            key.help
        );
    }
    for nested in section.nested {
        render_section(nested, out);
    }
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Integer(min, max) => format!("{min} … {max}"),
        Kind::Boolean => "true, false".into(),
        Kind::Text => "text".into(),
        Kind::Choice(words) => {
            words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
        }
        Kind::File => "file".into(),
        Kind::Address => "address".into(),
        Kind::Addresses => "list of addresses".into(),
        Kind::Names => "text or list of texts".into(),
        Kind::Literal => "text or whole number".into(),
        Kind::Literals => "list of texts or whole numbers".into(),
        Kind::Secret => "secret text".into(),
        Kind::Ratio => "0 … 1".into(),
    }
}

fn default(key: &Key) -> String {
    match key.default {
        Absent::Required => "**required**".into(),
        Absent::Value(text)
            if matches!(key.kind, Kind::Integer(..) | Kind::Boolean | Kind::Ratio) =>
        {
            format!("`{text}`")
        }
        Absent::Value(text) => format!("`\"{text}\"`"),
        Absent::Words(words) => words.into(),
    }
}

fn reload(reload: Reload) -> &'static str {
    match reload {
        Reload::Live => "live",
        Reload::NewConnections => "new connections",
        Reload::Restart => "restart",
    }
}

#[test]
fn documentation_matches_the_key_table() {
    crate::tests::check_document("configuration.md", &render());
}
