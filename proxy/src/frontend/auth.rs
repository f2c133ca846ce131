//! Owns the proof of who a client is: SCRAM-SHA-256(-PLUS), md5 and trust, against the configured
//! users and those that a server knows. It must not say why a login failed to anybody but the log:
//! an unknown user and one with a wrong password see the same exchange.
//!
//! The salt of a user with a clear-text password is made from the name and a secret of the
//! process, as an unknown user's is, and the keys are derived once, on a blocking thread; only
//! the first login of such a user is slower, and `Frontends::warm` takes even that away.

use crate::backend::key_ring::KeyRing;
use crate::cluster::SecretQuery;
use crate::config::model::{AuthMethod, Password, Secret, User};
use crate::frontend::packet::{MAX_PACKET_BYTES, violation};
use crate::frontend::scram;
use crate::wire::derive::derive as derive_slowly;
use crate::wire::error::SqlError;
use crate::wire::protocol::{LoginFrame, put_frame, read_frame, take_cstr};
use crate::wire::scram::{
    ClientKeys, DEFAULT_ITERATIONS, Key, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ServerKeys,
    StoredSecret, hmac, salted_password, server_keys,
};
use crate::wire::stream::Stream;
use bytes::{Buf, BufMut, BytesMut};
use md5::{Digest, Md5};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, LazyLock, OnceLock};
use subtle::ConstantTimeEq;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

const SALT_BYTES: usize = 16;
const AUTH_MD5: u32 = 5;
const AUTH_SASL: u32 = 10;
const AUTH_SASL_CONTINUE: u32 = 11;
const AUTH_SASL_FINAL: u32 = 12;

/// Why a client is not let in.
#[derive(Debug)]
pub(super) enum AuthError {
    /// The client left, or its connection broke.
    Io(io::Error),
    /// The client broke the protocol or asks for what is not served.
    Refused(SqlError),
    /// The proof is wrong or cannot be had. The text is for the log only.
    Rejected(SqlError, String),
    /// It cannot be checked now. The text is for the log only.
    Unavailable(String),
}

impl From<io::Error> for AuthError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Refused(violation("invalid message length")),
            _ => Self::Io(error),
        }
    }
}

impl From<SqlError> for AuthError {
    fn from(error: SqlError) -> Self {
        Self::Refused(error)
    }
}

/// Everybody who may log in.
pub(super) struct Accounts {
    accounts: HashMap<String, Account>,
    /// Where the secrets of the others come from.
    query: Option<Arc<SecretQuery>>,
    /// Where clients' keys are kept that their logins show.
    ring: Arc<KeyRing>,
    /// Of users that only a server knows.
    max_clients: usize,
}

/// Makes salts, and the keys that nobody's password fits. It outlives reloads: were salts to
/// change with them, those that stay would be known for users with stored secrets.
static SECRET: LazyLock<Key> = LazyLock::new(|| Zeroizing::new(rand::random()));

#[derive(Clone)]
struct Account {
    user: Arc<User>,
    proof: Arc<Proof>,
}

/// What an account's secret can be checked with.
enum Proof {
    /// There is no secret: only `trust`.
    None,
    Password(Password, Arc<OnceLock<ServerKeys>>),
    Scram(StoredSecret),
    /// The 32 hex digits.
    Md5(Zeroizing<String>),
}

impl Accounts {
    /// # Errors
    /// The name of the user whose secret cannot be read, and why.
    pub(super) fn new(
        users: &[Arc<User>],
        query: Option<Arc<SecretQuery>>,
        ring: Arc<KeyRing>,
        max_clients: usize,
    ) -> Result<Self, String> {
        let account = |user: &Arc<User>| {
            let proof = Proof::new(user.secret.as_ref())
                .ok_or_else(|| format!("the secret of user \"{}\" is malformed", user.name))?;
            Ok((user.name.clone(), Account { user: user.clone(), proof: Arc::new(proof) }))
        };
        let accounts = users.iter().map(account).collect::<Result<_, String>>()?;
        Ok(Self { accounts, query, ring, max_clients })
    }

    /// Derives the keys of all clear-text passwords: milliseconds each.
    pub(super) fn warm(&self) {
        for (name, account) in &self.accounts {
            if let Proof::Password(password, keys) = &*account.proof {
                keys.get_or_init(|| derive(password, &salt_of(name)));
            }
        }
    }

    /// Lets the user `name` prove itself. What stands in `out` goes first.
    pub(super) async fn authenticate(
        &self,
        link: &mut ClientLink<'_>,
        method: AuthMethod,
        (name, database): (&str, &str),
        binding: Option<&[u8]>,
    ) -> Result<Arc<User>, AuthError> {
        let account = self.find(name, database).await?;
        let proof = account.as_ref().map(|account| &*account.proof);
        match (method, proof) {
            (AuthMethod::Reject, _) => return Err(rejected(name, "the method is reject")),
            (AuthMethod::Trust | AuthMethod::Cert, _) => link.flush().await?,
            (AuthMethod::ScramSha256, _) | (AuthMethod::Md5, Some(Proof::Scram(_))) => {
                let shown = self.scram(link, name, proof, binding).await;
                let shown = shown.inspect_err(|error| self.doubt(error, name, database))?;
                self.keep(account.as_ref(), shown);
            }
            (AuthMethod::Md5, _) => {
                let checked = md5(link, name, proof).await;
                checked.inspect_err(|error| self.doubt(error, name, database))?;
                self.keep(account.as_ref(), None);
            }
        }
        account.map(|account| account.user).ok_or_else(|| {
            let error = SqlError::fatal("28000", format!("role \"{name}\" does not exist"));
            AuthError::Rejected(error, "unknown user".into())
        })
    }

    /// The account called `name`: the configuration's, with the secret of a server when it has
    /// none itself, or a server's.
    async fn find(&self, name: &str, database: &str) -> Result<Option<Account>, AuthError> {
        let known = self.accounts.get(name);
        let lacks_secret = known.is_none_or(|account| matches!(*account.proof, Proof::None));
        let Some(query) = self.query.as_ref().filter(|_| lacks_secret) else {
            return Ok(known.cloned());
        };
        let asked = query.secret(database, name).await;
        let asked = asked.map_err(|error| AuthError::Unavailable(error.to_string()))?;
        let Some(fetched) = asked else { return Ok(known.cloned()) };
        let proof = Proof::new(fetched.secret.as_ref())
            .ok_or_else(|| AuthError::Unavailable("the server's secret is malformed".into()))?;
        let fetched = || {
            Arc::new(User {
                name: name.to_owned(),
                secret: None,
                server_user: name.to_owned(),
                server_password: None,
                max_clients: self.max_clients,
                pool_size: None,
                max_user_connections: usize::MAX,
                fetched: true,
            })
        };
        let user = known.map_or_else(fetched, |account| Arc::clone(&account.user));
        Ok(Some(Account { user, proof: Arc::new(proof) }))
    }

    /// A proof that does not fit may be made with a newer password than the one remembered.
    fn doubt(&self, error: &AuthError, name: &str, database: &str) {
        if let (AuthError::Rejected(..), Some(query)) = (error, &self.query) {
            query.doubt(database, name);
        }
    }

    /// Keeps what a login has shown, when servers must be logged in to with it.
    fn keep(&self, account: Option<&Account>, shown: Option<ClientKeys>) {
        let Some(account) = account.filter(|account| account.user.server_password.is_none()) else {
            return;
        };
        match (&*account.proof, shown) {
            (Proof::Scram(stored), Some(keys)) => {
                self.ring.keep_scram(&account.user.name, &stored.salt, stored.iterations, keys);
            }
            (Proof::Md5(digits), None) => self.ring.keep_md5(&account.user.name, digits),
            _ => {}
        }
    }

    async fn scram(
        &self,
        link: &mut ClientLink<'_>,
        name: &str,
        proof: Option<&Proof>,
        binding: Option<&[u8]>,
    ) -> Result<Option<ClientKeys>, AuthError> {
        link.put_authentication(AUTH_SASL, |out| {
            let plus = binding.map(|_| SCRAM_SHA_256_PLUS);
            for mechanism in plus.into_iter().chain([SCRAM_SHA_256]) {
                out.put_slice(mechanism.as_bytes());
                out.put_u8(0);
            }
            out.put_u8(0);
        });
        let response = link.ask().await?;
        let (mechanism, client_first) = initial_response(&response)
            .ok_or_else(|| violation("malformed SASLInitialResponse message"))?;
        let (salt, iterations) = match proof {
            Some(Proof::Scram(stored)) => (stored.salt.clone(), stored.iterations),
            _ => (salt_of(name), DEFAULT_ITERATIONS),
        };
        let challenge = scram::challenge(mechanism, client_first, binding, &salt, iterations)?;
        link.put_authentication(AUTH_SASL_CONTINUE, |out| {
            out.put_slice(challenge.message.as_bytes());
        });
        let answer = challenge.answer(&link.ask().await?)?;
        let (keys, failure) = keys_of(name, proof, salt).await;
        match (answer.verify(&keys), failure) {
            (Some((message, shown)), None) => {
                link.put_authentication(AUTH_SASL_FINAL, |out| out.put_slice(message.as_bytes()));
                link.flush().await?;
                Ok(Some(shown))
            }
            (_, failure) => Err(rejected(name, failure.unwrap_or("wrong password"))),
        }
    }
}

/// The same for a name as long as the process lives, whether the user exists or not.
fn salt_of(name: &str) -> Vec<u8> {
    hmac(&SECRET[..], &[b"salt", name.as_bytes()])[..SALT_BYTES].to_vec()
}

/// The keys to check a proof with, and why it cannot be right whatever it is.
async fn keys_of(
    name: &str,
    proof: Option<&Proof>,
    salt: Vec<u8>,
) -> (ServerKeys, Option<&'static str>) {
    let failure = match proof {
        Some(Proof::Scram(stored)) => return (stored.keys.clone(), None),
        Some(Proof::Password(password, keys)) => {
            if let Some(keys) = keys.get() {
                return (keys.clone(), None);
            }
            let (password, keys) = (password.clone(), keys.clone());
            let derive = move || keys.get_or_init(|| derive(&password, &salt)).clone();
            match derive_slowly(derive).await {
                Ok(keys) => return (keys, None),
                Err(_) => "the key derivation was stopped",
            }
        }
        Some(Proof::Md5(_)) => "an md5 secret cannot be used with SCRAM",
        Some(Proof::None) => "the user has no password",
        None => "unknown user",
    };
    let mock = |what: &[u8]| hmac(&SECRET[..], &[what, name.as_bytes()]);
    (ServerKeys { stored_key: mock(b"stored"), server_key: mock(b"server") }, Some(failure))
}

impl Proof {
    fn new(secret: Option<&Secret>) -> Option<Self> {
        Some(match secret {
            None => Self::None,
            Some(Secret::Password(password)) => Self::Password(password.clone(), Arc::default()),
            Some(Secret::Scram(text)) => Self::Scram(StoredSecret::parse(&text.0)?),
            Some(Secret::Md5(text)) => {
                let digits = text.0.strip_prefix("md5")?;
                let valid = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                valid.then(|| Self::Md5(Zeroizing::new(digits.to_ascii_lowercase())))?
            }
        })
    }
}

fn derive(password: &Password, salt: &[u8]) -> ServerKeys {
    server_keys(&salted_password(&password.0, salt, DEFAULT_ITERATIONS))
}

fn rejected(name: &str, reason: &'static str) -> AuthError {
    let text = format!("password authentication failed for user \"{name}\"");
    AuthError::Rejected(SqlError::fatal("28P01", text), reason.to_owned())
}

/// Mechanism and data of a SASLInitialResponse.
fn initial_response(mut body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mechanism = take_cstr(&mut body)?;
    let length = body.try_get_u32().ok()?;
    (usize::try_from(length) == Ok(body.len())).then_some((mechanism, body))
}

async fn md5(
    link: &mut ClientLink<'_>,
    name: &str,
    proof: Option<&Proof>,
) -> Result<(), AuthError> {
    let salt: [u8; 4] = rand::random();
    link.put_authentication(AUTH_MD5, |out| out.put_slice(&salt));
    let response = link.ask().await?;
    let mut body = &response[..];
    let given = take_cstr(&mut body).filter(|_| body.is_empty());
    let given = given.ok_or_else(|| violation("malformed password message"))?;
    let (digits, failure) = match proof {
        Some(Proof::Password(password, _)) => {
            (md5_hex(&[password.0.as_bytes(), name.as_bytes()]), None)
        }
        Some(Proof::Md5(digits)) => (digits.clone(), None),
        Some(Proof::Scram(_) | Proof::None) => (random_digits(), Some("the user has no password")),
        None => (random_digits(), Some("unknown user")),
    };
    let expected = md5_hex(&[digits.as_bytes(), &salt]);
    let right = given.strip_prefix(b"md5").is_some_and(|hex| hex.ct_eq(expected.as_bytes()).into());
    match failure {
        None if right => Ok(()),
        failure => Err(rejected(name, failure.unwrap_or("wrong password"))),
    }
}

fn random_digits() -> Zeroizing<String> {
    md5_hex(&[&rand::random::<[u8; 16]>()])
}

fn md5_hex(parts: &[&[u8]]) -> Zeroizing<String> {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    let digits =
        |byte: u8| [byte >> 4, byte & 15].map(|n| char::from(b"0123456789abcdef"[n as usize]));
    Zeroizing::new(hash.finalize().into_iter().flat_map(digits).collect())
}

/// The connection during authentication.
pub(super) struct ClientLink<'a> {
    /// The connection.
    pub(super) stream: &'a mut Stream,
    /// What is to be sent with the next flush.
    pub(super) out: &'a mut BytesMut,
}

impl ClientLink<'_> {
    fn put_authentication(&mut self, code: u32, write: impl FnOnce(&mut BytesMut)) {
        put_frame(self.out, b'R', |out| {
            out.put_u32(code);
            write(out);
        });
    }

    /// Sends what is waiting and reads the password message that answers it.
    async fn ask(&mut self) -> Result<BytesMut, AuthError> {
        self.flush().await?;
        let LoginFrame { kind, body } = read_frame(self.stream, MAX_PACKET_BYTES).await?;
        match kind {
            b'p' => Ok(body),
            _ => Err(violation("expected a password message").into()),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(self.out).await?;
            self.stream.flush().await?;
            self.out.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_secrets_match_postgresql() {
        let digits = md5_hex(&[b"password", b"md5_user"]);
        let expected = postgres_protocol::password::md5(b"password", "md5_user");
        assert_eq!(format!("md5{}", *digits), expected);
        let salted = md5_hex(&[digits.as_bytes(), &[0x2a, 0x3d, 0x8f, 0xe0]]);
        assert_eq!(*salted, "62af4dd09bbb41884907a838a3233294");
    }

    #[test]
    fn salts_are_constant_per_name() {
        assert_eq!(salt_of("ann"), salt_of("ann"));
        assert_ne!(salt_of("ann"), salt_of("bob"));
        assert_eq!(salt_of("ann").len(), SALT_BYTES);
    }

    #[test]
    fn malformed_secrets_name_the_user() {
        let secret = |text: &str| Password(Zeroizing::new(text.to_owned()));
        for bad in
            [Secret::Scram(secret("x")), Secret::Md5(secret("md5zz")), Secret::Md5(secret(""))]
        {
            let user = User {
                name: "ann".into(),
                secret: Some(bad),
                server_user: "ann".into(),
                server_password: None,
                max_clients: 1,
                pool_size: None,
                max_user_connections: usize::MAX,
                fetched: false,
            };
            let error =
                Accounts::new(&[Arc::new(user)], None, Arc::default(), 1).err().expect("refused");
            assert!(error.contains("\"ann\""), "{error}");
        }
    }

    #[test]
    fn initial_responses_state_their_length() {
        assert_eq!(initial_response(b"M\0\0\0\0\x02ab"), Some((&b"M"[..], &b"ab"[..])));
        for bad in
            [&b""[..], b"M", b"M\0", b"M\0\0\0\0", b"M\0\0\0\0\x01ab", b"M\0\xff\xff\xff\xff"]
        {
            assert_eq!(initial_response(bad), None, "{bad:?}");
        }
    }
}
