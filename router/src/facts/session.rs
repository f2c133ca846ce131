//! Owns which functions and views leave something behind in the session that uses them, though its
//! statements do not show it: by their own bodies, and by those they name.

use super::Facts;
use crate::planner::Body;
use std::collections::HashMap;

/// What is known of names that touch their session.
#[derive(Debug, Clone, Default)]
pub(super) struct SessionFacts {
    functions: HashMap<Box<str>, Body>,
    views: HashMap<Box<str>, Body>,
}

/// Collects bodies; two functions of one name add up.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    bodies: HashMap<Box<str>, Body>,
    views: HashMap<Box<str>, Vec<Box<str>>>,
}

impl Facts {
    /// What calling a function of this name may leave behind in the session; `None`: nothing.
    pub(crate) fn body(&self, function: &str) -> Option<&Body> {
        self.session.functions.get(function)
    }

    /// The same for reading a view of this name.
    pub(crate) fn view_body(&self, view: &str) -> Option<&Body> {
        self.session.views.get(view)
    }
}

impl Bodies {
    /// Adds a function.
    pub(super) fn function(&mut self, name: &str, body: Body) {
        let known = self.bodies.entry(name.into()).or_default();
        known.add(&body);
        known.identifiers.extend(body.identifiers);
    }

    /// Adds a view and the names in its definition.
    pub(super) fn view(&mut self, name: &str, names: Vec<Box<str>>) {
        self.views.entry(name.into()).or_default().extend(names);
    }

    /// Spreads what bodies do to whatever names them. A name is visited again only when it does
    /// more than before, so cycles end.
    pub(super) fn build(self) -> SessionFacts {
        let Self { mut bodies, views } = self;
        for (name, identifiers) in views {
            // A view beside a function of its name does what either does.
            bodies.entry(view_key(&name)).or_default().identifiers.extend(identifiers);
        }
        let mut users: HashMap<Box<str>, Vec<Box<str>>> = HashMap::new();
        for (name, body) in &bodies {
            for named in &body.identifiers {
                for used in [named.clone(), view_key(named)] {
                    if used != *name && bodies.contains_key(&used) {
                        users.entry(used).or_default().push(name.clone());
                    }
                }
            }
        }
        let acts = |body: &Body| body.touches || body.sequence_state;
        let mut queue: Vec<Box<str>> =
            bodies.iter().filter(|(_, body)| acts(body)).map(|(name, _)| name.clone()).collect();
        while let Some(name) = queue.pop() {
            let Some(source) = bodies.get(&name).cloned() else { continue };
            for user in users.get(&name).into_iter().flatten() {
                let Some(body) = bodies.get_mut(user) else { continue };
                let before = body.clone();
                body.add(&source);
                if *body != before {
                    queue.push(user.clone());
                }
            }
        }
        let mut facts = SessionFacts::default();
        for (name, mut body) in bodies.into_iter().filter(|(_, body)| acts(body)) {
            body.identifiers = Vec::new();
            match name.strip_prefix(VIEW_MARK) {
                Some(view) => facts.views.insert(view.into(), body),
                None => facts.functions.insert(name, body),
            };
        }
        facts
    }
}

/// Keeps names of views apart from those of functions; no name begins with it.
const VIEW_MARK: &str = "\0";

fn view_key(name: &str) -> Box<str> {
    format!("{VIEW_MARK}{name}").into()
}
