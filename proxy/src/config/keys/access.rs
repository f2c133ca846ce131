//! Owns the part of the key table that says where clients come in, and who may: `[[listener]]`,
//! `[auth]`, `[[hba]]`, `[[user_map]]`.

use super::Absent::{Required, Value, Words};
use super::Kind::{Address, Boolean, Choice, File, Integer, Names, Text};
use super::Reload::{Live, NewConnections, Restart};
use super::sections::{HOUR_MS, MANY, key};
use super::{Key, Section};

/// Keys of `[[listener]]` about who a client is.
const CLIENT_KEYS: &[Key] = &[
    key(
        "tls_client_ca_file",
        File,
        Words("clients are not asked for certificates"),
        NewConnections,
        "PEM file of the authorities that sign clients' certificates. Clients are then asked for \
         one; one from another authority ends the handshake.",
    ),
    key(
        "tls_client_cert_required",
        Boolean,
        Value("false"),
        NewConnections,
        "End the handshake of clients without a certificate, whatever the rules say.",
    ),
    key(
        "proxy_protocol",
        Boolean,
        Value("false"),
        NewConnections,
        "Every connection begins with a PROXY protocol header, version 1 or 2, of a load balancer. \
         The address in it is the client's: for rules, for limits on failed logins and in logs. \
         A connection without a header is closed.",
    ),
    key(
        "proxy_protocol_from",
        Names,
        Words("none; needed with `proxy_protocol` on TCP"),
        NewConnections,
        "Addresses and networks of the load balancers. Connections from elsewhere are closed.",
    ),
];

/// Keys of `[[listener]]` about the listener itself.
const LISTENER_KEYS: &[Key] = &[
    key(
        "address",
        Address,
        Required,
        Restart,
        "`IP:port` to listen on (port 0 takes a free one), or the absolute path of a Unix \
         socket file. For psql the file must be called `.s.PGSQL.<port>`.",
    ),
    key(
        "auth",
        Choice(&["scram-sha-256", "md5", "trust", "cert"]),
        Words("`scram-sha-256`; with rules, they decide"),
        NewConnections,
        "How clients prove who they are. `md5` also lets users log in whose secret is a SCRAM \
         one, by SCRAM. `trust` asks for nothing. `cert` asks for a client certificate whose \
         common name is the user's. Must not stand beside `[[hba]]` rules.",
    ),
    key(
        "tls_cert_file",
        File,
        Words("no TLS"),
        NewConnections,
        "PEM certificate chain shown to clients. Needs `tls_key_file`.",
    ),
    key(
        "tls_key_file",
        File,
        Words("no TLS"),
        NewConnections,
        "PEM private key of the certificate.",
    ),
    key(
        "tls_required",
        Boolean,
        Value("false"),
        NewConnections,
        "Refuse clients that do not use TLS.",
    ),
    key(
        "max_clients",
        Integer(1, MANY),
        Words("`general.max_clients`"),
        Live,
        "Most client connections of this listener.",
    ),
];

/// `[[listener]]`
pub const LISTENER: Section = Section {
    name: "listener",
    repeats: true,
    help: "Where clients come in. At least one.",
    groups: &[LISTENER_KEYS, CLIENT_KEYS],
    nested: &[],
};

/// `[auth]`
pub const AUTH: Section = Section {
    name: "auth",
    repeats: false,
    help: "Access beyond single listeners and users: see [access.md](access.md).",
    groups: &[&[
        key(
            "hba_file",
            File,
            Words("none"),
            NewConnections,
            "Rules in the form of `pg_hba.conf`, instead of `[[hba]]`.",
        ),
        key(
            "ident_file",
            File,
            Words("none"),
            NewConnections,
            "User maps in the form of `pg_ident.conf`, instead of `[[user_map]]`.",
        ),
        key(
            "query_user",
            Text,
            Words("secrets are not asked of servers"),
            NewConnections,
            "Name of the `[[user]]` whose server login asks servers for the secrets of users that \
             have none in this file.",
        ),
        key(
            "query",
            Text,
            Value(
                "SELECT usename, CASE WHEN valuntil < now() THEN NULL ELSE passwd END \
                 FROM pg_shadow WHERE usename = $1",
            ),
            NewConnections,
            "The question: one parameter, the user's name, and two columns, name and stored \
             secret. Functions need their schema before their name: `search_path` is `pg_catalog`.",
        ),
        key(
            "query_database",
            Text,
            Words("the database the client asks for"),
            NewConnections,
            "Name of the `[[database]]` that is asked.",
        ),
        key(
            "query_timeout_ms",
            Integer(1, HOUR_MS),
            Value("2000"),
            NewConnections,
            "Longest time for one answer, connecting included.",
        ),
        key(
            "query_cache_ms",
            Integer(0, HOUR_MS),
            Value("10000"),
            NewConnections,
            "How long an answer holds, `no such user` too. A reload forgets all answers.",
        ),
        key(
            "query_cache_size",
            Integer(1, MANY),
            Value("10000"),
            NewConnections,
            "Most answers kept.",
        ),
        key(
            "failure_limit",
            Integer(0, MANY),
            Value("30"),
            Live,
            "So many failed logins of one user from one address (IPv6: /64), or ten times as many \
             of all users from it, and further logins are refused unchecked until failures are \
             forgotten. 0 for no limit.",
        ),
        key(
            "failure_window_ms",
            Integer(1, HOUR_MS),
            Value("60000"),
            Live,
            "Failed logins are forgotten after this time, at the latest after twice as long.",
        ),
    ]],
    nested: &[],
};

/// `[[hba]]`
pub const HBA: Section = Section {
    name: "hba",
    repeats: true,
    help: "Rules of who may come in, and how. The first that fits the connection decides; when \
           none fits, the client is refused with SQLSTATE 28000. With any rule, listeners have no \
           `auth`.",
    groups: &[&[
        key(
            "type",
            Choice(&["local", "host", "hostssl", "hostnossl"]),
            Required,
            NewConnections,
            "`local`: Unix sockets. `host`: TCP; `hostssl` with TLS, `hostnossl` without.",
        ),
        key(
            "database",
            Names,
            Required,
            NewConnections,
            "Databases by the name clients give: names, `all`, `sameuser`, or `/` and a regular \
             expression.",
        ),
        key(
            "user",
            Names,
            Required,
            NewConnections,
            "Users: names, `all`, or `/` and a regular expression.",
        ),
        key(
            "address",
            Names,
            Words("needed but with `local`"),
            NewConnections,
            "Addresses (`192.0.2.7`), networks (`10.0.0.0/8`, `fd00::/8`), or `all`.",
        ),
        key(
            "method",
            Choice(&["scram-sha-256", "md5", "trust", "cert", "reject"]),
            Required,
            NewConnections,
            "As `listener.auth`; `reject` refuses.",
        ),
        key(
            "map",
            Text,
            Words("the names must be equal"),
            NewConnections,
            "With `cert` or `clientcert = \"verify-full\"`: the user map that says whose \
             certificate may log in as whom.",
        ),
        key(
            "clientcert",
            Choice(&["verify-ca", "verify-full"]),
            Words("no certificate asked for"),
            NewConnections,
            "With `hostssl`: a certificate beside the method. `verify-ca` asks for one, \
             `verify-full` for one with the user's name.",
        ),
    ]],
    nested: &[],
};

/// `[[user_map]]`
pub const USER_MAP: Section = Section {
    name: "user_map",
    repeats: true,
    help: "Lines of user maps: whose certificate may log in as whom. One that fits is enough.",
    groups: &[&[
        key("map", Text, Required, NewConnections, "Name of the map this line belongs to."),
        key(
            "system",
            Text,
            Required,
            NewConnections,
            "Common name of the certificate, or `/` and a regular expression.",
        ),
        key(
            "user",
            Text,
            Required,
            NewConnections,
            "The user it may log in as; `\\1` stands for the expression's first group.",
        ),
    ]],
    nested: &[],
};
