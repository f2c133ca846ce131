//! The end-to-end tests: real servers, the real proxy, real drivers, one plain primary as oracle.

mod cluster;
mod consistency;
mod drivers;
mod failover;
mod failure;
mod golden;
mod hostile;
mod leak;
mod limits;
mod notify;
mod notify_storm;
mod operation;
mod protocol;
mod session_state;
mod sessions;
mod tls;
mod tokio_driver;
