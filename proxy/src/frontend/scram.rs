//! Owns the server side of SCRAM-SHA-256(-PLUS) towards clients: reading their two messages and
//! judging the proof. It does no I/O and knows no users: who asks brings salt and keys.

use crate::frontend::packet::violation;
use crate::wire::error::SqlError;
use crate::wire::scram::{
    ClientKeys, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ServerKeys, is_nonce, nonce,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const BINDING_HEADER: &str = "p=tls-server-end-point,,";

/// The server-first-message and what the answer to it is checked with.
#[derive(Debug)]
pub(super) struct Challenge {
    /// The server-first-message.
    pub(super) message: String,
    /// "c=" and the base64 that the client must repeat.
    binding_field: String,
    nonce: String,
    first_messages: String,
}

/// A client-final-message of the right form: the proof is still to be checked.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) auth_message: String,
    pub(super) proof: [u8; 32],
}

/// Reads a SASLInitialResponse's mechanism and client-first-message and asks back.
///
/// # Errors
/// A FATAL error for the client.
pub(super) fn challenge(
    mechanism: &[u8],
    client_first: &[u8],
    binding: Option<&[u8]>,
    salt: &[u8],
    iterations: u32,
) -> Result<Challenge, SqlError> {
    let client_first = utf8(client_first)?;
    let (flag, rest) = client_first.split_once(',').ok_or_else(malformed)?;
    let (authorization_identity, bare) = rest.split_once(',').ok_or_else(malformed)?;
    if !authorization_identity.is_empty() {
        let text = "client uses authorization identity, but it is not supported";
        return Err(SqlError::fatal("0A000", text));
    }
    let plus = mechanism == SCRAM_SHA_256_PLUS.as_bytes();
    if !plus && mechanism != SCRAM_SHA_256.as_bytes() {
        return Err(violation("client selected an invalid SASL authentication mechanism"));
    }
    let bound = match (flag, binding) {
        ("p=tls-server-end-point", Some(binding)) if plus => {
            [BINDING_HEADER.as_bytes(), binding].concat()
        }
        ("n", _) if !plus => b"n,,".to_vec(),
        ("y", None) if !plus => b"y,,".to_vec(),
        // Somebody between hid our -PLUS from the client.
        ("y", Some(_)) if !plus => {
            return Err(SqlError::fatal("28000", "SCRAM channel binding negotiation error")
                .detail("The client supports channel binding but thinks the server does not."));
        }
        _ => return Err(malformed()),
    };
    let mut fields = bare.split(',');
    // The name is ignored, as by PostgreSQL: the StartupMessage's counts.
    let name = fields.next().and_then(|field| field.strip_prefix("n="));
    let client_nonce = fields.next().and_then(|field| field.strip_prefix("r="));
    let (Some(_), Some(client_nonce)) = (name, client_nonce.filter(|nonce| is_nonce(nonce))) else {
        return Err(malformed());
    };
    let nonce = format!("{client_nonce}{}", nonce());
    let message = format!("r={nonce},s={},i={iterations}", STANDARD.encode(salt));
    let binding_field = format!("c={}", STANDARD.encode(bound));
    let first_messages = format!("{bare},{message}");
    Ok(Challenge { message, binding_field, nonce, first_messages })
}

impl Challenge {
    /// Reads the client-final-message.
    ///
    /// # Errors
    /// A FATAL error for the client.
    pub(super) fn answer(&self, client_final: &[u8]) -> Result<Answer, SqlError> {
        let client_final = utf8(client_final)?;
        let (without_proof, proof) = client_final.rsplit_once(",p=").ok_or_else(malformed)?;
        let mut fields = without_proof.split(',');
        if fields.next() != Some(&self.binding_field) {
            return Err(SqlError::fatal("28000", "SCRAM channel binding check failed"));
        }
        let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        if nonce != Some(&self.nonce) {
            return Err(violation("invalid SCRAM response: nonce does not match"));
        }
        let proof = STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok());
        let auth_message = format!("{},{without_proof}", self.first_messages);
        Ok(Answer { auth_message, proof: proof.ok_or_else(malformed)? })
    }
}

impl Answer {
    /// The server-final-message when the proof is right, and the client's keys, which a right
    /// proof shows; constant time otherwise.
    pub(super) fn verify(&self, keys: &ServerKeys) -> Option<(String, ClientKeys)> {
        let shown = keys.client_keys(&self.auth_message, &self.proof)?;
        Some((format!("v={}", keys.signature(&self.auth_message)), shown))
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, SqlError> {
    std::str::from_utf8(bytes).map_err(|_| malformed())
}

fn malformed() -> SqlError {
    violation("malformed SCRAM message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::scram::{client_keys, salted_password, server_keys};
    use proptest::prelude::*;

    const PLAIN: &[u8] = SCRAM_SHA_256.as_bytes();
    const PLUS: &[u8] = SCRAM_SHA_256_PLUS.as_bytes();

    fn begin(mechanism: &[u8], first: &str, binding: Option<&[u8]>) -> Result<Challenge, SqlError> {
        challenge(mechanism, first.as_bytes(), binding, b"salt", 2)
    }

    #[test]
    fn flag_mechanism_and_binding_must_agree() {
        let cert = Some(&b"hash"[..]);
        for (mechanism, flag, binding, good) in [
            (PLAIN, "n", None, true),
            (PLAIN, "n", cert, true),
            (PLAIN, "y", None, true),
            (PLAIN, "y", cert, false),
            (PLAIN, "p=tls-server-end-point", cert, false),
            (PLUS, "p=tls-server-end-point", cert, true),
            (PLUS, "p=tls-server-end-point", None, false),
            (PLUS, "p=tls-unique", cert, false),
            (PLUS, "n", cert, false),
            (PLUS, "y", cert, false),
            (b"PLAIN", "n", None, false),
        ] {
            let found = begin(mechanism, &format!("{flag},,n=,r=abc"), binding);
            assert_eq!(found.is_ok(), good, "{flag} {binding:?} {found:?}");
        }
        for first in ["", "n", "n,", "n,,", "n,a=x,n=,r=a", "n,,m=x,n=,r=a", "n,,n=,r=", "n,,r=a"] {
            assert!(begin(PLAIN, first, None).is_err(), "{first}");
        }
    }

    #[test]
    fn only_the_right_proof_is_taken() {
        let salted = salted_password("secret", b"salt", 2);
        let first = begin(PLUS, "p=tls-server-end-point,,n=,r=abc", Some(b"hash")).expect("ok");
        let bound = STANDARD.encode(b"p=tls-server-end-point,,hash");
        let without_proof = format!("c={bound},r={}", first.nonce);
        let auth_message = format!("n=,r=abc,{},{without_proof}", first.message);
        let proof = client_keys(&salted).proof(&auth_message);
        let last = format!("{without_proof},p={proof}");
        let answer = first.answer(last.as_bytes()).expect("well formed");
        assert!(answer.verify(&server_keys(&salted)).is_some());
        let other = server_keys(&salted_password("Secret", b"salt", 2));
        assert!(answer.verify(&other).is_none());
        for bad in [
            last.replace(&bound, &STANDARD.encode(b"p=tls-server-end-point,,hasH")),
            last.replace("r=abc", "r=abd"),
            last[..last.len() - 4].to_owned(),
            without_proof,
            String::new(),
        ] {
            assert!(first.answer(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(first in any::<Vec<u8>>(), last in any::<Vec<u8>>(), text in ".*") {
            let _ = challenge(PLAIN, &first, None, b"s", 1);
            let _ = begin(PLAIN, &text, None);
            let challenge = begin(PLAIN, "n,,n=,r=a", None).expect("valid");
            let _ = challenge.answer(&last);
            let _ = challenge.answer(text.as_bytes());
        }
    }
}
