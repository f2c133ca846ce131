//! The console's tables, SQL over them and its commands, without any of the proxy's state: what a
//! table holds at a moment comes from a [`source::Source`]. It opens no sockets and knows no pools.

pub mod answer;
pub mod catalog;
pub mod command;
pub mod engine;
pub mod legacy;
pub mod schema;
pub mod source;
pub mod tables;
pub mod value;

pub use answer::Answer;
pub use command::{Command, Role};
pub use schema::{Column, Table};
pub use source::Source;
pub use value::{Kind, Value};
