//! The end-to-end tests: real servers, the real proxy, real drivers, one plain primary as oracle.

mod cluster;
mod consistency;
mod crowd;
mod drivers;
mod failure;
mod golden;
mod hostile;
mod leak;
mod limits;
mod operation;
mod protocol;
mod session_state;
mod sessions;
mod tls;
mod tokio_driver;
