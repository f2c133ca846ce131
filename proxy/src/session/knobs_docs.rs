//! Owns the text of docs/settings.md, made from the table of `pgm.` settings.

use super::knobs::{KNOBS, Places};
use std::fmt::Write;

const INTRODUCTION: &str = include_str!("settings.head.md");

fn render() -> String {
    let mut out = INTRODUCTION.to_owned();
    out.push_str(
        "\n| setting | values | default | SET, RESET | at connect time | hint | meaning |\n",
    );
    out.push_str("|---|---|---|---|---|---|---|\n");
    for knob in KNOBS {
        let mark = |given: bool| if given { "yes" } else { "no" };
        let set = mark(knob.places != Places::Shown);
        let hint = match knob.places {
            Places::Everywhere => format!("`{}=…`", knob.name),
            Places::Session | Places::Shown => "no".into(),
        };
        let _ = writeln!(
            out,
            "| `pgm.{}` | {} | {} | {set} | {set} | {hint} | {} |",
            knob.name, knob.values, knob.default, knob.help
        );
    }
    out
}

#[test]
fn documentation_matches_the_settings_table() {
    crate::tests::check_document("settings.md", &render());
}
