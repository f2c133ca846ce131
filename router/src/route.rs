//! Owns the decision "primary or replica" for one request: plan + state of the session -> route.
//! It must not know which servers exist or how fresh they are.

use crate::hint::Role;
use crate::plan::{Effect, Plan, Transaction};
use std::borrow::Cow;
use std::fmt;

/// The kind of server a request must run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The primary only.
    Primary,
    /// Any replica that is fresh enough, else the primary.
    Replica,
    /// A replica only (asked for by hint): refused when there is none.
    ReplicaOnly,
}

impl Target {
    /// The target as one lowercase word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::ReplicaOnly => "replica-only",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the route depends on besides the plan.
#[derive(Debug, Clone, Copy)]
pub struct SessionView {
    /// `SET pgm.role`.
    pub role: Role,
    /// A deferred BEGIN waits to be sent with this request.
    pub begin: Option<Transaction>,
    /// False when `pool_mode = session`, or reads on replicas are switched off.
    pub split_reads: bool,
}

impl Default for SessionView {
    fn default() -> Self {
        Self { role: Role::Auto, begin: None, split_reads: true }
    }
}

/// Where a request goes and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The kind of server.
    pub target: Target,
    /// Why, as a short lowercase sentence.
    pub reason: Cow<'static, str>,
}

/// One line: `replica: reads only`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.reason)
    }
}

/// Decides where a request that begins with `plan` goes.
///
/// - What is not proven to be a read goes to the primary whatever a hint or the session asks: a
///   replica would refuse it at best, and at worst (advisory locks, `set_config`) do it in the
///   wrong place. The reason then says that `role=replica` was overridden.
/// - A read goes to a replica, unless the hint or the session's role says primary. A hint wins
///   over the session's role; `auto` in a hint undoes it.
/// - `role=replica` on a read means a replica and nothing else.
/// - A deferred read-write BEGIN keeps its transaction on the primary, also against
///   `role=replica`, because later statements may write. A READ ONLY one follows its first
///   statement, unless it is SERIALIZABLE, which a hot standby cannot do.
pub fn route(plan: &Plan, session: SessionView) -> Route {
    let (target, why) = decide(plan, session);
    Route { target, reason: why.into_reason() }
}

/// Why a request goes where it goes, without a word being copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why<'p> {
    /// The plan's own reason.
    Plan(&'p Cow<'static, str>),
    /// These words.
    Words(&'static str),
    /// `role=replica` was asked for, and cannot be, for the plan's reason.
    Overridden {
        /// Who asked.
        asked: &'static str,
        /// The plan's reason.
        reason: &'p Cow<'static, str>,
    },
}

impl Why<'_> {
    /// In words, unless they are the plan's own; without the plan's where a role was overridden.
    pub fn fixed(self) -> Option<&'static str> {
        match self {
            Self::Plan(_) => None,
            Self::Words(words) => Some(words),
            Self::Overridden { .. } => Some("role=replica overridden"),
        }
    }

    fn into_reason(self) -> Cow<'static, str> {
        match self {
            Self::Plan(reason) => reason.clone(),
            Self::Words(words) => words.into(),
            Self::Overridden { asked, reason } => format!("{asked} overridden: {reason}").into(),
        }
    }
}

/// What [`route`] decides.
pub fn decide(plan: &Plan, session: SessionView) -> (Target, Why<'_>) {
    let (role, hinted) = (plan.hints.role.unwrap_or(session.role), plan.hints.role.is_some());
    let primary = |words: &'static str| (Target::Primary, Why::Words(words));
    if !session.split_reads {
        return primary("reads stay on the primary for this session");
    }
    if plan.effect != Effect::Read {
        return match role {
            Role::Replica => {
                let (asked, reason) = (asked(role, hinted), &plan.reason);
                (Target::Primary, Why::Overridden { asked, reason })
            }
            Role::Primary | Role::Auto => (Target::Primary, Why::Plan(&plan.reason)),
        };
    }
    match session.begin {
        None => {}
        Some(Transaction::Begin { read_only: true, serializable: false }) => {}
        Some(Transaction::Begin { read_only: true, serializable: true }) => {
            return primary("serializable transaction");
        }
        Some(_) => return primary("read-write transaction"),
    }
    match role {
        Role::Primary => primary(asked(role, hinted)),
        Role::Replica => (Target::ReplicaOnly, Why::Words(asked(role, hinted))),
        Role::Auto => (Target::Replica, Why::Plan(&plan.reason)),
    }
}

/// Who asked for the role.
fn asked(role: Role, hinted: bool) -> &'static str {
    match (role, hinted) {
        (Role::Auto, _) => "role=auto",
        (Role::Primary, true) => "role=primary (hint)",
        (Role::Primary, false) => "role=primary (session)",
        (Role::Replica, true) => "role=replica (hint)",
        (Role::Replica, false) => "role=replica (session)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(effect: Effect, hint: Option<Role>) -> Plan {
        let mut plan = Plan { effect, reason: "because".into(), statements: 1, ..Plan::default() };
        plan.hints.role = hint;
        plan
    }

    fn begin(read_only: bool, serializable: bool) -> Option<Transaction> {
        Some(Transaction::Begin { read_only, serializable })
    }

    #[test]
    fn whole_table() {
        let auto = SessionView::default();
        let role = |role| SessionView { role, ..auto };
        let in_tx = |begin| SessionView { begin, ..auto };
        let read = plan(Effect::Read, None);
        let write = plan(Effect::Write, None);
        for (plan, session, expect) in [
            (&read, auto, "replica: because"),
            (&write, auto, "primary: because"),
            (&read, role(Role::Primary), "primary: role=primary (session)"),
            (&read, role(Role::Replica), "replica-only: role=replica (session)"),
            (&write, role(Role::Replica), "primary: role=replica (session) overridden: because"),
            (
                &plan(Effect::Unknown, Some(Role::Replica)),
                auto,
                "primary: role=replica (hint) overridden: because",
            ),
            (
                &plan(Effect::Read, Some(Role::Replica)),
                role(Role::Primary),
                "replica-only: role=replica (hint)",
            ),
            (&plan(Effect::Read, Some(Role::Auto)), role(Role::Primary), "replica: because"),
            (&plan(Effect::Read, Some(Role::Primary)), auto, "primary: role=primary (hint)"),
            (&read, in_tx(begin(false, false)), "primary: read-write transaction"),
            (&read, in_tx(begin(true, true)), "primary: serializable transaction"),
            (&read, in_tx(begin(true, false)), "replica: because"),
            (&write, in_tx(begin(true, false)), "primary: because"),
            (
                &read,
                SessionView { split_reads: false, ..auto },
                "primary: reads stay on the primary for this session",
            ),
        ] {
            assert_eq!(route(plan, session).to_string(), expect);
        }
    }

    #[test]
    fn only_reads_ever_reach_a_replica() {
        let effects = [
            Effect::Write,
            Effect::Ddl,
            Effect::Transaction,
            Effect::SessionState,
            Effect::Copy,
            Effect::Unknown,
        ];
        for effect in effects {
            for role in [Role::Primary, Role::Replica, Role::Auto] {
                for begin in [None, begin(true, false), begin(false, false)] {
                    let session = SessionView { role, begin, split_reads: true };
                    let target = route(&plan(effect, Some(role)), session).target;
                    assert_eq!(target, Target::Primary, "{effect} {role} {begin:?}");
                }
            }
        }
    }
}
