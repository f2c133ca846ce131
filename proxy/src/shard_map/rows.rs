//! Owns the asking of the catalog: the router's texts, run over a connection.

use crate::cluster::control::ControlError;
use pgmanifold_router::catalog::{
    Command, EPOCHS_SQL, LISTEN_SQL, LOAD_SQL, Loaded, MOVES_SQL, MoveSeen, Parameter, REPORT_SQL,
    Row, RowsError, VERSION_SQL, read_rows,
};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

/// Hears of changes from now on.
pub(super) async fn listen(client: &Client) -> Result<(), ControlError> {
    Ok(client.batch_execute(LISTEN_SQL).await?)
}

/// Name and epoch of each database's map.
pub(super) async fn epochs(client: &Client) -> Result<Vec<(String, u64)>, ControlError> {
    let mut epochs = Vec::new();
    for row in client.query(EPOCHS_SQL, &[]).await? {
        let epoch: i64 = row.try_get(1)?;
        epochs.push((row.try_get(0)?, u64::try_from(epoch).unwrap_or_default()));
    }
    Ok(epochs)
}

/// All maps.
pub(super) async fn load(client: &Client) -> Result<Loaded, ControlError> {
    let mut rows = Vec::new();
    let found = match client.query(LOAD_SQL, &[]).await {
        // A catalog of an older version lacks a table.
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {
            let Ok(row) = client.query_one(VERSION_SQL, &[]).await else {
                return Err(error.into());
            };
            return Err(ControlError(RowsError::Version(row.try_get(0)?).to_string()));
        }
        found => found?,
    };
    for row in found {
        let (what, database) = (row.try_get(0)?, row.try_get(1)?);
        rows.push(Row { what, database, fields: row.try_get(2)? });
    }
    read_rows(rows).map_err(|error| ControlError(error.to_string()))
}

/// Moves of keys, each with the name of its database; the newest one first.
pub(super) async fn moves(client: &Client) -> Result<Vec<(String, MoveSeen)>, ControlError> {
    let mut moves = Vec::new();
    for row in client.query(MOVES_SQL, &[]).await? {
        let fields: Vec<Option<String>> = row.try_get(1)?;
        // What a newer mover may write is not worth losing the others for.
        moves.extend(MoveSeen::read(&fields).map(|read| Ok((row.try_get(0)?, read))));
    }
    moves.into_iter().collect()
}

/// Says which epochs a process uses.
pub(super) async fn report(
    client: &Client,
    process: &str,
    database: &str,
    seen: u64,
    acknowledged: u64,
) -> Result<(), ControlError> {
    let signed = |epoch: u64| i64::try_from(epoch).unwrap_or(i64::MAX);
    let epochs = (signed(seen), signed(acknowledged));
    client.execute(REPORT_SQL, &[&database, &process, &epochs.0, &epochs.1]).await?;
    Ok(())
}

/// Runs the commands of a change as one transaction; false when somebody else was first.
pub(super) async fn change(
    client: &mut Client,
    commands: &[Command],
) -> Result<bool, ControlError> {
    let transaction = client.transaction().await?;
    for command in commands {
        let types: Vec<Type> = command.parameters.iter().map(type_of).collect();
        let statement = transaction.prepare_typed(command.sql, &types).await?;
        let values: Vec<&(dyn ToSql + Sync)> = command.parameters.iter().map(value_of).collect();
        let rows = transaction.query(&statement, &values).await?;
        if command.decides && rows.is_empty() {
            return Ok(false);
        }
    }
    transaction.commit().await?;
    Ok(true)
}

fn type_of(parameter: &Parameter) -> Type {
    match parameter {
        Parameter::Text(_) => Type::TEXT,
        Parameter::Integer(_) => Type::INT8,
        Parameter::Texts(_) => Type::TEXT_ARRAY,
    }
}

fn value_of(parameter: &Parameter) -> &(dyn ToSql + Sync) {
    match parameter {
        Parameter::Text(text) => text,
        Parameter::Integer(number) => number,
        Parameter::Texts(texts) => texts,
    }
}
