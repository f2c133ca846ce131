//! Owns what a session asks of itself and of the server.

use super::{Call, Function, strict};
use crate::catalog;
use crate::engine::cell::Cell;
use crate::engine::error::{EngineError, Outcome};
use crate::engine::types::Type::{Bool, Float8, Int4, Int8, Oid, Text, Texts, Unknown};

/// Those of this file.
pub(super) static FUNCTIONS: &[Function] = &[
    strict("version", &[], Text, |call| Ok(Cell::text(call.session.who.version.as_str()))),
    strict("current_database", &[], Text, database),
    strict("current_catalog", &[], Text, database),
    strict("current_user", &[], Text, user),
    strict("current_role", &[], Text, user),
    strict("session_user", &[], Text, user),
    strict("user", &[], Text, user),
    strict("getpgusername", &[], Text, user),
    strict("current_schema", &[], Text, |_| Ok(Cell::text("public"))),
    strict("current_schemas", &[Bool], Texts, |call| {
        Ok(Cell::text(if call.int(0) != 0 { "{pg_catalog,public}" } else { "{public}" }))
    }),
    strict("current_query", &[], Text, |_| Ok(Cell::Null)),
    strict("pg_backend_pid", &[], Int4, |call| Ok(Cell::Int(call.session.who.pid.into()))),
    strict("pg_is_in_recovery", &[], Bool, no),
    strict("pg_is_wal_replay_paused", &[], Bool, no),
    strict("pg_my_temp_schema", &[], Oid, |_| Ok(Cell::Int(0))),
    strict("pg_is_other_temp_schema", &[Oid], Bool, no),
    strict("inet_server_addr", &[], Text, |_| Ok(Cell::Null)),
    strict("inet_server_port", &[], Int4, |_| Ok(Cell::Null)),
    strict("inet_client_addr", &[], Text, |_| Ok(Cell::Null)),
    strict("inet_client_port", &[], Int4, |_| Ok(Cell::Null)),
    strict("pg_client_encoding", &[], Text, |_| Ok(Cell::text("UTF8"))),
    strict("getdatabaseencoding", &[], Text, |_| Ok(Cell::text("UTF8"))),
    strict("current_setting", &[Text], Text, |call| setting(call, false)),
    strict("current_setting", &[Text, Bool], Text, |call| setting(call, call.int(1) != 0)),
    strict("set_config", &[Text, Text, Bool], Text, |call| Ok(call.arg(1).clone())),
    strict("pg_sleep", &[Float8], Text, |_| Err(EngineError::refused("pg_sleep()"))),
    strict("random", &[], Float8, |_| {
        Err(EngineError::refused("random()").detail("The console answers alike when asked alike."))
    }),
    strict("pg_cancel_backend", &[Int4], Bool, |_| Err(by_command())),
    strict("pg_terminate_backend", &[Int4], Bool, |_| Err(by_command())),
    strict("pg_reload_conf", &[], Bool, |_| {
        Err(EngineError::refused("pg_reload_conf()").hint("Use RELOAD."))
    }),
    strict("txid_current", &[], Int8, |_| Err(EngineError::refused("txid_current()"))),
    strict("row_security_active", &[Unknown], Bool, no),
    strict("pg_has_role", &[Unknown, Unknown], Bool, yes),
    strict("pg_has_role", &[Unknown, Unknown, Unknown], Bool, yes),
    strict("has_table_privilege", &[Unknown, Text], Bool, reads),
    strict("has_table_privilege", &[Unknown, Unknown, Text], Bool, reads),
    strict("has_any_column_privilege", &[Unknown, Text], Bool, reads),
    strict("has_any_column_privilege", &[Unknown, Unknown, Text], Bool, reads),
    strict("has_column_privilege", &[Unknown, Unknown, Text], Bool, reads),
    strict("has_column_privilege", &[Unknown, Unknown, Unknown, Text], Bool, reads),
    strict("has_schema_privilege", &[Unknown, Text], Bool, reads),
    strict("has_schema_privilege", &[Unknown, Unknown, Text], Bool, reads),
    strict("has_database_privilege", &[Unknown, Text], Bool, reads),
    strict("has_database_privilege", &[Unknown, Unknown, Text], Bool, reads),
    strict("has_function_privilege", &[Unknown, Text], Bool, reads),
    strict("has_function_privilege", &[Unknown, Unknown, Text], Bool, reads),
    strict("has_language_privilege", &[Unknown, Text], Bool, reads),
    strict("has_sequence_privilege", &[Unknown, Text], Bool, reads),
    strict("has_tablespace_privilege", &[Unknown, Text], Bool, reads),
    strict("has_type_privilege", &[Unknown, Text], Bool, reads),
];

fn yes(_: &Call<'_>) -> Outcome<Cell> {
    Ok(Cell::Int(1))
}

fn no(_: &Call<'_>) -> Outcome<Cell> {
    Ok(Cell::Int(0))
}

fn by_command() -> EngineError {
    EngineError::refused("ending sessions by a function").hint("Use KILL_CLIENT or KILL QUERY.")
}

fn database(call: &Call<'_>) -> Outcome<Cell> {
    Ok(Cell::text(call.session.who.database.as_str()))
}

fn user(call: &Call<'_>) -> Outcome<Cell> {
    Ok(Cell::text(call.session.who.user.as_str()))
}

/// Everybody who is here may read, and nobody may write.
fn reads(call: &Call<'_>) -> Outcome<Cell> {
    let asked = call.args.last().map_or("", Cell::str).to_ascii_lowercase();
    let any = asked
        .split(',')
        .any(|one| matches!(one.trim(), "select" | "usage" | "connect" | "execute"));
    Ok(Cell::Int(any.into()))
}

fn setting(call: &Call<'_>, missing_ok: bool) -> Outcome<Cell> {
    let name = call.str(0);
    match catalog::setting(name) {
        Some(value) => Ok(Cell::text(value)),
        None if missing_ok => Ok(Cell::Null),
        None => {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            Err(EngineError::new("42704", message))
        }
    }
}
