//! Owns the form of every table of the page. On a narrow screen the style shows each row as a card,
//! its cells labelled; the roles say that it is a table all the same.

use maud::{Markup, html};

/// How a column looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// A word or two.
    Text,
    /// Aligned at the right.
    Number,
    /// As wide as there is room.
    Wide,
}

/// One column.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) look: Look,
    /// What it means, beyond its name.
    pub(super) help: &'static str,
}

pub(super) const fn text(name: &'static str, help: &'static str) -> Column {
    Column { name, look: Look::Text, help }
}

pub(super) const fn number(name: &'static str, help: &'static str) -> Column {
    Column { name, look: Look::Number, help }
}

pub(super) const fn wide(name: &'static str, help: &'static str) -> Column {
    Column { name, look: Look::Wide, help }
}

impl Look {
    fn class(self) -> Option<&'static str> {
        match self {
            Look::Text => None,
            Look::Number => Some("n"),
            Look::Wide => Some("w"),
        }
    }
}

/// A table. The first cell of each row names it.
pub(super) fn table(caption: &str, columns: &[Column], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table role="table" {
                caption { (caption) }
                thead role="rowgroup" {
                    tr role="row" {
                        @for column in columns {
                            th scope="col" role="columnheader" class=[column.look.class()]
                                title=(column.help) { (column.name) }
                        }
                    }
                }
                tbody role="rowgroup" {
                    @for row in rows {
                        tr role="row" {
                            @for (index, (column, cell)) in columns.iter().zip(row).enumerate() {
                                @if index == 0 {
                                    th scope="row" role="rowheader"
                                        class=[column.look.class()] { (cell) }
                                } @else {
                                    td role="cell" class=[column.look.class()]
                                        data-label=(column.name) { (cell) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
