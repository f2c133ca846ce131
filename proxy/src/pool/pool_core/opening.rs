//! Owns the opening of a pool's connections, and what a failed attempt means for those who wait.

use super::{Inner, Pool, Slot};
use crate::backend::connection::Server;
use crate::backend::error::{self, ConnectError};
use crate::cluster::Role;
use crate::cluster::circuit::Attempt;
use crate::pool::budget::Permit;
use crate::wire::error::SqlError;
use pgmanifold_router::shard_schema::TOO_OLD;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

impl Pool {
    /// Counts an attempt to connect; returns the generation it belongs to.
    pub(super) fn note_connecting(&self, inner: &mut Inner) -> u32 {
        inner.open += 1;
        inner.connecting += 1;
        self.generation.load(Ordering::Relaxed)
    }

    pub(super) async fn open_one(self: Arc<Self>, worker: usize, permit: Permit, generation: u32) {
        let host = &self.cluster.hosts()[self.host_index];
        let attempt = match host.breaker.admit().await {
            Ok(attempt) => attempt,
            Err((cause, pause)) => {
                let refused = error::not_tried(&self.host, cause, pause);
                return self.attempt_failed(Some(refused), generation);
            }
        };
        let host_losses = host.losses();
        let login =
            self.connector.connect_as(&self.host, &self.user, &self.database.server_database).await;
        match login {
            Ok(login) => {
                let pool = Arc::downgrade(&self);
                let slot = Slot { pool, worker, permit: Some(permit), generation };
                let limits = (self.limits.prepared_statements, self.lifetime());
                let host = Arc::clone(&self.host);
                let connector = Arc::clone(&self.connector);
                let mut server =
                    Server::new(login, (host, self.host_index), connector, limits, slot);
                server.host_losses = host_losses;
                if let Err(error) = self.attach(&mut server).await {
                    // Its place is given back below, with the cause for those who wait.
                    server.slot.pool = Weak::new();
                    drop(server);
                    return self.not_opened(attempt, &error, generation);
                }
                attempt.succeeded();
                self.lock().connecting -= 1;
                self.metrics.connected();
                self.cluster.report_success(self.host_index);
                self.servers.add(&server.info, &self);
                self.put(Box::new(server), worker, Instant::now());
            }
            Err(error) => self.not_opened(attempt, &error, generation),
        }
    }

    /// Says to a shard whose the connection is.
    async fn attach(&self, server: &mut Server) -> Result<(), ConnectError> {
        let Some(attach) = &self.attach else { return Ok(()) };
        let role = self.cluster.hosts()[self.host_index].role();
        attach.say(server, role == Role::Replica, self.host.connect_timeout).await
    }

    fn not_opened(&self, attempt: Attempt<'_>, error: &ConnectError, generation: u32) {
        if error.is_host_down() {
            attempt.failed(&error.to_string(), &self.cluster.shard().health);
        } else {
            attempt.succeeded();
        }
        self.connect_failed(error, generation);
    }

    pub(super) fn connect_failed(&self, error: &ConnectError, generation: u32) {
        self.metrics.connect_failed();
        let host = self.host.address.to_string();
        tracing::warn!(%host, database = %self.database.name, user = %self.user.name, %error,
            "server connection failed");
        if error.is_host_down() {
            self.cluster.report_failure(self.host_index, &error.to_string());
        }
        self.attempt_failed(Some(error.to_sql_error(&host)), generation);
    }

    /// Frees the place of a failed attempt. Nobody is left waiting for a server that cannot be
    /// had: with no connection at all, all who wait get the cause.
    pub(super) fn attempt_failed(&self, cause: Option<SqlError>, generation: u32) {
        // Who waits may be the one that has the old map in use.
        let all = cause.as_ref().is_some_and(|cause| cause.sqlstate == TOO_OLD);
        let waiters = {
            let mut inner = self.lock();
            inner.connecting -= 1;
            self.leave(&mut inner, generation);
            match inner.open > 0 && !all {
                true => VecDeque::new(),
                false => std::mem::take(&mut inner.waiters),
            }
        };
        if !waiters.is_empty() {
            self.leave_lines();
        }
        let cause = cause.unwrap_or_else(|| SqlError::error("57P01", "the proxy is stopping"));
        for waiter in waiters {
            let _ = waiter.hand.send(Err(cause.clone()));
        }
        self.lever.tell_closed();
    }

    /// `max_lifetime` less up to 10 %, so that connections opened together do not end together.
    pub(super) fn lifetime(&self) -> Duration {
        let mut seed = self.jitter.load(Ordering::Relaxed);
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        self.jitter.store(seed, Ordering::Relaxed);
        self.limits.max_lifetime.mul_f64(1.0 - 0.1 * f64::from(seed) / f64::from(u32::MAX))
    }
}
