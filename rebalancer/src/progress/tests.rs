//! What each form shows of one move.

use super::*;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn shown(form: Form) -> String {
    let sink = Sink::default();
    let mut progress = Progress::with(form, sink.clone());
    progress.state(3, "orders [0, 9) north -> south", State::Copying, "planned by hand");
    let mut now = Now { rows: 50, rows_total: Some(200), bytes: 5000, ..Now::default() };
    assert_eq!(progress.now(3, &now), 0.0, "one look tells no rate");
    now.waiting = Some("replica r is behind".into());
    progress.now(3, &now);
    progress.now(3, &now);
    progress.say(3, "two\nlines");
    progress.finish();
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn lines_are_for_logs() {
    let text = shown(Form::Lines);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "move 3: copying: orders [0, 9) north -> south: planned by hand",
            "move 3: copying: 50 of 200 rows (25.0 %), 5.0 kB",
            "move 3: copying: 50 of 200 rows (25.0 %), 5.0 kB, waiting: replica r is behind",
            "move 3: two",
            "move 3: lines",
        ]
    );
}

#[test]
fn json_lines_are_objects_with_stable_members() {
    let text = shown(Form::Json);
    let objects = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let objects: Vec<serde_json::Value> = objects.collect();
    let events: Vec<&str> = objects.iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["state", "progress", "progress", "note"], "not twice the same: {text}");
    assert!(objects.iter().all(|one| one["move"] == 3 && one["at_ms"].is_u64()));
    assert_eq!(objects[0]["state"], "copying");
    let now = &objects[1];
    assert_eq!((&now["rows"], &now["rows_total"]), (&50.into(), &200.into()));
    assert_eq!(now["percent"], 25.0);
    assert!(now.get("seconds_left").is_none() && now.get("waiting").is_none(), "{now}");
    assert_eq!(objects[2]["waiting"], "replica r is behind");
    assert_eq!(objects[3]["text"], "two\nlines");
}
