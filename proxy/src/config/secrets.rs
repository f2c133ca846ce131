//! Owns the reading of `[[user]]` and of every secret: inline, from the environment, from a file.
//! No message made here may contain a secret.

use super::document::full_name;
use super::model::{General, Password, Secret, User};
use super::resolve::Reader;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Largest secret file, in bytes.
const MAX_SECRET_BYTES: u64 = 4096;

/// One `[[user]]`.
pub(crate) fn user(reader: &Reader<'_>, general: &General) -> User {
    let name = reader.name("name").unwrap_or_default();
    let given = |key: &&str| reader.given(key).is_some();
    let all = ["password", "password_env", "password_file", "secret", "secret_env", "secret_file"];
    let keys: Vec<&str> = all.into_iter().filter(given).collect();
    if let [first, second, ..] = keys.as_slice() {
        let message = format!("`{first}` and `{second}` are both given");
        reader.error(second, message, "give exactly one of them");
    }
    let password = one_of(reader, "password");
    let stored = one_of(reader, "secret").and_then(|text| stored(reader, text));
    let server_password = one_of_checked(reader, "server_password").or_else(|| password.clone());
    User {
        server_user: reader.name("server_user").unwrap_or_else(|| name.clone()),
        name,
        secret: password.map(Secret::Password).or(stored),
        server_password,
        max_clients: reader.optional_count("max_clients").unwrap_or(general.max_clients),
        pool_size: reader.optional_count("pool_size"),
        max_user_connections: reader.optional_count("max_user_connections").unwrap_or(usize::MAX),
        fetched: false,
    }
}

/// The clear-text password under `key`, `key_env` or `key_file`.
pub(crate) fn password(reader: &Reader<'_>, key: &str) -> Option<Password> {
    one_of_checked(reader, key)
}

fn one_of_checked(reader: &Reader<'_>, key: &str) -> Option<Password> {
    let (env, file) = (format!("{key}_env"), format!("{key}_file"));
    let given = [key, &env, &file].into_iter().filter(|key| reader.given(key).is_some());
    if let [first, second, ..] = given.collect::<Vec<_>>().as_slice() {
        let message = format!("`{first}` and `{second}` are both given");
        reader.error(second, message, "give exactly one of them");
    }
    one_of(reader, key)
}

fn one_of(reader: &Reader<'_>, key: &str) -> Option<Password> {
    if let Some(text) = reader.text(key) {
        return Some(Password(Zeroizing::new(text)));
    }
    from_environment(reader, &format!("{key}_env"))
        .or_else(|| from_file(reader, &format!("{key}_file")))
}

fn from_environment(reader: &Reader<'_>, key: &str) -> Option<Password> {
    let name = reader.text(key)?;
    match (reader.context.environment)(&name).map(Zeroizing::new) {
        Some(value) if value.is_empty() => {
            reader.error(key, format!("environment variable {name} is empty"), "set it");
            None
        }
        Some(value) => Some(Password(value)),
        None => {
            let message = format!("environment variable {name} is not set, or is not UTF-8");
            reader.error(key, message, "set it before pgmanifold starts");
            None
        }
    }
}

fn from_file(reader: &Reader<'_>, key: &str) -> Option<Password> {
    let path = reader.file(key)?;
    match read_secret(&path) {
        Ok(text) => {
            warn_when_public(reader, key, &path);
            Some(Password(text))
        }
        Err(problem) => {
            let help = "the file holds the secret and nothing else";
            reader.error(key, format!("{}: {problem}", path.display()), help);
            None
        }
    }
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_SECRET_BYTES {
        return Err(format!("larger than {MAX_SECRET_BYTES} bytes"));
    }
    let trimmed = text.strip_suffix('\n').unwrap_or(&text);
    let trimmed = trimmed.strip_suffix('\r').unwrap_or(trimmed);
    if trimmed.is_empty() {
        return Err("the file is empty".into());
    }
    if trimmed.contains('\0') {
        return Err("the file contains a NUL byte".into());
    }
    Ok(Zeroizing::new(trimmed.to_owned()))
}

/// Warns when everybody on the machine may read `path`.
pub(crate) fn warn_when_public(reader: &Reader<'_>, key: &str, path: &Path) {
    let mode = std::fs::metadata(path).map(|meta| meta.permissions().mode()).unwrap_or(0);
    if mode & 0o004 != 0 {
        let message = format!("{} can be read by every user of this machine", path.display());
        reader.warning(key, message, format!("chmod o-r {}", path.display()));
    }
}

/// A stored secret in one of PostgreSQL's two forms.
fn stored(reader: &Reader<'_>, secret: Password) -> Option<Secret> {
    if is_md5(&secret.0) {
        return Some(Secret::Md5(secret));
    }
    if is_scram(&secret.0) {
        return Some(Secret::Scram(secret));
    }
    let key = ["secret", "secret_env", "secret_file"]
        .into_iter()
        .find(|key| reader.given(key).is_some())
        .unwrap_or("secret");
    let help = "take it from pg_authid.rolpassword: SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:\
                <ServerKey>, or md5 and 32 hex digits; a clear password belongs into `password`";
    let name = full_name(reader.table.section, key);
    let message = "not a stored secret";
    reader.context.problems.error(reader.span(key), name, message, help);
    None
}

fn is_md5(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("md5").is_some_and(|rest| rest.len() == 32 && rest.bytes().all(hex))
}

fn is_scram(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("SCRAM-SHA-256$") else { return false };
    let Some((head, keys)) = rest.split_once('$') else { return false };
    let (Some((iterations, salt)), Some((stored, server))) =
        (head.split_once(':'), keys.split_once(':'))
    else {
        return false;
    };
    let base64 = |text: &str| {
        let digits = text.trim_end_matches('=');
        let digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
        !digits.is_empty()
            && text.len().is_multiple_of(4)
            && text.len() - digits.len() <= 2
            && digits.bytes().all(digit)
    };
    let key = |text: &str| text.len() == 44 && base64(text);
    let iterations = iterations.parse::<u32>().is_ok_and(|count| count > 0);
    iterations && base64(salt) && key(stored) && key(server)
}
