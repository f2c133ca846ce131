//! Owns the way of a SELECT to the engine and back. The engine blocks: it runs on a thread beside
//! the console's, and is told when nobody waits for it any more.

use super::Session;
use super::failure::Failure;
use crate::console::ProcessSource;
use crate::wire::error::SqlError;
use pgmanifold_console::command::SERVER_VERSION;
use pgmanifold_console::engine::{Described, Engine, EngineError, Parameters, Who};
use pgmanifold_console::{Answer, Kind, Role};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

/// It holds the names of the tables and nothing of any connection.
static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::default);

/// Parameters of a statement.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// What the client has said of their types.
    pub(super) types: Vec<Option<Kind>>,
    /// In their text form.
    pub(super) values: Vec<Option<String>>,
}

/// Tells the engine to stop when it is dropped.
struct Canceller(Arc<AtomicBool>);

impl Drop for Canceller {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Session {
    /// Runs a SELECT.
    pub(super) async fn select(&mut self, sql: String, given: Values) -> Result<Answer, Failure> {
        let (source, who) = (ProcessSource(Arc::clone(&self.shared)), self.who());
        let text = sql.clone();
        let done = self.beside(move |cancel| {
            let parameters = Parameters { types: &given.types, values: &given.values };
            ENGINE.select(&text, parameters, &source, &who, cancel)
        });
        done.await?.map_err(|error| Failure::of_select(&sql, error))
    }

    /// The parameters and columns of a SELECT.
    pub(super) async fn describe_select(
        &mut self,
        sql: &str,
        types: &[Option<Kind>],
    ) -> Result<Described, Failure> {
        let (text, types) = (sql.to_owned(), types.to_vec());
        let done = self.beside(move |_| ENGINE.describe(&text, &types));
        done.await?.map_err(|error| Failure::of_select(sql, error))
    }

    /// Waits for work of the engine.
    async fn beside<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Arc<AtomicBool>) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<Result<T, EngineError>, Failure> {
        let canceller = Canceller(Arc::default());
        let cancel = Arc::clone(&canceller.0);
        let working = async move {
            let _canceller = canceller;
            let done = tokio::task::spawn_blocking(move || work(&cancel)).await;
            done.map_err(|_| SqlError::error("XX000", "the console's engine failed"))
        };
        self.supervise(working).await
    }

    fn who(&self) -> Who {
        let handle = self.me.handle();
        let role = self.shared.state().config.console.role(&handle.user.name);
        Who {
            user: handle.user.name.clone(),
            database: handle.database.clone(),
            is_admin: role == Some(Role::Admin),
            pid: handle.id.cast_signed(),
            version: format!("PostgreSQL {SERVER_VERSION}"),
            now: SystemTime::now(),
            started: self.shared.metrics.started(),
        }
    }
}
