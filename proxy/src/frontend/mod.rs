//! Owns the client side of a login: TLS, StartupMessage, authentication.

mod auth;
mod hba;
mod options;
pub(crate) mod packet;
mod proxy_header;
mod scram;
pub mod startup;
pub mod throttle;
pub mod tls;
