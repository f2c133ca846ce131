//! Keys move between shards while clients work over two proxies: nothing is lost, doubled or
//! misplaced, whatever is killed on the way. The parts of the rebalancer are tested by themselves,
//! too.

mod attach;
mod back_and_forth;
mod barrier;
mod batches;
mod by_hand;
mod corruption;
mod deleted;
mod forms;
mod handed_over;
mod harness;
mod hold;
mod interrupted;
mod kills;
mod long;
mod pieces;
mod plan;
mod refused;
mod runbook;
mod seen;
mod sides;
mod status;
mod throttle;
mod verify;
mod verify_live;
mod whole;

/// Limits for a machine that does everything at once, and for tests that do not wait for who does
/// not answer.
fn quick_limits() -> Vec<String> {
    let limits = [
        "acknowledge_timeout_ms = 1500",
        "primary_latency_ms = 2000",
        "free_disk_bytes = 1000000",
        "cleanup_batch_rows = 500",
    ];
    limits.map(str::to_owned).into()
}
