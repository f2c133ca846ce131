//! The end-to-end tests: real servers, the real proxy, real drivers, one plain primary as oracle.

mod cluster;
mod consistency;
mod crowd;
mod drivers;
mod failure;
mod golden;
mod hostile;
mod limits;
mod operation;
mod overload;
mod protocol;
mod restart;
mod sessions;
mod soak;
mod storm;
mod tls;
mod tokio_driver;
