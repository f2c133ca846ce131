//! Owns one worker of a copy: a session on either side, and the relaying of rows between them.
//! Rows are text and stay as they come; nothing is decoded.

use super::{Copied, Pace, Piece, Pieces};
use crate::config::ShardConfig;
use crate::connect::{Session, primary};
use crate::error::Error;
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use pgmanifold_router::ownership::quote_text;
use std::pin::pin;
use std::sync::Arc;

/// Rows are passed on when there is so much of them.
const CHUNK_BYTES: usize = 128 << 10;

/// A session that sees what the snapshot shows.
pub(super) async fn open_source(source: &ShardConfig, snapshot: &str) -> Result<Session, Error> {
    let session = primary(&source.server, &format!("shard {}", source.name)).await?;
    session
        .run(&format!(
            "begin isolation level repeatable read read only; set transaction snapshot {}",
            quote_text(snapshot)
        ))
        .await?;
    Ok(session)
}

/// A session for which rows are rows: no trigger, rule or foreign key makes more of them. Nothing
/// waits for the disk until the end of it all.
pub(super) async fn open_target(target: &ShardConfig) -> Result<Session, Error> {
    let session = primary(&target.server, &format!("shard {}", target.name)).await?;
    session.run("set session_replication_role = replica; set synchronous_commit = off").await?;
    Ok(session)
}

/// Copies pieces until there are none.
pub(super) async fn work(
    from: Session,
    to: Session,
    pieces: Pieces,
    pace: Arc<dyn Pace>,
) -> Result<Copied, Error> {
    let mut copied = Copied::default();
    while let Some(piece) = pieces.take() {
        one(&from, &to, &piece, &*pace, &mut copied).await?;
    }
    Ok(copied)
}

async fn one(
    from: &Session,
    to: &Session,
    piece: &Piece,
    pace: &dyn Pace,
    copied: &mut Copied,
) -> Result<(), Error> {
    let rows = from.client.copy_out(&piece.from).await.map_err(|error| from.error(&error))?;
    let sink = to.client.copy_in::<_, Bytes>(&piece.to);
    let sink = sink.await.map_err(|error| to.error(&error))?;
    let (mut rows, mut sink) = (pin!(rows), pin!(sink));
    let mut chunk = BytesMut::with_capacity(2 * CHUNK_BYTES);
    let mut count = 0_u64;
    loop {
        let row = rows.next().await.transpose().map_err(|error| from.error(&error))?;
        let ended = row.is_none();
        if let Some(row) = row {
            count += 1;
            chunk.extend_from_slice(&row);
        }
        if chunk.len() >= CHUNK_BYTES || (ended && !chunk.is_empty()) {
            let bytes = chunk.len() as u64;
            if let Err(error) = sink.send(chunk.split().freeze()).await {
                // What is wrong the server says at the end.
                let said = sink.finish().await.err();
                return Err(to.error(&said.unwrap_or(error)));
            }
            pace.passed(count, bytes).await?;
            *copied = Copied { rows: copied.rows + count, bytes: copied.bytes + bytes };
            count = 0;
        }
        if ended {
            break;
        }
    }
    sink.finish().await.map_err(|error| to.error(&error))?;
    Ok(())
}
