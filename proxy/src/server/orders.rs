//! Owns the way from the console to the process's main loop: what only the process can do, beside
//! its signals. Without a main loop (a proxy inside another program) there is nobody to obey.

use super::StopMode;
use std::sync::OnceLock;
use tokio::sync::{mpsc, oneshot};

/// Orders on their way to the main loop.
const ORDERS_QUEUE: usize = 16;

/// What became of an order, in words when it went wrong.
pub type Outcome = Result<(), String>;

/// What the main loop is asked to do.
#[derive(Debug)]
pub enum Order {
    /// End the process.
    Stop(StopMode),
    /// Read the configuration file again.
    Reload(oneshot::Sender<Outcome>),
    /// Write these log lines from now on.
    LogLevel(String, oneshot::Sender<Outcome>),
}

/// Where orders are given.
#[derive(Debug, Default)]
pub struct Orders(OnceLock<mpsc::Sender<Order>>);

impl Orders {
    /// Obeys from now on; for the one main loop. The orders of a second one never come.
    pub fn obey(&self) -> mpsc::Receiver<Order> {
        let (sender, orders) = mpsc::channel(ORDERS_QUEUE);
        let _ = self.0.set(sender);
        orders
    }

    /// Whether anybody does what is ordered.
    pub fn are_obeyed(&self) -> bool {
        self.0.get().is_some()
    }

    /// Gives an order. False when nobody obeys.
    pub async fn give(&self, order: Order) -> bool {
        match self.0.get() {
            Some(sender) => sender.send(order).await.is_ok(),
            None => false,
        }
    }

    /// Gives an order and waits for what becomes of it; `None` when nobody obeys.
    pub async fn ask(
        &self,
        order: impl FnOnce(oneshot::Sender<Outcome>) -> Order,
    ) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        if !self.give(order(answer)).await {
            return None;
        }
        answered.await.ok()
    }
}
