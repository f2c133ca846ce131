//! Owns what clients' own logins have shown of their passwords: the keys that let pgmanifold log
//! in to servers in their name, although it was never told the passwords. In memory only, wiped
//! when dropped; they outlive reloads and never leave for a log or a file.
//!
//! A client that proves itself by SCRAM lets its ClientKey be computed from the proof (RFC 5802,
//! section 3). Any server that stores the same secret, with the same salt and iterations, takes a
//! proof made with that key.

use crate::wire::scram::ClientKeys;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// Users whose keys are kept; with more, somebody must log in again.
const MAX_USERS: usize = 10_000;
/// Secrets kept of one user: each shard may have another, and one may just be changing.
const MAX_SECRETS_PER_USER: usize = 8;

/// Keys of users, by the name they log in with.
#[derive(Default)]
pub struct KeyRing {
    users: Mutex<HashMap<String, Shown>>,
}

/// What one user has shown.
#[derive(Default)]
struct Shown {
    /// The newest last.
    scram: Vec<ScramKeys>,
    md5: Option<Arc<Zeroizing<String>>>,
}

struct ScramKeys {
    salt: Vec<u8>,
    iterations: u32,
    keys: Arc<ClientKeys>,
}

impl KeyRing {
    /// Keeps the keys of a client that has proved itself against a secret with this salt.
    pub fn keep_scram(&self, user: &str, salt: &[u8], iterations: u32, keys: ClientKeys) {
        let mut users = self.lock();
        make_room(&mut users, user);
        let shown = &mut users.entry(user.to_owned()).or_default().scram;
        shown.retain(|known| known.salt != salt || known.iterations != iterations);
        if shown.len() >= MAX_SECRETS_PER_USER {
            shown.remove(0);
        }
        shown.push(ScramKeys { salt: salt.to_vec(), iterations, keys: Arc::new(keys) });
    }

    /// Keeps the md5 secret (32 hex digits) of a client that has proved itself against it.
    pub fn keep_md5(&self, user: &str, digits: &str) {
        let mut users = self.lock();
        make_room(&mut users, user);
        let digits = Arc::new(Zeroizing::new(digits.to_owned()));
        users.entry(user.to_owned()).or_default().md5 = Some(digits);
    }

    /// The keys of `user` for a server's secret with this salt.
    pub fn scram(&self, user: &str, salt: &[u8], iterations: u32) -> Option<Arc<ClientKeys>> {
        let users = self.lock();
        let fits = |known: &&ScramKeys| known.salt == salt && known.iterations == iterations;
        users.get(user)?.scram.iter().find(fits).map(|known| Arc::clone(&known.keys))
    }

    /// The md5 secret of `user`.
    pub fn md5(&self, user: &str) -> Option<Arc<Zeroizing<String>>> {
        self.lock().get(user)?.md5.clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Shown>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(users: &mut HashMap<String, Shown>, user: &str) {
    if users.len() >= MAX_USERS && !users.contains_key(user) {
        let any = users.keys().next().cloned();
        any.and_then(|any| users.remove(&any));
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::scram::{client_keys, salted_password};

    fn keys(password: &str) -> ClientKeys {
        client_keys(&salted_password(password, b"salt", 1))
    }

    #[test]
    fn keys_fit_one_secret_of_one_user() {
        let ring = KeyRing::default();
        ring.keep_scram("ann", b"salt", 1, keys("a"));
        assert!(ring.scram("ann", b"salt", 1).is_some());
        assert!(ring.scram("ann", b"salt", 2).is_none());
        assert!(ring.scram("ann", b"tlas", 1).is_none());
        assert!(ring.scram("bob", b"salt", 1).is_none());
        let first = ring.scram("ann", b"salt", 1).expect("kept").client_key.clone();
        ring.keep_scram("ann", b"salt", 1, keys("b"));
        assert_ne!(ring.scram("ann", b"salt", 1).expect("kept").client_key, first);
        ring.keep_md5("ann", "0");
        assert!(ring.md5("ann").is_some() && ring.md5("bob").is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let ring = KeyRing::default();
        for salt in 0..100_u32 {
            ring.keep_scram("ann", &salt.to_be_bytes(), 1, keys("a"));
        }
        assert!(ring.scram("ann", &99_u32.to_be_bytes(), 1).is_some());
        assert!(ring.scram("ann", &0_u32.to_be_bytes(), 1).is_none());
        for user in 0..MAX_USERS + 100 {
            ring.keep_md5(&user.to_string(), "0");
        }
        assert!(ring.lock().len() <= MAX_USERS);
        assert_eq!(format!("{ring:?}"), "KeyRing { .. }");
    }
}
