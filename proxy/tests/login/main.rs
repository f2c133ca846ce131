//! Logins on both sides over real sockets: clients against `frontend`, `backend` against a real
//! PostgreSQL. Owns no code under test.

mod backend_faults;
mod backend_login;
mod certificates;
mod front;
mod frontend_hostile;
mod frontend_login;
mod postgres;
mod raw;
mod settings;
