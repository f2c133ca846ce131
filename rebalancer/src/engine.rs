//! Owns the way of a move from state to state.
