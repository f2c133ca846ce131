//! Tests of what stands ready under docker/monitoring: alert rules, dashboard and scrapes can be
//! read, and ask for nothing but metrics and labels that exist.

use super::super::table::{FAMILIES, Family, Kind};
use super::{LABEL_VALUES, worker};
use std::collections::BTreeSet;
use std::path::Path;
use yaml_rust2::{Yaml, YamlLoader};

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["job", "instance"];
/// Words before a parenthesis that holds names of labels.
const GROUPING: [&str; 5] = ["by", "without", "on", "ignoring", "group_left"];

fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/monitoring");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn yaml(name: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&read(name)).unwrap();
    assert_eq!(documents.len(), 1, "{name}");
    documents.remove(0)
}

/// The family that a name in a query belongs to; histograms are asked for by their parts.
fn family(name: &str) -> Option<&'static Family> {
    let whole = FAMILIES.iter().find(|f| f.name == name && f.kind != Kind::Histogram);
    let part = || {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end))?;
        FAMILIES.iter().find(|f| f.name == base && f.kind == Kind::Histogram)
    };
    whole.or_else(part).copied()
}

/// The labels a name in a query has.
fn labels(name: &str, family: &Family) -> BTreeSet<&'static str> {
    let bucket = name.ends_with("_bucket").then_some("le");
    family.labels.iter().copied().chain(ADDED).chain(bucket).collect()
}

/// One label and what it is to be, as in `state="up"`.
struct Matcher<'a> {
    label: &'a str,
    operator: &'a str,
    value: &'a str,
}

/// What stands between braces.
fn matchers(text: &str) -> Vec<Matcher<'_>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (label, after) = rest.split_once(['=', '!']).unwrap_or_else(|| panic!("{text}"));
        let start = rest.len() - after.len() - 1;
        let quote = rest.find('"').unwrap_or_else(|| panic!("no value in {text}"));
        let end = quote + 1 + rest[quote + 1..].find('"').unwrap();
        let (operator, value) = (rest[start..quote].trim(), &rest[quote + 1..end]);
        found.push(Matcher { label: label.trim(), operator, value });
        rest = rest[end + 1..].trim().trim_start_matches(',').trim();
    }
    found
}

/// The values that are documented for a label; `None` when they come from the configuration.
fn known_values(family: &Family, label: &str) -> Option<&'static [&'static str]> {
    let mut all = worker::LABEL_VALUES.iter().chain(LABEL_VALUES);
    all.find(|(name, known, _)| *name == family.name && *known == label).map(|(_, _, v)| *v)
}

/// Checks one query, and gives the labels that its result may have.
fn check(query: &str) -> BTreeSet<&'static str> {
    let is_name = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
    let mut all: BTreeSet<&'static str> = ADDED.into();
    let mut asked = 0;
    for (place, _) in query.match_indices("pgmanifold_") {
        let rest = &query[place..];
        let name = &rest[..rest.find(|sign| !is_name(sign)).unwrap_or(rest.len())];
        let family = family(name).unwrap_or_else(|| panic!("there is no {name}, in {query}"));
        let own = labels(name, family);
        asked += 1;
        if let Some(inside) = rest[name.len()..].strip_prefix('{') {
            for Matcher { label, operator, value } in matchers(inside.split('}').next().unwrap()) {
                assert!(own.contains(label), "{name} has no label {label}: {query}");
                let Some(known) = known_values(family, label) else { continue };
                if value.starts_with('$') {
                    continue;
                }
                for word in value.split('|') {
                    assert!(known.contains(&word), "{name}: {label}{operator}{word:?}: {query}");
                }
            }
        }
        all.extend(own);
    }
    assert!(asked > 0 || query.contains("up{"), "nothing of pgmanifold: {query}");
    for word in GROUPING {
        for (place, _) in query.match_indices(word) {
            let before = query[..place].chars().next_back();
            let inside = query[place + word.len()..].trim_start().strip_prefix('(');
            let (Some(inside), false) = (inside, before.is_some_and(is_name)) else { continue };
            for label in inside.split(')').next().unwrap().split(',').map(str::trim) {
                assert!(all.contains(label), "nothing has a label {label}: {query}");
            }
        }
    }
    assert_eq!(query.matches('(').count(), query.matches(')').count(), "{query}");
    all
}

/// Names in templates such as `{{ $labels.host }}` or `{{host}}`.
fn placeholders<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let inside = text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    let words = inside.filter_map(|inside| inside.trim().strip_prefix(start));
    words.map(|word| word.split_whitespace().next().unwrap_or(word)).collect()
}

#[test]
fn alerts_ask_for_what_there_is() {
    let rules = yaml("rules.yml");
    let mut names = BTreeSet::new();
    for rule in rules["groups"].as_vec().unwrap().iter().flat_map(|g| g["rules"].as_vec().unwrap())
    {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name), "{name} stands twice");
        let labels = check(rule["expr"].as_str().unwrap());
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()));
        for text in ["summary", "description"] {
            let text = rule["annotations"][text].as_str().unwrap_or_else(|| panic!("{name}"));
            for label in placeholders(text, "$labels.") {
                assert!(labels.contains(label), "{name} has no label {label}");
            }
        }
    }
    let operations = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md"),
    )
    .unwrap();
    for name in &names {
        assert!(operations.contains(&format!("`{name}`")), "{name} is not in docs/operations.md");
    }
    assert!(names.len() >= 20, "{names:?}");
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let board: serde_json::Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut ids = BTreeSet::new();
    let mut queries = 0;
    for panel in board["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id stands twice");
        let grid = &panel["gridPos"];
        assert!(grid["x"].as_u64().unwrap() + grid["w"].as_u64().unwrap() <= 24, "{grid}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let labels = check(&text(&target["expr"]));
            for label in placeholders(target["legendFormat"].as_str().unwrap(), "") {
                assert!(labels.contains(label), "{} has no {label}", panel["title"]);
            }
            queries += 1;
        }
    }
    for annotation in board["annotations"]["list"].as_array().unwrap() {
        check(&text(&annotation["expr"]));
    }
    let mut variables = BTreeSet::new();
    for variable in board["templating"]["list"].as_array().unwrap() {
        variables.insert(format!("${}", text(&variable["name"])));
        let Some(definition) = variable["definition"].as_str() else { continue };
        let inside = definition.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (query, label) = inside.rsplit_once(", ").unwrap();
        assert!(check(query).contains(label), "{definition}");
    }
    for name in ["$instance", "$database", "$shard", "$host"] {
        assert!(variables.contains(name), "{name}");
    }
    assert!(queries > 40, "{queries}");
}

#[test]
fn scrapes_and_provisioning_can_be_read() {
    let scrapes = yaml("prometheus.yml");
    assert_eq!(scrapes["scrape_configs"][0]["job_name"].as_str(), Some("pgmanifold"));
    assert_eq!(scrapes["rule_files"][0].as_str(), Some("rules.yml"));
    let provisioned = yaml("grafana/datasources.yml");
    assert_eq!(provisioned["datasources"][0]["type"].as_str(), Some("prometheus"));
    assert!(yaml("grafana/dashboards.yml")["providers"][0]["options"]["path"].as_str().is_some());
}

#[test]
#[should_panic(expected = "has no label nonsense")]
fn a_label_that_is_not_there_is_found() {
    check("sum(rate(pgmanifold_queries_total{nonsense=\"x\"}[5m]))");
}

#[test]
#[should_panic(expected = "there is no pgmanifold_query_seconds")]
fn a_name_that_is_not_there_is_found() {
    check("pgmanifold_query_seconds");
}

#[test]
#[should_panic(expected = "state=\"broken\"")]
fn a_value_that_is_not_there_is_found() {
    check("pgmanifold_clients{state=\"broken\"}");
}
