//! LISTEN and NOTIFY in transaction pooling: scripts are played on PostgreSQL and through the
//! proxy, and every answer and every notification must be the same.

use pgmanifold::config::model::Address;
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::raw::{self, Raw, transcript};
use pgmanifold_tests::{random, run};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;

/// The form is described at its top.
const SCRIPTS: &str = include_str!("notify_scripts.txt");

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

/// The scripts of one kind, by name.
fn scripts(place: Place) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut scripts: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in SCRIPTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("= ") {
            Some(name) => scripts.push((name, Vec::new())),
            None => scripts.last_mut().expect("a script begins with `=`").1.push(line),
        }
    }
    scripts.retain(|(name, _)| name.ends_with('!') == (place == Place::Inline));
    scripts
}

/// Who sent a notification is told when it is certain, and then it must be right.
fn is_same(expected: &str, seen: &str, place: Place) -> bool {
    let but_sender = seen.strip_suffix("from ?\",").filter(|_| place == Place::Apart);
    expected == seen || but_sender.is_some_and(|seen| expected.starts_with(seen))
}

fn compare(place: Place) {
    if is_direct() {
        return;
    }
    run(120, async move {
        let fixture = Fixture::shared("notify", |config| config.pool("pool_size = 4")).await;
        fixture.direct().await.batch_execute(SETUP).await.expect("set up");
        let direct = fixture.cluster.primary.address();
        for (name, steps) in scripts(place) {
            println!("script: {name}");
            let expected = Player::play(&direct, &fixture.database, place, &steps).await;
            let seen = Player::play(&fixture.address, &fixture.database, place, &steps).await;
            let lines = expected.lines().count() == seen.lines().count();
            let mut pairs = expected.lines().zip(seen.lines());
            if !lines || !pairs.all(|(expected, seen)| is_same(expected, seen, place)) {
                panic!("{name}\n--- PostgreSQL\n{expected}\n--- pgmanifold\n{seen}");
            }
        }
    });
}

#[test]
fn scripts_play_as_on_postgres() {
    compare(Place::Apart);
}

#[test]
fn own_notifications_come_before_the_answer_ends() {
    compare(Place::Inline);
}

/// Scripts of the random test, and steps in each.
const RANDOM_SCRIPTS: usize = 25;
const RANDOM_STEPS: usize = 40;

/// One random statement about listening and transactions.
fn statement(random: &mut StdRng) -> String {
    let channel = ["x", "y", "\"Z z\""][random.random_range(0..3)];
    let savepoint = ["s", "t"][random.random_range(0..2)];
    match random.random_range(0..17) {
        0..=4 => format!("LISTEN {channel}"),
        5 => format!("UNLISTEN {channel}"),
        6 if random.random_bool(0.5) => "UNLISTEN *".into(),
        6 => "SELECT 1".into(),
        7..=8 => "BEGIN".into(),
        9 => "COMMIT".into(),
        10 => "ROLLBACK".into(),
        11..=12 => format!("SAVEPOINT {savepoint}"),
        13 => format!("ROLLBACK TO {savepoint}"),
        14 => format!("RELEASE {savepoint}"),
        15 if random.random_bool(0.3) => "SELECT 1/0".into(),
        15 if random.random_bool(0.2) => "DISCARD ALL".into(),
        _ => "SELECT pg_listening_channels()".into(),
    }
}

#[test]
fn random_transactions_listen_as_on_postgres() {
    if is_direct() {
        return;
    }
    let mut random = random::seeded("notify");
    run(120, async move {
        let fixture = Fixture::shared("notify_random", |config| config.pool("pool_size = 2")).await;
        let direct = fixture.cluster.primary.address();
        for number in 0..RANDOM_SCRIPTS {
            let mut steps = Vec::new();
            for _ in 0..RANDOM_STEPS {
                let batch = random.random_range(1..4);
                let mut batch: Vec<String> = (0..batch).map(|_| statement(&mut random)).collect();
                if batch.iter().any(|sql| sql == "COMMIT") {
                    // What is listened to behind a COMMIT of the same batch is refused.
                    batch.retain(|sql| !sql.contains("channels"));
                }
                steps.push(match random.random_bool(0.4) && !batch.join("").contains("DISCARD") {
                    true => format!("a* {}", batch.join(" ;; ")),
                    false => format!("a {}", batch[0]),
                });
            }
            steps.extend(["a ROLLBACK", "a SELECT pg_listening_channels()"].map(str::to_owned));
            steps.extend(["x", "y", "\"Z z\""].map(|channel| format!("n NOTIFY {channel}, '.'")));
            let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
            let expected = Player::play(&direct, &fixture.database, Place::Apart, &steps).await;
            let seen =
                Player::play(&fixture.address, &fixture.database, Place::Apart, &steps).await;
            let mut pairs = expected.lines().zip(seen.lines());
            if !pairs.all(|(expected, seen)| is_same(expected, seen, Place::Apart)) {
                panic!("{number}\n--- PostgreSQL\n{expected}\n--- pgmanifold\n{seen}");
            }
        }
    });
}
