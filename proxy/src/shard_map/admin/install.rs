//! Owns `pgmanifold map init`: the schema `pgm` on every shard and in the catalog.

use super::{Admin, AdminError, change};
use pgmanifold_router::shard_schema;
use std::collections::BTreeSet;

/// Makes the schema on every shard, and in the catalog when there is one. What is there already
/// stays. Says what was done, one line each.
///
/// # Errors
/// When a server cannot be reached, or the login may not. Servers that were done stay so; the
/// command can be given again.
pub async fn install(admin: &Admin) -> Result<Vec<String>, AdminError> {
    let mut done = Vec::new();
    let servers = admin.shards().await?;
    // They end what others have left behind.
    let roles: BTreeSet<&str> = admin.sharding.shards.iter().map(|s| &*s.recovery.user).collect();
    let roles: Vec<&str> = roles.into_iter().collect();
    for (server, number) in servers.iter().zip(0..) {
        server.run(&shard_schema::install(number, &roles)).await?;
        done.push(format!("shard {} (number {number}): schema pgm is there", server.name));
    }
    if admin.config.catalog.is_some() {
        change::install(admin).await?;
        done.push("catalog: schema pgm is there".to_owned());
    }
    Ok(done)
}
