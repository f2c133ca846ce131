//! Owns the ways to the servers: every host answers, and the connection that one shard's server is
//! to make to the other one leads where it should.

use super::{Question, Report};
use crate::config::{Server, ShardConfig};
use crate::connect::{Session, hosts, primary};
use crate::error::Error;

/// Which database of which cluster this is, and whether the login may read a slot.
const WHERE: &str = "\
select s.system_identifier || ' ' || pg_catalog.current_database(), \
 r.rolreplication or r.rolsuper \
from pg_catalog.pg_control_system() s, pg_catalog.pg_roles r where r.rolname = current_user";

/// Looks at both shards.
///
/// # Errors
/// What the servers say.
pub(super) async fn check(question: &Question<'_>, report: &mut Report) -> Result<(), Error> {
    let sides =
        [(question.source, question.source_config), (question.target, question.target_config)];
    for (on, config) in sides {
        for reached in hosts(&config.server, &format!("shard {}", config.name)).await {
            if let Err(error) = reached {
                report.refuse(
                    error.to_string(),
                    "every server of the shard must answer: its replicas, too, have to hear of \
                     the move before rows are deleted",
                );
            }
        }
        if question.online {
            subscription(on, config, report).await?;
        }
    }
    Ok(())
}

/// Tries the connection string from here. Whether the other shard's server can use it turns out
/// when it makes the subscription, before anything depends on it.
async fn subscription(
    on: &Session,
    config: &ShardConfig,
    report: &mut Report,
) -> Result<(), Error> {
    let name = &config.name;
    let Ok(login) = config.subscription.parse::<tokio_postgres::Config>() else {
        report.note(format!(
            "shard {name}: its `subscription` has options that only libpq knows; it was not tried"
        ));
        return Ok(());
    };
    let server = Server { login, ca_file: config.server.ca_file.clone() };
    let remedy = "correct `subscription` of the shard in the configuration";
    let session = match primary(&server, &format!("shard {name}, by its `subscription`")).await {
        Ok(session) => session,
        Err(error) => {
            report.refuse(error.to_string(), remedy);
            return Ok(());
        }
    };
    let (here, there) = (on.rows(WHERE).await?, session.rows(WHERE).await?);
    let text = |rows: &crate::connect::TextRows, at: usize| {
        rows.first().and_then(|row| row.get(at).cloned().flatten())
    };
    if text(&here, 0) != text(&there, 0) {
        let what = format!("shard {name}: its `subscription` leads to another database");
        report.refuse(what, remedy);
    }
    if text(&there, 1).as_deref() != Some("t") {
        report.refuse(
            format!("shard {name}: the login of its `subscription` may not replicate"),
            "alter role … replication",
        );
    }
    Ok(())
}
