//! Owns the arithmetic of SCRAM-SHA-256 (RFC 5802, RFC 7677): keys, stored secrets, proofs. The
//! two state machines stand in `frontend::scram` and `backend::scram`. It must not do I/O, and
//! `salted_password` takes milliseconds: never call it on an event loop.
//!
//! Written here on `hmac` and `sha2` because neither ready-made half fits: pgwire's server
//! compares keys and proofs with `==` and takes a channel binding flag that contradicts the
//! mechanism; postgres-protocol's client derives its keys anew, and on the caller's thread, for
//! each connection.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Name of the mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// Name of the mechanism with channel binding.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// Iterations of secrets that are derived here; PostgreSQL's default `scram_iterations`.
pub const DEFAULT_ITERATIONS: u32 = 4096;
/// More iterations than this are refused: the number comes from the other side or a file, and
/// each one costs time (a million about half a second).
pub const MAX_ITERATIONS: u32 = 1_000_000;
/// Random bytes in a nonce, as in PostgreSQL.
const NONCE_BYTES: usize = 18;

/// A SHA-256 output that is wiped when dropped.
pub type Key = Zeroizing<[u8; 32]>;

/// What a server stores of a password.
#[derive(Clone)]
pub struct ServerKeys {
    /// H(ClientKey): checks a client's proof.
    pub stored_key: Key,
    /// Signs the server's answer.
    pub server_key: Key,
}

/// What a client needs of a password.
pub struct ClientKeys {
    /// Makes the proof.
    pub client_key: Key,
    /// Checks the server's signature.
    pub server_key: Key,
}

/// A parsed `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
pub struct StoredSecret {
    /// PBKDF2 iterations.
    pub iterations: u32,
    /// PBKDF2 salt.
    pub salt: Vec<u8>,
    /// The keys.
    pub keys: ServerKeys,
}

impl StoredSecret {
    /// Reads the form of `pg_authid.rolpassword`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (parameters, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|n| (1..=MAX_ITERATIONS).contains(n))?;
        let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?;
        let keys =
            ServerKeys { stored_key: decode_key(stored_key)?, server_key: decode_key(server_key)? };
        Some(Self { iterations, salt, keys })
    }
}

fn decode_key(text: &str) -> Option<Key> {
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    <[u8; 32]>::try_from(bytes.as_slice()).ok().map(Zeroizing::new)
}

/// PBKDF2 of the prepared password: slow on purpose.
#[must_use]
pub fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Key {
    // A password that SASLprep refuses is used as it is, by PostgreSQL too.
    let prepared = match stringprep::saslprep(password) {
        Ok(prepared) => Zeroizing::new(prepared.into_owned()),
        Err(_) => Zeroizing::new(password.to_owned()),
    };
    let keyed = keyed_hmac(prepared.as_bytes());
    let block = keyed.clone().chain_update(salt).chain_update([0, 0, 0, 1]);
    let mut last: [u8; 32] = block.finalize().into_bytes().into();
    let mut sum = Zeroizing::new(last);
    for _ in 1..iterations {
        last = keyed.clone().chain_update(last).finalize().into_bytes().into();
        sum.iter_mut().zip(last).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

/// What a server keeps of a salted password.
#[must_use]
pub fn server_keys(salted_password: &Key) -> ServerKeys {
    let client_key = hmac(&salted_password[..], &[b"Client Key"]);
    ServerKeys {
        stored_key: sha256(&client_key),
        server_key: hmac(&salted_password[..], &[b"Server Key"]),
    }
}

/// What a client keeps of a salted password.
#[must_use]
pub fn client_keys(salted_password: &Key) -> ClientKeys {
    ClientKeys {
        client_key: hmac(&salted_password[..], &[b"Client Key"]),
        server_key: hmac(&salted_password[..], &[b"Server Key"]),
    }
}

impl ServerKeys {
    /// Whether `proof` was made with the password; constant time.
    #[must_use]
    pub fn verify(&self, auth_message: &str, proof: &[u8; 32]) -> bool {
        self.client_keys(auth_message, proof).is_some()
    }

    /// The client's keys, which `proof` shows to who has the stored ones; `None` when it was not
    /// made with the password. Constant time up to that.
    #[must_use]
    pub fn client_keys(&self, auth_message: &str, proof: &[u8; 32]) -> Option<ClientKeys> {
        let signature = hmac(&self.stored_key[..], &[auth_message.as_bytes()]);
        let client_key = xor(proof, &signature);
        let right: bool = sha256(&client_key).ct_eq(&self.stored_key[..]).into();
        right.then(|| ClientKeys { client_key, server_key: self.server_key.clone() })
    }

    /// The server's own proof of knowing the password's keys, in base64.
    #[must_use]
    pub fn signature(&self, auth_message: &str) -> String {
        STANDARD.encode(&hmac(&self.server_key[..], &[auth_message.as_bytes()])[..])
    }
}

impl ClientKeys {
    /// The client's proof, in base64.
    #[must_use]
    pub fn proof(&self, auth_message: &str) -> String {
        let stored_key = sha256(&self.client_key);
        let signature = hmac(&stored_key[..], &[auth_message.as_bytes()]);
        STANDARD.encode(&xor(&self.client_key, &signature)[..])
    }

    /// Whether the server knows the password's keys; constant time.
    #[must_use]
    pub fn verify_server(&self, auth_message: &str, signature: &[u8]) -> bool {
        hmac(&self.server_key[..], &[auth_message.as_bytes()])[..].ct_eq(signature).into()
    }
}

/// A fresh nonce of printable characters.
#[must_use]
pub fn nonce() -> String {
    STANDARD.encode(rand::random::<[u8; NONCE_BYTES]>())
}

/// Whether `text` may stand in a nonce: printable ASCII without the comma.
#[must_use]
pub fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b',')
}

/// HMAC-SHA-256 over the concatenated `parts`.
#[must_use]
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = keyed_hmac(key);
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn keyed_hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("invariant: HMAC takes keys of any length")
}

fn sha256(bytes: &Key) -> Key {
    Zeroizing::new(Sha256::digest(&bytes[..]).into())
}

fn xor(left: &[u8; 32], right: &[u8; 32]) -> Key {
    let mut out = Zeroizing::new(*left);
    out.iter_mut().zip(right).for_each(|(out, byte)| *out ^= byte);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn rfc_7677_exchange() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let salted = salted_password("pencil", &salt, 4096);
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = client_keys(&salted).proof(message);
        assert_eq!(proof, "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let signature = server_keys(&salted).signature(message);
        assert_eq!(signature, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let signature = STANDARD.decode(signature).expect("base64");
        assert!(client_keys(&salted).verify_server(message, &signature));
        assert!(!client_keys(&salted).verify_server("x", &signature));
        let mut proof: [u8; 32] = STANDARD.decode(proof).expect("b64").try_into().expect("32");
        assert!(server_keys(&salted).verify(message, &proof));
        proof[31] ^= 1;
        assert!(!server_keys(&salted).verify(message, &proof));
    }

    #[test]
    fn stored_secrets_hold_the_same_keys() {
        let text = postgres_protocol::password::scram_sha_256("p\u{aa}ss".as_bytes());
        let secret = StoredSecret::parse(&text).expect("valid");
        let keys = server_keys(&salted_password("p\u{aa}ss", &secret.salt, secret.iterations));
        assert_eq!(keys.stored_key, secret.keys.stored_key);
        assert_eq!(keys.server_key, secret.keys.server_key);
        for bad in ["", "SCRAM-SHA-256$", "SCRAM-SHA-256$0:AAAA$AAAA:AAAA", "md5abc"] {
            assert!(StoredSecret::parse(bad).is_none(), "{bad}");
        }
        let too_slow = text.replace("4096", "1000001");
        assert!(StoredSecret::parse(&too_slow).is_none());
    }
}
