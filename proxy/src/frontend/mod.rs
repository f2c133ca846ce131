//! Owns the client side of a login: TLS, StartupMessage, authentication.

mod auth;
mod options;
pub(crate) mod packet;
mod scram;
pub mod startup;
pub mod tls;
