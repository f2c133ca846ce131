//! Owns the names PostgreSQL itself brings whose answer depends on the server or the session that
//! is asked, though they write nothing.

/// Functions about one server or one session; `*` at the end stands for anything.
const LOCAL_FUNCTIONS: &[&str] = &[
    "currval",
    "database_to_xml*", // Runs queries over whatever tables there are.
    "inet_*",
    "lastval",
    "pg_available_*",
    "pg_backend_pid",
    "pg_conf_load_time",
    "pg_config",
    "pg_current_snapshot",
    "pg_current_xact_id*",
    "pg_cursor",
    "pg_event_trigger_*",
    "pg_extension_update_paths",
    "pg_get_replication_slots",
    "pg_is_other_temp_schema",
    "pg_listening_channels",
    "pg_my_temp_schema",
    "pg_postmaster_start_time",
    "pg_prepared_statement",
    "pg_sequence_last_value",
    "pg_show_*",
    "pg_stat_*",
    "pg_trigger_depth",
    "pg_walfile_name*", // Fails during recovery.
    "schema_to_xml*",
    "table_to_xml*",
    "txid_current*",
];

/// The same for extensions that declare functions STABLE though they run any SQL text given.
const SQL_RUNNING_FUNCTIONS: &[&str] = &["connectby*", "crosstab*", "normal_rand", "xpath_table"];

/// System views about one server or one session, and temporary schemas.
const LOCAL_RELATIONS: &[&str] = &[
    "pg_aios",
    "pg_available_*",
    "pg_backend_memory_contexts",
    "pg_config",
    "pg_cursors",
    "pg_dsm_registry_allocations",
    "pg_file_settings",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_locks",
    "pg_prepared_*",
    "pg_replication_*",
    "pg_sequences",
    "pg_settings",
    "pg_shmem_*",
    "pg_stat_*",
    "pg_statio_*",
    "pg_temp*",
    "pg_toast_temp*",
];

/// Settings whose value is a server's own, whatever the session did.
const SERVER_SETTINGS: &[&str] = &[
    "archive_*",
    "cluster_name",
    "config_file",
    "data_*",
    "external_pid_file",
    "hba_file",
    "hot_standby*",
    "ident_file",
    "in_hot_standby",
    "listen_addresses",
    "port",
    "primary_*",
    "promote_trigger_file",
    "recovery_*",
    "restore_command",
    "server_id",
    "ssl*",
    "standby_*",
    "synchronous_standby_names",
    "synchronized_standby_slots",
    "transaction_read_only",
    "unix_socket_*",
    "wal_*",
];

/// Settings that SHOW may ask a replica for: the session's own, which follow it from server to
/// server, and the version, which a cluster shares.
const SESSION_SETTINGS: &[&str] = &[
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "integer_datetimes",
    "intervalstyle",
    "lc_*",
    "lock_timeout",
    "role",
    "search_path",
    "server_encoding",
    "server_version*",
    "session_authorization",
    "standard_conforming_strings",
    "statement_timeout",
    "timezone",
    "transaction_isolation",
];

pub(crate) fn is_local_function(name: &str) -> bool {
    listed(LOCAL_FUNCTIONS, name) || listed(SQL_RUNNING_FUNCTIONS, name)
}

pub(super) fn is_local_relation(name: &str) -> bool {
    listed(LOCAL_RELATIONS, name)
}

pub(super) fn is_server_setting(name: &str) -> bool {
    listed(SERVER_SETTINGS, name)
}

/// Settings that are a transaction's own while there is one.
pub(super) fn is_transaction_state(name: &str) -> bool {
    name == "transaction_read_only"
}

pub(super) fn is_session_setting(name: &str) -> bool {
    listed(SESSION_SETTINGS, name)
}

fn listed(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => *pattern == name,
    })
}
