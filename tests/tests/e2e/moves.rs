//! Keys that are moved between shards: the parts of the rebalancer on real servers.

mod barrier;
mod sides;
mod verify;
mod verify_live;
