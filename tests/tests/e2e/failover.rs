//! Losing a server is a hiccup: statements that were not sent wait for the next primary, those
//! under way end with an error that says what became of them, and a former primary is left alone.

#[path = "failover/hang.rs"]
mod hang;
#[path = "failover/load.rs"]
mod load;
#[path = "failover/network.rs"]
mod network;
#[path = "failover/rounds.rs"]
mod rounds;
#[path = "failover/wait.rs"]
mod wait;
