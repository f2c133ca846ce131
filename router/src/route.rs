//! Owns the decision "primary or replica" for one request: plan + state of the session -> route.

use crate::hint::Role;
use crate::plan::Plan;

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

/// What the route depends on besides the plan.
#[derive(Debug, Clone, Copy)]
pub struct SessionView {
    /// `SET pgm.role`.
    pub role: Role,
    /// A deferred BEGIN waits to be sent with this request.
    pub begin: Option<crate::plan::Transaction>,
    /// False when `pool_mode = session`, or reads on replicas are switched off.
    pub split_reads: bool,
}

/// Where a request goes and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The kind of server.
    pub target: Target,
    /// Why, as a short lowercase sentence.
    pub reason: std::borrow::Cow<'static, str>,
}

/// Decides where a request that begins with `plan` goes.
pub fn route(plan: &Plan, session: SessionView) -> Route {
    let _ = (plan, session);
    Route { target: Target::Primary, reason: "skeleton".into() }
}
