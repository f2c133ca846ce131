//! The end-to-end tests: real servers, the real proxy, real drivers, one plain primary as oracle.

mod access;
mod access_query;
mod access_tls;
mod cluster;
mod consistency;
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
