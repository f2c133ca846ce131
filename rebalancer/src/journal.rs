//! Owns the catalog: the map, moves and their states, and the lease of who moves.
