//! The end-to-end tests: real servers, the real proxy, real drivers, one plain primary as oracle.

mod access;
mod access_query;
mod access_tls;
mod cluster;
mod consistency;
mod crowd;
mod drivers;
mod failover;
mod failure;
mod golden;
mod hostile;
mod leak;
mod limits;
mod memory;
mod notify;
mod notify_storm;
mod operation;
mod overload;
mod protocol;
mod restart;
mod session_state;
mod sessions;
mod soak;
mod storm;
mod tls;
mod tokio_driver;
