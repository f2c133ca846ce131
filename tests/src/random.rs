//! Owns the seed of random tests: printed always, given again by `PGM_SEED`.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// A generator whose seed is printed, so that a failure can be repeated with `PGM_SEED=…`.
pub fn seeded(test: &str) -> StdRng {
    let given = std::env::var("PGM_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    println!("{test}: seed {seed} (repeat with PGM_SEED={seed})");
    StdRng::seed_from_u64(seed)
}
