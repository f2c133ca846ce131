//! LISTEN and NOTIFY in transaction pooling: scripts are played on PostgreSQL and through the
//! proxy, and every answer and every notification must be the same.

use pgmanifold::config::model::Address;
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::raw::{self, Raw, transcript};
use pgmanifold_tests::run;
use std::collections::BTreeMap;

/// Steps: `a SQL` is a simple query of session `a`; `a* SQL ;; SQL` is one extended batch; `a<n`
/// waits until session `a` has had `n` notifications in all.
const SCRIPTS: &[(&str, &[&str])] = &[
    (
        "listen and unlisten",
        &[
            "a LISTEN x",
            "n NOTIFY x, 'one'",
            "a<1",
            "b LISTEN x",
            "n NOTIFY x, 'two'",
            "a<2",
            "b<1",
            "a UNLISTEN x",
            "n NOTIFY x, 'three'",
            "b<2",
            "a SELECT 1",
            "b UNLISTEN *",
            "n NOTIFY x, 'four'",
            "b SELECT 1",
            "a UNLISTEN y",
            "a UNLISTEN *",
        ],
    ),
    (
        "names",
        &[
            "a LISTEN Foo",
            "n NOTIFY foo, '1'",
            "a<1",
            "a LISTEN \"Foo\"",
            "n NOTIFY \"Foo\"",
            "a<2",
            "n SELECT pg_notify('Foo', 'ünïcödé')",
            "a<3",
            "a LISTEN \"a\"\"b c\"",
            "n NOTIFY \"a\"\"b c\", 'it''s'",
            "a<4",
            "a LISTEN \"grün\"",
            "n NOTIFY \"grün\", '€'",
            "a<5",
            "a SELECT pg_listening_channels()",
            "a SELECT * FROM pg_listening_channels()",
            "a LISTEN a63456789012345678901234567890123456789012345678901234567890123",
        ],
    ),
    (
        "errors",
        &[
            "a LISTEN select",
            "a LISTEN \"\"",
            "a LISTEN",
            "a LISTEN a.b",
            "a LISTEN 'x'",
            "a LISTEN left",
            "a UNLISTEN",
            "a SELECT 1",
        ],
    ),
    (
        "a transaction commits",
        &[
            "a BEGIN",
            "a LISTEN x",
            "n NOTIFY x, 'early'",
            "a SELECT pg_listening_channels()",
            "a COMMIT",
            "n NOTIFY x, 'late'",
            "a<1",
            "a SELECT pg_listening_channels()",
            "a BEGIN",
            "a UNLISTEN x",
            "a LISTEN y",
            "a LISTEN x",
            "a COMMIT",
            "n NOTIFY y, 'late'",
            "a<2",
            "a BEGIN",
            "a UNLISTEN *",
            "a LISTEN z",
            "a COMMIT AND CHAIN",
            "a SELECT 1",
            "a ROLLBACK",
            "a SELECT pg_listening_channels()",
            "n NOTIFY z, 'last'",
            "a<3",
        ],
    ),
    (
        "a transaction is rolled back",
        &[
            "a BEGIN",
            "a LISTEN x",
            "a ROLLBACK",
            "n NOTIFY x, 'no'",
            "a SELECT 1",
            "a LISTEN y",
            "a BEGIN",
            "a SELECT 1",
            "a LISTEN x",
            "a UNLISTEN y",
            "a ABORT",
            "n NOTIFY x, 'no'",
            "n NOTIFY y, 'yes'",
            "a<1",
            "a SELECT pg_listening_channels()",
            "a START TRANSACTION",
            "a LISTEN z",
            "a SELECT 1/0",
            "a LISTEN w",
            "a UNLISTEN *",
            "a COMMIT",
            "a SELECT pg_listening_channels()",
        ],
    ),
    (
        "savepoints",
        &[
            "a BEGIN",
            "a LISTEN a1",
            "a SAVEPOINT s",
            "a LISTEN a2",
            "a ROLLBACK TO s",
            "a LISTEN a3",
            "a RELEASE s",
            "a COMMIT",
            "a SELECT pg_listening_channels()",
            "a UNLISTEN *",
            "a BEGIN",
            "a SAVEPOINT s",
            "a LISTEN b1",
            "a ROLLBACK TO SAVEPOINT s",
            "a COMMIT",
            "a SELECT pg_listening_channels()",
            "a BEGIN",
            "a SAVEPOINT s",
            "a LISTEN c1",
            "a SAVEPOINT \"s\"",
            "a LISTEN c2",
            "a ROLLBACK TO s",
            "a ROLLBACK WORK TO s",
            "a LISTEN c3",
            "a RELEASE SAVEPOINT s",
            "a SELECT 1",
            "a ROLLBACK TO s",
            "a LISTEN c4",
            "a COMMIT",
            "a SELECT pg_listening_channels()",
            "a UNLISTEN *",
            "a BEGIN",
            "a LISTEN d1",
            "a SAVEPOINT s",
            "a LISTEN d2",
            "a SELECT 1/0",
            "a ROLLBACK TO nosuch",
            "a ROLLBACK TO s",
            "a COMMIT",
            "a SELECT pg_listening_channels()",
            "a BEGIN",
            "a LISTEN e1",
            "a ROLLBACK TO nosuch",
            "a LISTEN e2",
            "a COMMIT",
            "a SELECT pg_listening_channels()",
        ],
    ),
    (
        "a listener in a transaction gets nothing before its end",
        &[
            "a LISTEN x",
            "a BEGIN",
            "a SELECT 1",
            "n NOTIFY x, '1'",
            "n NOTIFY x, '2'",
            "a SELECT 2",
            "a COMMIT",
            "a<2",
            "a BEGIN",
            "n NOTIFY x, '3'",
            "a ROLLBACK",
            "a<3",
            "a BEGIN",
            "a SELECT 1/0",
            "n NOTIFY x, '4'",
            "a SELECT 1",
            "a COMMIT",
            "a<4",
        ],
    ),
    (
        "a rolled back transaction notifies nobody, one notification is sent once",
        &[
            "a LISTEN x",
            "n BEGIN",
            "n NOTIFY x, 'no'",
            "n ROLLBACK",
            "n BEGIN",
            "n NOTIFY x, '1'",
            "n SAVEPOINT s",
            "n NOTIFY x, '2'",
            "n ROLLBACK TO s",
            "n NOTIFY x, '1'",
            "n NOTIFY x, '3'",
            "n COMMIT",
            "a<2",
        ],
    ),
    (
        "discard all",
        &[
            "a LISTEN x",
            "a LISTEN y",
            "a BEGIN",
            "a DISCARD ALL",
            "a ROLLBACK",
            "a SELECT pg_listening_channels()",
            "a DISCARD ALL",
            "a SELECT pg_listening_channels()",
            "n NOTIFY x",
            "a SELECT 1",
            "a LISTEN x",
            "n NOTIFY x, 'again'",
            "a<1",
        ],
    ),
    (
        "extended protocol",
        &[
            "a* LISTEN x",
            "n* NOTIFY x, '1'",
            "a<1",
            "a* SELECT 1 ;; LISTEN y",
            "a* SELECT pg_listening_channels()",
            "a* BEGIN ;; LISTEN z",
            "a* COMMIT",
            "a* SELECT * FROM pg_listening_channels()",
            "a* UNLISTEN x ;; UNLISTEN y",
            "a* LISTEN q ;; SELECT 1/0",
            "a* SELECT 1/0 ;; LISTEN q",
            "a* LISTEN r ;; SELECT 2",
            "a SELECT pg_listening_channels()",
            "n NOTIFY r, 'r'",
            "a<2",
            "a* UNLISTEN *",
            "a* BEGIN ;; LISTEN w ;; SAVEPOINT s ;; LISTEN v ;; ROLLBACK TO s ;; COMMIT",
            "a* SELECT pg_listening_channels()",
            "n NOTIFY v",
            "n NOTIFY w, 'w'",
            "a<3",
            "a* BEGIN ;; LISTEN k ;; COMMIT ;; LISTEN l",
            "a* BEGIN ;; LISTEN m ;; ROLLBACK",
            "a* SELECT pg_listening_channels()",
            "a* LISTEN p ;; BEGIN",
            "a* SELECT 1",
            "a* COMMIT",
            "a* SELECT pg_listening_channels()",
            "a* BEGIN ;; LISTEN no",
            "a* SELECT 1/0",
            "a* LISTEN x",
            "a* ROLLBACK",
            "a* SELECT pg_listening_channels()",
            "a* DISCARD ALL",
            "a* SELECT pg_listening_channels()",
        ],
    ),
    (
        "several statements",
        &[
            "b SELECT 1; LISTEN x",
            "n NOTIFY x, '1'",
            "b<1",
            "b LISTEN y",
            "n NOTIFY y, '2'",
            "b<2",
            "b SELECT pg_listening_channels()",
            "b UNLISTEN x",
            "n NOTIFY x, 'no'",
            "b BEGIN",
            "b LISTEN z",
            "b COMMIT",
            "n NOTIFY z, '3'",
            "b<3",
        ],
    ),
    (
        "inside a block",
        &[
            "b DO $$ BEGIN EXECUTE 'LISTEN x'; END $$",
            "n NOTIFY x, '1'",
            "b<1",
            "b SELECT pg_listening_channels()",
        ],
    ),
];

/// Scripts in which also the place of a notification among the answers must be the same.
const OWN_NOTIFICATIONS: &[(&str, &[&str])] = &[
    (
        "a session notifies itself",
        &[
            "a LISTEN x",
            "a NOTIFY x, 'one'",
            "a SELECT pg_notify('x', 'two')",
            "a BEGIN",
            "a NOTIFY x, '1'",
            "a SELECT 1",
            "a NOTIFY x, '2'",
            "a NOTIFY x, '1'",
            "a COMMIT",
            "a SELECT 1",
            "a BEGIN",
            "a LISTEN y",
            "a NOTIFY y, 'both'",
            "a COMMIT",
            "a NOTIFY x, 'a'; NOTIFY y, 'b'",
            "a* NOTIFY x, 'extended'",
            "a* BEGIN ;; NOTIFY y, 'batch' ;; COMMIT",
            "a BEGIN",
            "a NOTIFY x, 'no'",
            "a ROLLBACK",
            "a SELECT 1",
            "a UNLISTEN x",
            "a NOTIFY x, 'no'",
            "a NOTIFY y, 'yes'",
            "a BEGIN",
            "a UNLISTEN y",
            "a NOTIFY y, 'no'",
            "a COMMIT",
        ],
    ),
    (
        "a trigger notifies the session",
        &[
            "a LISTEN t_changed",
            "a INSERT INTO notify_t VALUES (1)",
            "a BEGIN",
            "a INSERT INTO notify_t VALUES (2), (3)",
            "a SELECT 1",
            "a COMMIT",
            "a* INSERT INTO notify_t VALUES (4)",
        ],
    ),
];

const SETUP: &str = "
    create table notify_t (n int);
    create function notify_t_changed() returns trigger language plpgsql as $$
        begin perform pg_notify('t_changed', new.n::text); return new; end $$;
    create trigger changed after insert on notify_t
        for each row execute function notify_t_changed();";

/// Where the notifications of a session are written down.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a list of its own: when they come is not exact.
    Apart,
    /// Among the answers.
    Inline,
}

struct Player {
    address: Address,
    database: String,
    place: Place,
    sessions: BTreeMap<char, Raw>,
    /// Notifications each session had.
    had: BTreeMap<char, Vec<String>>,
    log: String,
}

impl Player {
    async fn play(address: &Address, database: &str, place: Place, steps: &[&str]) -> String {
        let mut player = Player {
            address: address.clone(),
            database: database.into(),
            place,
            sessions: BTreeMap::new(),
            had: BTreeMap::new(),
            log: String::new(),
        };
        // All at once, so that notifications can be told by their sender.
        for name in ['a', 'b', 'n'] {
            let raw = Raw::connect(&player.address, USER, &player.database).await;
            player.sessions.insert(name, raw);
            player.had.insert(name, Vec::new());
        }
        for step in steps {
            player.step(step).await;
        }
        // Whatever came and was not to come shows before the last one.
        let names: Vec<char> = player.sessions.keys().copied().collect();
        for &name in &names {
            player.ask(name, raw::query("rollback")).await;
            player.ask(name, raw::query("listen the_end")).await;
        }
        player.ask('n', raw::query("notify the_end")).await;
        for name in names {
            while player.had[&name].last().is_none_or(|last| !last.contains("the_end")) {
                player.receive(name).await;
            }
        }
        if place == Place::Apart {
            player.log += &format!("{:#?}", player.had);
        }
        player.log
    }

    async fn step(&mut self, step: &str) {
        println!("  {step}");
        let mut letters = step.chars();
        let name = letters.next().expect("a session");
        let rest = letters.as_str();
        if let Some(count) = rest.strip_prefix('<') {
            let count: usize = count.parse().expect("a number");
            while self.had[&name].len() < count {
                self.receive(name).await;
            }
            return;
        }
        self.log += &format!("-- {step}\n");
        let bytes = match rest.strip_prefix('*') {
            Some(batch) => {
                let messages = batch.split(" ;; ").map(|sql| {
                    let parts = [
                        raw::parse("", sql),
                        raw::bind("", "", &[]),
                        raw::describe(b'P', ""),
                        raw::execute("", 0),
                    ];
                    parts.concat()
                });
                [messages.collect::<Vec<_>>().concat(), raw::sync()].concat()
            }
            None => raw::query(rest.trim_start()),
        };
        self.ask(name, bytes).await;
    }

    async fn ask(&mut self, name: char, bytes: Vec<u8>) {
        let session = self.sessions.get_mut(&name).expect("a session");
        session.send(&bytes).await;
        let answer = session.until_ready().await;
        for message in answer {
            self.note(name, message);
        }
    }

    async fn receive(&mut self, name: char) {
        let session = self.sessions.get_mut(&name).expect("a session");
        match session.next().await {
            Some(message) => self.note(name, message),
            None => panic!("session {name} was closed; so far:\n{}", self.log),
        }
    }

    fn note(&mut self, name: char, message: raw::Message) {
        if message.tag != b'A' {
            self.log += &transcript(&[message]);
            return;
        }
        let pid = u32::from_be_bytes(message.body[..4].try_into().expect("four bytes"));
        let sender = self.sessions.iter().find(|(_, session)| session.pid == pid);
        let sender = sender.map_or('?', |(name, _)| *name);
        let line = format!("{} from {sender}", message.body[4..].escape_ascii());
        if self.place == Place::Inline && !line.contains("the_end") {
            self.log += &format!("A {line}\n");
        }
        self.had.get_mut(&name).expect("a session").push(line);
    }
}

fn compare(scripts: &'static [(&'static str, &'static [&'static str])], place: Place) {
    if is_direct() {
        return;
    }
    run(120, async move {
        let fixture = Fixture::shared("notify", |config| config.pool("pool_size = 4")).await;
        fixture.direct().await.batch_execute(SETUP).await.expect("set up");
        let direct = fixture.cluster.primary.address();
        for (name, steps) in scripts {
            println!("script: {name}");
            let expected = Player::play(&direct, &fixture.database, place, steps).await;
            let seen = Player::play(&fixture.address, &fixture.database, place, steps).await;
            // Who sent a notification is told when it is certain, and then it must be right.
            let same = |(expected, seen): (&str, &str)| {
                expected == seen
                    || place == Place::Apart
                        && seen.strip_suffix("from ?\",").is_some_and(|seen| {
                            expected.starts_with(seen) && expected.ends_with("\",")
                        })
            };
            let lines = expected.lines().count() == seen.lines().count();
            if !lines || !expected.lines().zip(seen.lines()).all(same) {
                panic!("{name}\n--- PostgreSQL\n{expected}\n--- pgmanifold\n{seen}");
            }
        }
    });
}

#[test]
fn scripts_play_as_on_postgres() {
    compare(SCRIPTS, Place::Apart);
}

#[test]
fn own_notifications_come_before_the_answer_ends() {
    compare(OWN_NOTIFICATIONS, Place::Inline);
}
