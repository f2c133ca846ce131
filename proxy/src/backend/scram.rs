//! Owns the client side of SCRAM-SHA-256(-PLUS) towards servers, and the cache that spares each
//! new connection the milliseconds of PBKDF2. It does no I/O.

use crate::backend::error::ConnectError;
use crate::config::model::Password;
use crate::wire::derive::derive;
use crate::wire::scram::{
    ClientKeys, Key, MAX_ITERATIONS, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, client_keys, hmac,
    is_nonce, nonce, salted_password,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

/// Salts kept per `Connector`: a server has one per user.
const MAX_CACHED_KEYS: usize = 1024;

/// After the client's first message.
pub(super) struct ScramStart {
    /// The mechanism chosen.
    pub(super) mechanism: &'static str,
    /// The client-first-message.
    pub(super) message: String,
    gs2_header: &'static str,
    binding: Vec<u8>,
    nonce: String,
}

/// After the server's first message.
#[derive(Debug)]
pub(super) struct ScramChallenge {
    /// PBKDF2 salt.
    pub(super) salt: Vec<u8>,
    /// PBKDF2 iterations.
    pub(super) iterations: u32,
    without_proof: String,
    auth_message: String,
}

/// After the client's final message.
pub(super) struct ScramFinish {
    /// The client-final-message.
    pub(super) message: String,
    auth_message: String,
    keys: Arc<ClientKeys>,
}

impl ScramStart {
    /// Chooses among the server's mechanisms. `binding` is there when the connection is TLS and
    /// the certificate allows channel binding.
    pub(super) fn new(offered: &[&[u8]], binding: Option<Vec<u8>>) -> Result<Self, ConnectError> {
        let offers = |name: &str| offered.contains(&name.as_bytes());
        let (mechanism, gs2_header, binding) = match binding {
            Some(binding) if offers(SCRAM_SHA_256_PLUS) => {
                (SCRAM_SHA_256_PLUS, "p=tls-server-end-point,,", binding)
            }
            // "y" lets a server that does offer -PLUS notice that somebody hid it from us.
            Some(_) if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, "y,,", Vec::new()),
            None if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, "n,,", Vec::new()),
            _ => {
                let text = "the server offers no SASL mechanism that is known here";
                return Err(ConnectError::Auth(text.into()));
            }
        };
        let nonce = nonce();
        let message = format!("{gs2_header}n=,r={nonce}");
        Ok(Self { mechanism, message, gs2_header, binding, nonce })
    }

    /// Takes the server-first-message.
    pub(super) fn challenge(self, server_first: &[u8]) -> Result<ScramChallenge, ConnectError> {
        self.parse(server_first)
            .ok_or_else(|| ConnectError::Protocol("malformed SCRAM challenge".into()))
    }

    fn parse(self, server_first: &[u8]) -> Option<ScramChallenge> {
        let server_first = std::str::from_utf8(server_first).ok()?;
        let mut fields = server_first.split(',');
        let nonce = fields.next()?.strip_prefix("r=")?;
        let salt = STANDARD.decode(fields.next()?.strip_prefix("s=")?).ok()?;
        let iterations = fields.next()?.strip_prefix("i=")?.parse().ok()?;
        let ours = nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len();
        if !ours || !is_nonce(nonce) || salt.is_empty() || fields.next().is_some() {
            return None;
        }
        if !(1..=MAX_ITERATIONS).contains(&iterations) {
            return None;
        }
        let binding = STANDARD.encode([self.gs2_header.as_bytes(), &self.binding].concat());
        let without_proof = format!("c={binding},r={nonce}");
        let auth_message = format!("n=,r={},{server_first},{without_proof}", self.nonce);
        Some(ScramChallenge { salt, iterations, without_proof, auth_message })
    }
}

impl ScramChallenge {
    /// Proves knowledge of the password.
    pub(super) async fn respond(
        self,
        cache: &ClientKeyCache,
        password: &Password,
    ) -> Result<ScramFinish, ConnectError> {
        let keys = cache.get(password, &self.salt, self.iterations).await?;
        Ok(self.respond_with(keys))
    }

    /// Proves knowledge of the keys.
    pub(super) fn respond_with(self, keys: Arc<ClientKeys>) -> ScramFinish {
        let message = format!("{},p={}", self.without_proof, keys.proof(&self.auth_message));
        ScramFinish { message, auth_message: self.auth_message, keys }
    }
}

impl ScramFinish {
    /// Takes the server-final-message: the server must know the password's keys too.
    pub(super) fn verify(&self, server_final: &[u8]) -> Result<(), ConnectError> {
        let signature = server_final
            .strip_prefix(b"v=")
            .and_then(|signature| STANDARD.decode(signature).ok())
            .ok_or_else(|| ConnectError::Protocol("malformed SCRAM signature".into()))?;
        match self.keys.verify_server(&self.auth_message, &signature) {
            true => Ok(()),
            false => Err(ConnectError::Auth("the server does not know the password".into())),
        }
    }
}

/// Keys by password, salt and iterations. Who asks first derives them on a blocking thread; the
/// others wait for the result.
pub(super) struct ClientKeyCache {
    /// Keys the table's own keys, so that it holds no passwords.
    secret: Key,
    entries: Mutex<HashMap<[u8; 32], Cell>>,
}

impl Default for ClientKeyCache {
    fn default() -> Self {
        Self { secret: Zeroizing::new(rand::random()), entries: Mutex::default() }
    }
}

/// Filled by who asks first.
type Cell = Arc<OnceCell<Arc<ClientKeys>>>;

impl ClientKeyCache {
    async fn get(
        &self,
        password: &Password,
        salt: &[u8],
        iterations: u32,
    ) -> Result<Arc<ClientKeys>, ConnectError> {
        let cell = self.cell(password, salt, iterations);
        let keys = cell.get_or_try_init(|| async {
            let (password, salt) = (password.clone(), salt.to_vec());
            let work = move || client_keys(&salted_password(&password.0, &salt, iterations));
            let stopped = |_| ConnectError::Auth("the key derivation was stopped".into());
            derive(work).await.map(Arc::new).map_err(stopped)
        });
        keys.await.map(Arc::clone)
    }

    fn cell(&self, password: &Password, salt: &[u8], iterations: u32) -> Cell {
        // The first two parts have no fixed length: the salt is hashed first to part them.
        let salt = hmac(&self.secret[..], &[salt]);
        let parts = [&salt[..], &iterations.to_be_bytes(), password.0.as_bytes()];
        let id = hmac(&self.secret[..], &parts);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_CACHED_KEYS && !entries.contains_key(&*id) {
            // Only servers that change their salts lead here; the living entries come back.
            entries.clear();
        }
        entries.entry(*id).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[&[u8]] = &[b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"];

    #[test]
    fn channel_binding_is_used_where_both_sides_can() {
        let chosen = |offered: &[&[u8]], binding: Option<&[u8]>| {
            let start = ScramStart::new(offered, binding.map(<[u8]>::to_vec)).ok()?;
            Some((start.mechanism, start.gs2_header))
        };
        let cert = Some(&b"hash"[..]);
        let plus = (SCRAM_SHA_256_PLUS, "p=tls-server-end-point,,");
        assert_eq!(chosen(BOTH, cert), Some(plus));
        assert_eq!(chosen(BOTH, None), Some((SCRAM_SHA_256, "n,,")));
        assert_eq!(chosen(&BOTH[1..], cert), Some((SCRAM_SHA_256, "y,,")));
        assert_eq!(chosen(&BOTH[..1], None), None);
        assert_eq!(chosen(&[], cert), None);
    }

    #[test]
    fn challenges_are_read_strictly() {
        let read = |edit: &dyn Fn(&str) -> String| {
            let start = ScramStart::new(BOTH, None).expect("offered");
            let message = edit(&start.nonce);
            start.challenge(message.as_bytes()).is_ok()
        };
        assert!(read(&|nonce| format!("r={nonce}x,s=c2FsdA==,i=4096")));
        assert!(!read(&|nonce| format!("r={nonce},s=c2FsdA==,i=4096")));
        assert!(!read(&|nonce| format!("r=x{nonce},s=c2FsdA==,i=4096")));
        assert!(!read(&|nonce| format!("r={nonce}x,s=,i=4096")));
        assert!(!read(&|nonce| format!("r={nonce}x,s=c2FsdA==,i=0")));
        assert!(!read(&|nonce| format!("r={nonce}x,s=c2FsdA==,i=1000001")));
        assert!(!read(&|nonce| format!("r={nonce}x,s=c2FsdA==,i=1,e=x")));
        assert!(!read(&|nonce| format!("r={nonce}\u{e9},s=c2FsdA==,i=1")));
    }

    #[test]
    fn keys_are_kept_by_password_salt_and_iterations() {
        let cache = ClientKeyCache::default();
        let password = |text: &str| Password(text.to_owned().into());
        let cell = cache.cell(&password("a"), b"salt", 1);
        assert!(Arc::ptr_eq(&cell, &cache.cell(&password("a"), b"salt", 1)));
        assert!(!Arc::ptr_eq(&cell, &cache.cell(&password("b"), b"salt", 1)));
        assert!(!Arc::ptr_eq(&cell, &cache.cell(&password("a"), b"sal", 1)));
        assert!(!Arc::ptr_eq(&cell, &cache.cell(&password("a"), b"salt", 2)));
        for salt in 0..2 * MAX_CACHED_KEYS {
            cache.cell(&password("a"), &salt.to_be_bytes(), 1);
        }
        assert!(cache.entries.lock().expect("lock").len() <= MAX_CACHED_KEYS);
    }
}
