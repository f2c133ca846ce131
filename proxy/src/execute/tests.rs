//! Statements over several databases of a real server, which stand for shards, and over servers
//! that the tests play themselves.

mod combined;
mod copied_in;
mod copied_out;
mod order;
mod played;
mod real;
mod rig;
