//! Owns the description of a statement that goes to several shards: one server is asked about the
//! client's own text, whose columns are those of the answer.

use super::ask;
use super::columns::Columns;
use super::desk::{Desk, Merger};
use super::failing;
use super::feed::{Feed, Front, Head};
use super::{ClientSide, Failure, Limits, Participant};
use crate::wire::frame;
use bytes::BytesMut;
use std::task::Context;

/// What a statement takes and gives.
#[derive(Debug)]
pub struct Description {
    parameters: Vec<u8>,
    columns: Option<Columns>,
}

impl Description {
    /// Appends ParameterDescription.
    pub fn put_parameters(&self, out: &mut BytesMut) {
        frame::put(out, b't', &[&self.parameters]);
    }

    /// Appends RowDescription with these formats (none, one for all, or one each), or NoData.
    pub fn put_columns(&mut self, result_formats: &[i16], out: &mut BytesMut) {
        match &mut self.columns {
            Some(columns) => {
                columns.set_formats(result_formats);
                columns.put(out);
            }
            None => frame::put(out, b'n', &[]),
        }
    }
}

/// Asks one server about a text, with these types declared. It is not run. Not cancel safe.
///
/// # Errors
/// The server's error.
pub async fn describe(
    part: &mut Participant<'_>,
    sql: &[u8],
    types: &[u32],
    client: &mut ClientSide<'_>,
    limits: &Limits,
) -> Result<Description, Failure> {
    let mut feed = Feed::new(part);
    ask::put_describe(feed.out(), sql, types);
    let mut feeds = [feed];
    let described = Desk::new(client, *limits, false).drive(&mut feeds, Wait).await;
    if let Err(failure) = described {
        return Err(failing::wind_up(&mut feeds, failure, limits).await);
    }
    let [feed] = feeds;
    let columns = match feed.head {
        Head::Rows(columns) => Some(*columns),
        _ => None,
    };
    Ok(Description { parameters: feed.parameters, columns })
}

/// Waits for the end.
struct Wait;

impl Merger for Wait {
    fn step(
        &mut self,
        feeds: &mut [Feed<'_>],
        desk: &mut Desk<'_, '_>,
        _: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        for feed in feeds {
            if let Front::Row(_) | Front::Asks = desk.settle(feed)? {
                return Err(feed.lose("the server sent a message that nobody asked for"));
            }
        }
        Ok(false)
    }

    fn tag(&self, _: &[Feed<'_>]) -> Result<String, Failure> {
        Ok(String::new())
    }
}
