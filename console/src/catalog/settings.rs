//! Owns the settings that clients read when they connect: those of the console's sessions, which
//! cannot be changed.

use super::SERVER_VERSION;

/// Name, value and what it is.
pub(crate) static SETTINGS: &[(&str, &str, &str)] = &[
    ("DateStyle", "ISO, MDY", "Sets the display format for date and time values."),
    ("IntervalStyle", "postgres", "Sets the display format for interval values."),
    ("TimeZone", "GMT", "Sets the time zone for displaying and interpreting time stamps."),
    ("application_name", "", "Sets the application name."),
    ("bytea_output", "hex", "Sets the output format for bytea."),
    ("client_encoding", "UTF8", "Sets the client's character set encoding."),
    ("client_min_messages", "notice", "Sets the message levels that are sent to the client."),
    ("default_transaction_isolation", "read committed", "Sets the isolation of transactions."),
    ("default_transaction_read_only", "on", "Sets the default read-only status."),
    ("extra_float_digits", "1", "Sets the number of digits displayed for floating-point values."),
    ("in_hot_standby", "off", "Shows whether hot standby is currently active."),
    ("integer_datetimes", "on", "Shows whether datetimes are integer based."),
    ("is_superuser", "off", "Shows whether the current user is a superuser."),
    ("lc_collate", "C", "Shows the collation order locale."),
    ("lc_ctype", "C", "Shows the character classification locale."),
    ("max_identifier_length", "63", "Shows the maximum identifier length."),
    ("max_index_keys", "32", "Shows the maximum number of index keys."),
    ("search_path", "\"$user\", public", "Sets the schema search order."),
    ("server_encoding", "UTF8", "Shows the server (database) character set encoding."),
    ("server_version", SERVER_VERSION, "Shows the server version."),
    ("server_version_num", "150000", "Shows the server version as an integer."),
    ("standard_conforming_strings", "on", "Causes '...' strings to treat backslashes literally."),
    ("statement_timeout", "0", "Sets the maximum allowed duration of any statement."),
    ("transaction_isolation", "read committed", "Sets the current transaction's isolation level."),
    ("transaction_read_only", "on", "Sets the current transaction's read-only status."),
    ("unix_socket_directories", "", "Sets the directories of Unix-domain sockets."),
];

/// The value of a setting, by its name in any case.
pub(crate) fn value(name: &str) -> Option<&'static str> {
    let is = |setting: &&(&str, &str, &str)| setting.0.eq_ignore_ascii_case(name);
    SETTINGS.iter().find(is).map(|setting| setting.1)
}
