//! Keys move between shards while clients work over two proxies: nothing is lost, doubled or
//! misplaced, whatever is killed on the way.

mod batches;
mod by_hand;
mod handed_over;
mod hold;
mod refused;
