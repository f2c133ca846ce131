//! Owns SQL over the console's tables: a SELECT in PostgreSQL's dialect is translated (`sqlparser`)
//! and run by SQLite over copies of the tables it names, within limits.
