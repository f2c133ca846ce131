//! Owns the way of notifications to a client that listens through the hub: when they may be
//! delivered, and the session's waits for the hub.

use super::place::cancelled;
use super::{Event, Session, Virtual};
use crate::notify::{Ended, Notification};
use crate::timer::timeout;
use crate::wire::error::SqlError;
use crate::wire::frame;
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a session's own notifications; the hub takes its connection for lost before.
const OWN_NOTIFICATIONS_TIMEOUT: Duration = Duration::from_secs(10);

/// Notifications are encoded up to about so many bytes at once.
const DELIVERY_BYTES: usize = 64 * 1024;

impl Session {
    /// A ReadyForQuery for the client came, the last one owed or not. True when it is to be kept
    /// back; otherwise what waits for the client is put before it.
    pub(super) fn listening_at_ready(
        &mut self,
        (status, last): (u8, bool),
        before: &mut BytesMut,
    ) -> bool {
        let Some(listening) = &mut self.listening else { return false };
        let outside = status == b'I';
        listening.ready_came(outside);
        if !outside || !listening.is_active() {
            return false;
        }
        if self.wrote && last {
            listening.holds_ready = true;
            return true;
        }
        self.put_notifications(before);
        false
    }

    /// Delivers what may be delivered now; true when there was something.
    ///
    /// # Errors
    /// The event for which the relay must stop.
    pub(super) fn poll_listening(&mut self) -> Result<bool, Event> {
        let Some(listening) = &self.listening else { return Ok(false) };
        if listening.holds_ready {
            return Err(Event::Hub);
        }
        if let Some(ended) = listening.mailbox.ended()
            && listening.is_active()
        {
            return Err(Event::Close(Some(lost_notifications(ended))));
        }
        if listening.mailbox.is_empty() || !self.is_outside() {
            return Ok(false);
        }
        let mut output = std::mem::take(&mut self.output);
        self.put_notifications(&mut output);
        self.output = output;
        Ok(true)
    }

    /// Nothing is owed to the client, and no transaction is open.
    fn is_outside(&self) -> bool {
        self.output.len() < DELIVERY_BYTES
            && !self.batch_open
            && !self.skip_to_sync
            && matches!(self.virtual_transaction, Virtual::None | Virtual::Lost(_))
            && self.lease.as_ref().is_none_or(|lease| {
                lease.status == b'I' && lease.expect.is_empty() && lease.passing == 0
            })
            && self.listening.as_ref().is_some_and(|listening| !listening.has_actions())
    }

    fn put_notifications(&self, out: &mut BytesMut) {
        let Some(listening) = &self.listening else { return };
        let limit = out.len() + DELIVERY_BYTES;
        while out.len() < limit
            && let Some(notification) = listening.mailbox.take()
        {
            if !listening.listens_to(notification.channel()) {
                continue;
            }
            if !notification.text.is_ascii() && !self.has_database_encoding() {
                listening.mailbox.end(Ended::Encoding);
                return;
            }
            self.put_notification(&notification, out);
        }
    }

    fn put_notification(&self, notification: &Notification, out: &mut BytesMut) {
        let pid = match notification.client {
            Some(client) => client,
            // A client must not take another's notification for its own.
            None if notification.server_pid == self.handle.id => 0,
            None => notification.server_pid,
        };
        frame::put(out, b'A', &[&pid.to_be_bytes(), &notification.text]);
    }

    /// A ReadyForQuery is kept back.
    pub(super) fn holds_ready(&self) -> bool {
        self.listening.as_ref().is_some_and(|listening| listening.holds_ready)
    }

    /// Waits for the hub: for what a LISTEN asks for, or for the session's own notifications.
    pub(super) async fn wait_for_hub(&mut self) {
        if self.holds_ready() {
            self.take_own_notifications().await;
        } else {
            self.subscribe().await;
        }
    }

    async fn subscribe(&mut self) {
        let limit = self.pools.database.checkout_timeout;
        let Some(listening) = &mut self.listening else { return };
        let wanted = listening.wanted();
        listening.subscribed(&wanted);
        let hub = Arc::clone(&listening.hub);
        let answer = hub.ask(&listening.mailbox, wanted);
        self.handle.wait();
        let result = tokio::select! {
            result = timeout(limit, answer) => match result {
                Ok(Ok(result)) => result,
                Ok(Err(_)) | Err(_) => Err(hub.why_silent()),
            },
            () = self.handle.wait_cancelled() => Err(cancelled()),
        };
        self.handle.end_wait();
        match result {
            Ok(()) => listening.set_ready(),
            Err(error) => self.refused = Some(Box::new(error)),
        }
    }

    /// The transaction may have notified the session itself: PostgreSQL sends such notifications
    /// before the ReadyForQuery that was kept back.
    async fn take_own_notifications(&mut self) {
        let Some(listening) = &mut self.listening else { return };
        let answer = listening.hub.ask(&listening.mailbox, Vec::new());
        let arrived = timeout(OWN_NOTIFICATIONS_TIMEOUT, answer).await;
        listening.holds_ready = false;
        if !matches!(arrived, Ok(Ok(Ok(())))) || listening.mailbox.ended().is_some() {
            // The loss is told when the session goes on.
            tracing::warn!(client = self.handle.id, "own notifications did not come");
        }
        let mut output = std::mem::take(&mut self.output);
        self.put_notifications(&mut output);
        frame::put_ready(&mut output, b'I');
        self.output = output;
        if !self.batch_open {
            self.release_server();
        }
    }
}

/// PostgreSQL never loses a notification of a connection that lives, so the connection ends.
fn lost_notifications(ended: Ended) -> SqlError {
    match ended {
        Ended::Full => SqlError::fatal("53400", "too many notifications wait for this client")
            .detail("More than notify_queue_bytes of them were not taken.")
            .hint("Read notifications faster, keep transactions short, or raise the limit."),
        Ended::Lost => SqlError::fatal(
            "57P01",
            "terminating connection because notifications may have been lost",
        )
        .detail("The connection that listens for the sessions of this database was lost.")
        .hint("Connect and LISTEN again, then look for what was missed."),
        Ended::Encoding => SqlError::fatal(
            "22P05",
            "a notification cannot be written in the session's client_encoding",
        )
        .detail("The encoding was changed after LISTEN.")
        .hint("Set client_encoding before LISTEN, or use that of the database."),
    }
}
