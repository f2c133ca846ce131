//! Owns who comes in to the console and what it is greeted with.

use super::parameters::Parameters;
use super::registry::{Newcomer, Registered};
use crate::config::model::CONSOLE_DATABASES;
use crate::frontend::startup::{Login, Peer};
use crate::metrics::LoginFailure;
use crate::server::Shared;
use crate::wire::error::SqlError;
use crate::wire::frame;
use crate::wire::link::Link;
use bytes::BytesMut;
use pgmanifold_console::Role;
use std::sync::Arc;

/// True when a client that asks for this database asks for the console.
pub(crate) fn is_console(database: &str) -> bool {
    CONSOLE_DATABASES.contains(&database)
}

/// Lets a client in that has proved who it is.
///
/// # Errors
/// Why not, for the metrics and for the client.
pub(super) fn admit(
    login: &Login,
    shared: &Arc<Shared>,
) -> Result<(Registered, Parameters), (LoginFailure, SqlError)> {
    let config = Arc::clone(&shared.state().config);
    let user = &login.user.name;
    let Some(role) = config.console.role(user) else {
        let error = SqlError::fatal("42501", "permission denied for the console")
            .detail(format!("User \"{user}\" is neither an admin nor a stats user."))
            .hint("Add the user to admin_users or stats_users of [console], and reload.");
        return Err((LoginFailure::Authentication, error));
    };
    let parameters = Parameters::new(user, role == Role::Admin, &login.params);
    let mut link = Link::of(&login.stream);
    link.peer = match login.peer {
        Peer::Tcp(address) => Some(address),
        Peer::Unix => None,
    };
    let newcomer = Newcomer {
        user: Arc::clone(&login.user),
        database: login.database.clone(),
        link,
        protocol: login.protocol,
    };
    let limit = config.console.max_clients;
    let registered = Registered::new(shared, newcomer, limit).ok_or_else(|| {
        let error = SqlError::fatal("53300", "sorry, too many connections to the console already")
            .detail(format!("[console] allows {limit}."))
            .hint("Raise max_clients there, or close connections that are not used.");
        (LoginFailure::TooManyClients, error)
    })?;
    Ok((registered, parameters))
}

/// Appends everything from AuthenticationOk to ReadyForQuery.
pub(super) fn greet(out: &mut BytesMut, parameters: &Parameters, registered: &Registered) {
    frame::put(out, b'R', &[&0u32.to_be_bytes()]);
    for (name, value) in parameters.reported() {
        frame::put_parameter_status(out, name, value);
    }
    let key = registered.handle().key();
    frame::put(out, b'K', &[&key.process_id.to_be_bytes(), &key.secret]);
    frame::put_ready(out, b'I');
}
