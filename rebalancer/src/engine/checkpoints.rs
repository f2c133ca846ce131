//! Owns the list of places at which tests stop the program.

/// All of them: `state.step`. The program passes each after what it names.
pub const CHECKPOINTS: &[&str] = &[
    "planned.checked",
    "planned.announced",
    "announced.barrier",
    "announced.guarded_source",
    "announced.guarded_target",
    "announced.published",
    "announced.slot",
    "copying.cleaned",
    "copying.paused",
    "copying.fenced",
    "copying.snapshot",
    "copying.chunk",
    "copying.copied",
    "catching_up.subscribed",
    "catching_up.caught_up",
    "catching_up.back_prepared",
    "verifying.pair",
    "verifying.compared",
    "ready.begin",
    "ready.paused",
    "ready.acknowledged",
    "ready.fenced",
    "ready.drained",
    "ready.disabled",
    "ready.settled",
    "ready.positioned",
    "flipped.begin",
    "flipped.following",
    "reversible.compared",
    "reversible.barrier",
    "cleaning.begin",
    "cleaning.back_removed",
    "cleaning.batch",
    "cleaning.purged",
    "cleaning.removed",
    "aborting.begin",
    "aborting.unpaused",
    "aborting.removed",
    "aborting.batch",
    "aborting.purged",
    "rolling_back.begin",
    "rolling_back.compared",
    "rolling_back.paused",
    "rolling_back.acknowledged",
    "rolling_back.fenced",
    "rolling_back.drained",
    "rolling_back.disabled",
    "rolling_back.settled",
    "rolling_back.unfenced",
    "returning.begin",
    "returning.barrier",
    "returning.removed",
    "returning.batch",
    "returning.purged",
];

#[cfg(test)]
mod tests {
    use super::CHECKPOINTS;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn each_is_passed_by_the_engine() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
        let mut used = BTreeSet::new();
        let mut sources = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() != "checkpoints.rs" {
                sources.push(std::fs::read_to_string(path).unwrap());
            }
        }
        for source in &sources {
            for literal in source.split('"').skip(1).step_by(2) {
                let state = literal.split('.').next().unwrap_or_default();
                let is_one = literal.contains('.')
                    && crate::state::State::from_name(state).is_some()
                    && !literal.contains([' ', '{']);
                if is_one {
                    used.insert(literal.to_owned());
                }
            }
        }
        let listed: BTreeSet<String> = CHECKPOINTS.iter().map(ToString::to_string).collect();
        assert_eq!(listed.len(), CHECKPOINTS.len(), "each stands once");
        assert_eq!(used, listed);
    }
}
