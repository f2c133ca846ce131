//! Owns the look, before anything is touched, whether a move is possible.
