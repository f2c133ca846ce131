//! Owns a connection to the console: its messages from the greeting to the end. It lives on the
//! console's thread; nothing here runs on a worker.

mod admission;
mod encode;
mod extended;
mod failure;
mod link;
mod messages;
mod parameters;
mod registry;
mod run;

pub(crate) use admission::is_console;
pub use registry::{ConsoleHandle, Consoles};

use crate::frontend::startup::Login;
use crate::server::Shared;
use crate::server::login::refuse;
use crate::wire::error::SqlError;
use crate::wire::frame;
use bytes::BytesMut;
use encode::Formats;
use failure::Failure;
use link::{Frame, Link, NoFrame};
use parameters::Parameters;
use pgmanifold_console::answer::OutColumn;
use pgmanifold_console::value::Row;
use pgmanifold_console::{Answer, command};
use registry::Registered;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// One connection.
struct Session {
    link: Link,
    shared: Arc<Shared>,
    me: Registered,
    parameters: Parameters,
    prepared: extended::Prepared,
    /// The client has sent BEGIN. Nothing depends on it but what it is told.
    in_transaction: bool,
    /// An error has happened: nothing is done until Sync.
    skipping: bool,
}

/// A command that was done.
struct Done {
    answer: Answer,
    /// It was one of those that end a transaction.
    ends_portals: bool,
}

/// What becomes of the connection.
enum Next {
    GoOn,
    Close,
}

/// Serves a client that has proved who it is and asks for the console, until it leaves. `place` is
/// given back when it is in, or not let in.
pub(crate) async fn serve<P>(mut login: Login, place: P, shared: Arc<Shared>) {
    let Ok(stream) = login.stream.into_this_loop() else { return };
    login.stream = stream;
    let (user, peer) = (login.user.name.clone(), login.peer);
    let admitted = admission::admit(&login, &shared);
    drop(place);
    match admitted {
        Ok((me, parameters)) => {
            tracing::debug!(%peer, user, "console login");
            let mut link = Link::new(login.stream);
            admission::greet(&mut link.out, &parameters, &me);
            let name = command::Parameter::find("application_name");
            me.handle().set_application_name(name.map_or("", |name| parameters.get(name)));
            Session {
                link,
                shared,
                me,
                parameters,
                prepared: extended::Prepared::default(),
                in_transaction: false,
                skipping: false,
            }
            .run()
            .await;
        }
        Err((failure, error)) => {
            shared.metrics.login_failed(failure);
            tracing::info!(%peer, user, %error, "console login refused");
            refuse(&mut login.stream, error).await;
        }
    }
}

impl Session {
    async fn run(mut self) {
        let handle = Arc::clone(self.me.handle());
        tokio::select! {
            () = self.converse() => {}
            () = handle.ended() => {
                let mut words = BytesMut::new();
                SqlError::fatal("57P01", "terminating connection due to administrator command")
                    .encode(&mut words);
                self.link.say_goodbye(&words);
            }
        }
    }

    async fn converse(&mut self) {
        if self.link.flush().await.is_err() {
            return;
        }
        while let Some(frame) = self.next_frame().await {
            match self.answer(frame).await {
                Ok(Next::GoOn) => {}
                Ok(Next::Close) | Err(_) => return,
            }
        }
    }

    async fn next_frame(&mut self) -> Option<Frame> {
        let limit = self.shared.state().config.console.client_idle_timeout;
        let limit = if limit.is_zero() { Duration::MAX } else { limit };
        let error = match tokio::time::timeout(limit, self.link.read()).await {
            Ok(Ok(frame)) => return Some(frame),
            Ok(Err(NoFrame::Gone)) => return None,
            Ok(Err(NoFrame::Broken(error))) => SqlError::fatal("08P01", error.to_string()),
            Err(_) => {
                let message = "terminating connection due to client_idle_timeout_ms";
                SqlError::fatal("57P05", message)
            }
        };
        self.close_with(&error).await;
        None
    }

    async fn close_with(&mut self, error: &SqlError) {
        error.encode(&mut self.link.out);
        let _ = self.link.flush().await;
    }

    /// Answers one message.
    async fn answer(&mut self, frame: Frame) -> io::Result<Next> {
        let Frame { kind, body } = frame;
        let done = match kind {
            b'X' => return Ok(Next::Close),
            b'S' => {
                self.skipping = false;
                self.ready();
                return self.link.flush().await.map(|()| Next::GoOn);
            }
            _ if self.skipping => return Ok(Next::GoOn),
            b'H' => self.link.flush().await.map_err(Failure::from),
            b'Q' => self.simple(&body).await,
            b'P' | b'B' | b'D' | b'E' | b'C' => {
                let done = self.extended(kind, &body).await;
                self.skipping = matches!(done, Err(Failure::Refused(_)));
                done
            }
            b'F' => {
                let error = SqlError::error("0A000", "the console has no functions to call")
                    .hint("Use SELECT.");
                error.encode(&mut self.link.out);
                self.ready();
                self.link.flush().await.map_err(Failure::from)
            }
            // CopyData and its like outside of COPY are passed over, as PostgreSQL does.
            _ => Ok(()),
        };
        match done {
            Ok(()) => {
                self.me.handle().has_prepared(self.prepared.count());
                self.link.flush_if_much().await.map(|()| Next::GoOn)
            }
            Err(Failure::Refused(told)) => {
                told.encode(&mut self.link.out);
                if kind == b'Q' {
                    self.ready();
                }
                self.link.flush().await.map(|()| Next::GoOn)
            }
            Err(Failure::Broken(what)) => {
                self.close_with(&SqlError::fatal("08P01", what)).await;
                Ok(Next::Close)
            }
            Err(Failure::Gone) => Ok(Next::Close),
        }
    }

    /// Appends ReadyForQuery. Portals end with the transaction that is not there.
    fn ready(&mut self) {
        if !self.in_transaction {
            self.prepared.close_portals();
        }
        frame::put_ready(&mut self.link.out, if self.in_transaction { b'T' } else { b'I' });
    }

    /// The simple protocol: all commands of a text, until one fails.
    async fn simple(&mut self, body: &[u8]) -> Result<(), Failure> {
        let text = messages::utf8(frame::query_text(body)?)?;
        let commands = command::parse(&text)?;
        if commands.is_empty() {
            frame::put(&mut self.link.out, b'I', &[]);
        }
        for command in commands {
            let Done { answer, .. } = self.perform(command, Vec::new()).await?;
            if !answer.columns.is_empty() {
                encode::put_columns(&mut self.link.out, &answer.columns, &Formats::default());
                self.put_rows(&answer.columns, &answer.rows, &Formats::default()).await?;
            }
            frame::put_command_complete(&mut self.link.out, &answer.tag);
        }
        self.ready();
        Ok(self.link.flush().await?)
    }

    async fn put_rows(
        &mut self,
        columns: &[OutColumn],
        rows: &[Row],
        formats: &Formats,
    ) -> Result<(), Failure> {
        for row in rows {
            encode::put_row(&mut self.link.out, columns, row, formats)?;
            self.link.flush_if_much().await?;
        }
        Ok(())
    }
}
