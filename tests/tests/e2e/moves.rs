//! Keys move between shards while clients work over two proxies: nothing is lost, doubled or
//! misplaced, whatever is killed on the way. The parts of the rebalancer are tested by themselves,
//! too.

mod barrier;
mod harness;
mod sides;
mod verify;
mod verify_live;
