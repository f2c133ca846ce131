//! Commands as people, drivers and agents write them.

use super::*;
use crate::command::Command as C;

fn one(text: &str) -> C {
    let mut found = parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    found.remove(0)
}

fn error(text: &str) -> ParseError {
    parse(text).expect_err(text)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn show_and_its_alias() {
    let version = tables::find("version").expect("it is there");
    for text in
        ["SHOW VERSION", "show \"version\";", "/* a */ Show -- b\n version", "SELECT version"]
    {
        assert_eq!(one(text), C::Show(version), "{text}");
    }
    for text in ["SELECT version()", "SELECT version FROM version", "select nothing", "(SELECT 1)"]
    {
        assert_eq!(one(text), C::Select(text.to_owned()), "{text}");
    }
    assert_eq!(one("show help"), C::ShowHelp);
    let parameter = |text: &str| C::ShowParameter(Parameter::find(text).expect("known"));
    assert_eq!(one("SHOW server_version"), parameter("server_version"));
    assert_eq!(one("SHOW TRANSACTION ISOLATION LEVEL"), parameter("transaction_isolation"));
    assert_eq!(one("SHOW TIME ZONE"), parameter("TimeZone"));
    assert_eq!(error("SHOW nothing").sqlstate, "42704");
    assert_eq!(error("SHOW version now").position, Some(14));
}

#[test]
fn sql_is_handed_on_as_written() {
    let sql = "with a as (select 1 /* x */) select ';' from a";
    assert_eq!(one(&format!(" {sql} ; ")), C::Select(sql.into()));
    assert_eq!(one("values (1)"), C::Select("values (1)".into()));
    let explained = one("explain route for app as \"Ann\" /* pgm */ SELECT 1");
    let sql = "/* pgm */ SELECT 1".to_owned();
    assert_eq!(explained, C::ExplainRoute { sql, database: some("app"), user: some("Ann") });
    let explained = one("EXPLAIN ROUTE insert into t values ('x -- y')");
    let sql = "insert into t values ('x -- y')".to_owned();
    assert_eq!(explained, C::ExplainRoute { sql, database: None, user: None });
    assert_eq!(error("EXPLAIN ROUTE").sqlstate, "42601");
    assert_eq!(error("EXPLAIN SELECT 1").sqlstate, "42601");
}

#[test]
fn commands_and_their_arguments() {
    for (text, command) in [
        ("PAUSE", C::Pause(None)),
        ("pause App-1", C::Pause(some("App-1"))),
        ("RESUME 'a b'", C::Resume(some("a b"))),
        ("DISABLE app", C::Disable("app".into())),
        ("ENABLE \"a\"\"b\"", C::Enable("a\"b".into())),
        ("RECONNECT app ;", C::Reconnect(some("app"))),
        ("KILL", C::Kill(None)),
        ("KILL query", C::Kill(some("query"))),
        ("KILL QUERY 12", C::KillQuery(12)),
        ("KILL CLIENT 12", C::KillClient(12)),
        ("KILL_CLIENT 12", C::KillClient(12)),
        ("SUSPEND", C::Suspend),
        ("SHUTDOWN", C::Shutdown(ShutdownMode::AtOnce)),
        ("shutdown wait_for_servers", C::Shutdown(ShutdownMode::WaitForServers)),
        ("SHUTDOWN WAIT_FOR_CLIENTS;", C::Shutdown(ShutdownMode::WaitForClients)),
        ("RELOAD", C::Reload),
        ("WAIT_CLOSE app", C::WaitClose(some("app"))),
        ("BAN [::1]:5432", C::Ban { host: "[::1]:5432".into(), seconds: None }),
        ("BAN db1:5432 60", C::Ban { host: "db1:5432".into(), seconds: Some(60) }),
        ("UNBAN db1", C::Unban("db1".into())),
        ("DRAIN db1", C::Drain("db1".into())),
        ("RESET STATS", C::ResetStats),
        ("RESET ALL", C::ResetAll),
        ("DISCARD ALL", C::DiscardAll),
        ("DEALLOCATE ALL", C::Deallocate(None)),
        ("DEALLOCATE PREPARE \"S_1\"", C::Deallocate(some("S_1"))),
        ("CLOSE ALL", C::CloseAll),
        ("UNLISTEN *", C::Unlisten),
    ] {
        assert_eq!(one(text), command, "{text}");
    }
}

#[test]
fn set_of_the_configuration_and_of_drivers() {
    let key = |key: &str, value: &str| C::SetKey { key: key.into(), value: value.into() };
    assert_eq!(one("SET pool_size=20"), key("pool_size", "20"));
    assert_eq!(one("set a.b = 'x y'"), key("a.b", "x y"));
    assert_eq!(one("SET pool_mode TO session"), key("pool_mode", "session"));
    assert_eq!(one("SET x = a, b"), key("x", "a, b"));
    assert_eq!(one("SET x = ''"), key("x", ""));
    let driver = |name: &str, value: Option<&str>| {
        C::SetParameter(Parameter::find(name).expect("known"), value.map(str::to_owned))
    };
    assert_eq!(one("SET extra_float_digits = 3"), driver("extra_float_digits", Some("3")));
    assert_eq!(one("SET SESSION search_path TO a, b"), driver("search_path", Some("a, b")));
    assert_eq!(one("SET LOCAL statement_timeout TO DEFAULT"), driver("statement_timeout", None));
    assert_eq!(
        one("SET application_name = 'default'"),
        driver("application_name", Some("default"))
    );
    assert_eq!(one("SET client_encoding='utf8'"), driver("client_encoding", Some("utf8")));
    assert_eq!(one("SET NAMES 'utf8'"), driver("client_encoding", Some("utf8")));
    assert_eq!(one("SET TIME ZONE 'UTC'"), driver("TimeZone", Some("UTC")));
    assert_eq!(one("RESET timezone"), driver("TimeZone", None));
    assert_eq!(one("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"), C::SetTransaction);
    let session = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY";
    assert_eq!(one(session), C::SetTransaction);
    for text in ["SET", "SET x", "SET x =", "SET ROLE a", "SET TIME x", "RESET", "RESET x"] {
        assert_eq!(error(text).sqlstate, "42601", "{text}");
    }
}

#[test]
fn transactions_of_drivers() {
    for (text, command) in [
        ("BEGIN", C::Begin),
        ("begin isolation level serializable read only", C::Begin),
        ("START TRANSACTION", C::Begin),
        ("COMMIT", C::Commit),
        ("END", C::Commit),
        ("ROLLBACK", C::Rollback),
        ("ABORT", C::Rollback),
        ("ROLLBACK TO SAVEPOINT \"a\"", C::RollbackTo),
        ("SAVEPOINT a", C::Savepoint),
        ("RELEASE a", C::Release),
    ] {
        assert_eq!(one(text), command, "{text}");
    }
    for text in ["COMMIT PREPARED 'x'", "ROLLBACK PREPARED 'x'"] {
        assert_eq!(error(text).sqlstate, "42601", "{text}");
    }
}

#[test]
fn several_statements_run_all_or_none() {
    assert_eq!(parse("PAUSE; ; RESUME a").expect("two"), [C::Pause(None), C::Resume(some("a"))]);
    assert_eq!(parse(" ; -- nothing\n").expect("none"), []);
    let wrong = error("RELOAD; é; RELOAD");
    assert_eq!((wrong.position, wrong.sqlstate), (Some(9), "42601"));
}

#[test]
fn what_is_unknown_is_named() {
    let wrong = error("  UPDATE clients SET id = 1");
    assert_eq!(wrong.message, "the console has no command \"UPDATE clients SET id = 1\"");
    assert_eq!(wrong.hint.as_deref(), Some("SHOW HELP lists the commands."));
    assert_eq!(wrong.position, Some(3));
    assert!(error(&format!("x{}", "y".repeat(500))).message.len() < 120);
    for text in [
        "DISABLE",
        "PAUSE a b",
        "KILL a b",
        "KILL_CLIENT x",
        "KILL QUERY -1",
        "SHUTDOWN now",
        "BAN",
        "BAN a b",
        "BAN a -1",
        "RELOAD x",
        "SHOW",
        "\u{1F418}",
        "1",
        "PAUSE 'a",
    ] {
        let wrong = error(text);
        assert_eq!(wrong.sqlstate, "42601", "{text}");
        assert!(wrong.position.is_some(), "{text}");
    }
}
