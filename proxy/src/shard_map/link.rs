//! Owns the connection to the catalog's primary: found among its hosts, and told when something
//! was notified. It must not know what is asked over it.

use super::CATALOG_TIMEOUT;
use crate::backend::connect::Connector;
use crate::cluster::control::{ControlError, ControlTarget, Driver};
use crate::config::model::{CatalogServers, Host, MonitorLogin};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, Client};

/// A connection to one database of a primary. It ends when this is dropped.
pub(crate) struct Link {
    /// The session.
    pub(crate) client: Client,
    /// Told of notifications, and of the end of the connection.
    pub(crate) heard: Arc<Notify>,
}

impl Link {
    /// Connects to the catalog.
    ///
    /// # Errors
    /// When no host is a primary that can be reached, with the reason of each.
    pub(crate) async fn to_catalog(
        connector: &Connector,
        catalog: &CatalogServers,
        application_name: &str,
    ) -> Result<Self, ControlError> {
        let login = &catalog.login;
        Self::to_primary(connector, &catalog.hosts, login, &login.database, application_name).await
    }

    /// Connects to a database of the first host that is not in recovery.
    ///
    /// # Errors
    /// As `to_catalog`.
    pub(crate) async fn to_primary(
        connector: &Connector,
        hosts: &[Arc<Host>],
        login: &MonitorLogin,
        database: &str,
        application_name: &str,
    ) -> Result<Self, ControlError> {
        let mut reasons = Vec::new();
        for host in hosts {
            let target = ControlTarget {
                host: Arc::clone(host),
                login: login.clone(),
                database: database.to_owned(),
                timeout: CATALOG_TIMEOUT,
            };
            let opening = Self::open(connector, &target, application_name);
            let reason = match tokio::time::timeout(host.connect_timeout, opening).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) => error.0,
                Err(_) => format!("no login within {} ms", host.connect_timeout.as_millis()),
            };
            reasons.push(format!("{}: {reason}", host.address));
        }
        Err(ControlError(reasons.join("; ")))
    }

    async fn open(
        connector: &Connector,
        target: &ControlTarget,
        application_name: &str,
    ) -> Result<Self, ControlError> {
        let (client, driver) = target.open(connector, application_name).await?;
        let heard = Arc::new(Notify::new());
        tokio::spawn(drive(driver, Arc::clone(&heard)));
        let row = client.query_one("select pg_catalog.pg_is_in_recovery()", &[]).await?;
        if row.try_get::<_, bool>(0)? {
            return Err(ControlError("is a replica".to_owned()));
        }
        Ok(Self { client, heard })
    }
}

/// Moves the connection's bytes until it ends.
async fn drive(mut driver: Driver, heard: Arc<Notify>) {
    loop {
        match std::future::poll_fn(|cx| driver.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(_))) => heard.notify_one(),
            Some(Ok(_)) => {}
            // Who waits is to find out that the connection has ended.
            Some(Err(_)) | None => return heard.notify_one(),
        }
    }
}
