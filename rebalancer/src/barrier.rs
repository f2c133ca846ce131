//! Owns the wait until no proxy works by an older map: acknowledgements, and cutting off who gives none.
