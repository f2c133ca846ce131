//! Tests of sharded databases in the configuration.

use crate::config::model::Config;
use crate::config::{ConfigErrors, parse};
use pgmanifold_router::key::{KeyType, KeyValue};
use pgmanifold_router::shard_map::{Bound, DistributionKind, ShardId};

const HEAD: &str = r#"[[listener]]
address = "127.0.0.1:0"
[[user]]
name = "app"
password = "x"
[[shard]]
name = "s0"
hosts = ["h:1"]
monitor_user = "m"
[[shard]]
name = "s1"
hosts = ["h:2"]
monitor_user = "m"
[[shard]]
name = "s2"
hosts = ["h:3"]
monitor_user = "m"
"#;

const DATABASE: &str = "[[database]]\nname = \"app\"\nshards = [\"s0\", \"s1\", \"s2\"]\n";

fn read(rest: &str) -> Result<Config, ConfigErrors> {
    parse(&format!("{HEAD}{rest}"), "test.toml")
}

fn good(rest: &str) -> Config {
    read(rest).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Asserts that these lines are the whole complaint; they begin after the file's name.
fn refused(rest: &str, wanted: &[&str]) {
    let errors = read(rest).expect_err("should have been refused").to_string();
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), wanted.len(), "{lines:#?}");
    let first = HEAD.lines().count();
    for (line, wanted) in lines.iter().zip(wanted) {
        let (number, text) = wanted.split_once(": ").expect("a line and a text");
        let number: usize = number.parse().expect("a line");
        let wanted = format!("test.toml:{}: {text}", first + number);
        assert!(line.starts_with(&wanted), "{line}\nwanted {wanted}");
    }
}

#[test]
fn a_database_lives_on_one_shard_or_on_several() {
    let config = good("[[database]]\nname = \"one\"\nshard = \"s1\"\n");
    assert!(config.databases[0].sharding.is_none() && config.maps.is_empty());
    let config = good(&format!("{DATABASE}home_shard = \"s2\"\n"));
    let database = &config.databases[0];
    let sharding = database.sharding.as_ref().unwrap();
    assert_eq!((sharding.shards.len(), sharding.home), (3, ShardId(2)));
    assert_eq!(database.shard.name, "s2");
    let map = &config.maps[0].map;
    assert_eq!((map.epoch, map.home, map.shards.len()), (1, ShardId(2), 3));
    let home = &good(DATABASE).databases[0].shard;
    assert_eq!(home.name, "s0", "the first one by default");
}

#[test]
fn rules_may_be_tried_on_a_database_that_is_not_sharded() {
    let rules = "[[distribution]]\nname = \"customer\"\nkey_types = [\"bigint\"]\n\
                 [[table]]\nname = \"orders\"\ndistribution = \"customer\"\n\
                 key = \"customer_id\"\n";
    let database = "[[database]]\nname = \"app\"\nshard = \"s1\"\nobserve_only = true\n";
    let config = good(&format!("{database}{rules}"));
    let found = &config.databases[0];
    assert!(found.sharding.is_none(), "it stays where it is");
    assert_eq!(found.observed.as_ref().unwrap().shards.len(), 4);
    let map = &config.maps[0].map;
    assert_eq!((map.shards.len(), map.tables.len()), (4, 1));
    assert_eq!(map.distributions[0].ranges.len(), 4);
    let own = "observe_shards = [\"east\", \"west\"]\n";
    let config = good(&format!("{database}{own}{rules}"));
    assert_eq!(config.maps[0].map.shards[1].as_ref(), "west");
}

#[test]
fn rules_to_be_tried_must_be_possible() {
    refused(
        "[[database]]\nname = \"a\"\nshard = \"s0\"\nobserve_shards = [\"x\", \"y\"]\n\
         [[database]]\nname = \"b\"\nshards = [\"s0\", \"s1\"]\nobserve_only = true\n\
         [[database]]\nname = \"c\"\nshard = \"s0\"\nobserve_only = true\n\
         observe_shards = [\"x\", \"x\"]\n",
        &[
            "4: database.observe_shards: shards to observe without `observe_only`",
            "8: database.observe_only: `observe_only` and `shards` are both given",
            "13: database.observe_shards: 2 shards",
        ],
    );
}

#[test]
fn wrong_shards_are_named_at_once() {
    refused(
        "[[database]]\nname = \"a\"\nshard = \"s0\"\nshards = [\"s0\", \"S1\", \"s0\"]\n\
         home_shard = \"s2\"\n[[database]]\nname = \"b\"\nshard = \"s0\"\nhome_shard = \"s0\"\n\
         [[database]]\nname = \"c\"\nshards = []\n",
        &[
            "3: database.shard: `shard` and `shards` are both given",
            "4: database.shards: there is no shard \"S1\"",
            "4: database.shards: shard \"s0\" is named twice",
            "5: database.home_shard: \"s2\" is not one of `shards`",
            "9: database.home_shard: a home without shards",
            "12: database.shards: 0 shards",
        ],
    );
}

#[test]
fn distributions_and_tables_make_a_map() {
    let config = good(&format!(
        "{DATABASE}
        [[distribution]]
        name = \"customer\"
        key_types = [\"int8\"]
        [[distribution]]
        name = \"tenant\"
        kind = \"range\"
        key_types = \"bigint\"
        ranges = [{{ shard = \"s1\" }}, {{ from = -5, shard = \"s0\" }},
                  {{ from = \"1000\", shard = \"s1\" }}]
        [[distribution]]
        name = \"country\"
        kind = \"list\"
        key_types = [\"text\"]
        lists = [{{ values = [\"fr\", \"de\"], shard = \"s2\" }},
                 {{ values = \"at\", shard = \"s0\" }}]
        [[distribution]]
        name = \"copies\"
        kind = \"reference\"
        [[distribution]]
        name = \"alone\"
        kind = \"single\"
        home = \"s1\"
        [[table]]
        name = \"orders\"
        distribution = \"customer\"
        key = \"customer_id\"
        unchecked_unique = true
        [[table]]
        name = \"stock.items\"
        distribution = \"copies\"\n"
    ));
    let map = &config.maps[0].map;
    let kinds: Vec<_> = map.distributions.iter().map(|one| one.kind).collect();
    use DistributionKind::{Hash, List, Range, Reference, Single};
    assert_eq!(kinds, [Hash, Range, List, Reference, Single]);
    assert_eq!(map.distributions[0].key_types, [KeyType::Int8]);
    assert_eq!(map.distributions[0].ranges.len(), 3, "an even split");
    let borders: Vec<_> = map.distributions[1].ranges.iter().map(|one| one.from.clone()).collect();
    let at = |key| Some(Bound::Value(KeyValue::Int(key)));
    assert_eq!(borders, [None, at(-5), at(1000)]);
    let values: Vec<_> = map.distributions[2].values.iter().map(|one| one.1.0).collect();
    assert_eq!(values, [0, 2, 2], "sorted by value: at, de, fr");
    assert_eq!(map.distributions[4].home, ShardId(1));
    let orders = map.table(Some("public"), "orders").unwrap();
    assert_eq!(&*orders.key_columns[0], "customer_id");
    assert!(map.table(Some("stock"), "items").is_some());
    assert!(orders.unchecked_unique && !map.table(None, "items").unwrap().unchecked_unique);
}

#[test]
fn wrong_distributions_are_named_at_once() {
    refused(
        &format!(
            "{DATABASE}\
[[distribution]]
name = \"a\"
key_types = [\"json\"]
[[distribution]]
name = \"b\"
kind = \"range\"
key_types = [\"integer\"]
ranges = [{{ from = 1, shard = \"s0\" }}, {{ from = 1, shard = \"s9\" }}]
[[distribution]]
name = \"c\"
kind = \"list\"
key_types = [\"integer\", \"integer\"]
[[distribution]]
name = \"d\"
kind = \"list\"
key_types = [\"smallint\"]
lists = [{{ values = [1, 1, 99999], shard = \"s0\" }}]
[[distribution]]
name = \"e\"
kind = \"reference\"
key_types = [\"integer\"]
[[distribution]]
name = \"f\"
[[distribution]]
name = \"g\"
key_types = [\"text\"]
home = \"s0\"
lists = [{{ values = [1], shard = \"s0\" }}]
ranges = [{{ shard = \"s0\" }}, {{ shard = \"s1\" }}, {{ from = \"x\", shard = \"s1\" }}]
[[distribution]]
name = \"h\"
kind = \"range\"
key_types = [\"text\"]
[[distribution]]
name = \"i\"
database = \"other\"
kind = \"reference\"
"
        ),
        &[
            "6: distribution.key_types: \"json\" is not a type of keys",
            "11: distribution.ranges.from: nobody has the keys before this",
            "11: distribution.ranges.shard: \"s9\" is not a shard of the database",
            "15: distribution.key_types: the key has several columns",
            "20: distribution.lists.values: \"99999\" is not a key of type smallint",
            "20: distribution.lists.values: \"1\" is named twice",
            "24: distribution.key_types: a distribution of this kind has no key",
            "25: distribution.key_types: `key_types` is missing",
            "30: distribution.home: only `kind = \"single\"` has a `home`",
            "31: distribution.lists: a distribution of this kind has no `distribution.lists`",
            "32: distribution.ranges.from: `from` is missing",
            "32: distribution.ranges.from: \"x\" is not a hash",
            "33: distribution.ranges: a `range` distribution without ranges",
            "39: distribution.database: there is no database \"other\" with `shards`",
        ],
    );
}

#[test]
fn wrong_tables_are_named_at_once() {
    refused(
        &format!(
            "{DATABASE}\
[[distribution]]
name = \"a\"
key_types = [\"integer\", \"text\"]
[[distribution]]
name = \"broken\"
key_types = [\"xml\"]
[[table]]
name = \"t\"
distribution = \"a\"
key = [\"one\", \"one\"]
[[table]]
name = \"t\"
distribution = \"a\"
key = [\"one\"]
[[table]]
name = \".x\"
distribution = \"A\"
[[table]]
name = \"y\"
distribution = \"broken\"
"
        ),
        &[
            "9: distribution.key_types: \"xml\" is not a type of keys",
            "13: table.key: \"one\" cannot be here",
            "15: table.name: a second table public.t",
            "17: table.key: 1 columns, but the key of \"a\" has 2",
            "19: table.name: not the name of a table",
            "20: table.distribution: there is no distribution \"A\"",
        ],
    );
    refused(
        "[[database]]\nname = \"app\"\nshard = \"s0\"\n\
         [[distribution]]\nname = \"a\"\nkind = \"reference\"\n",
        &["4: distribution.database: there is no database with `shards`"],
    );
}
