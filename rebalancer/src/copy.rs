//! Owns the copying of the rows of one snapshot.
