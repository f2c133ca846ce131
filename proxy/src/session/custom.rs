//! Owns the names of parameters that no catalog lists: clients make them up, and they follow a
//! session only when their names are known.

use super::Session;
use crate::wire::frame;
use pgmanifold_router::plan::PinReason;
use pgmanifold_router::planner::is_custom_name;

impl Session {
    /// A parameter that no catalog lists may be set.
    pub(super) fn note_custom_name(&mut self, name: &str) {
        if self.custom_names.contains(name) {
            return;
        }
        if self.custom_names.len() >= CUSTOM_NAMES_MAX {
            self.pins.hold(PinReason::Unclassified);
            return;
        }
        self.custom_names.insert(name.into());
    }

    /// `set_config($1, …)`: the name is among the values of the Bind.
    pub(super) fn note_bound_names(&mut self, values: &[u8]) {
        for value in frame::bound_values(values).unwrap_or_default() {
            let name = std::str::from_utf8(value).map(str::to_ascii_lowercase);
            if let Ok(name) = name
                && is_custom_name(&name)
            {
                self.note_custom_name(&name);
            }
        }
    }
}

/// Most parameters outside the catalog that follow a session; with more, it keeps its server.
const CUSTOM_NAMES_MAX: usize = 1_000;
