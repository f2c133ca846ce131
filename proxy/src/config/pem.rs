//! Owns the check of PEM files at configuration time, so that a wrong one is found by `check` and
//! not by the first client. The TLS code reads the files again when it needs them.

use super::resolve::Reader;
use super::secrets::warn_when_public;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::Path;

/// A listener's certificate and key: both readable, and made for each other.
pub(crate) fn check_pair(reader: &Reader<'_>, cert_file: &Path, key_file: &Path) {
    let chain = certificates(reader, "tls_cert_file", cert_file);
    let key = PrivateKeyDer::from_pem_file(key_file);
    warn_when_public(reader, "tls_key_file", key_file);
    if let Err(error) = &key {
        let message = format!("{}: {}", key_file.display(), describe(error));
        reader.error("tls_key_file", message, "a PEM file with a private key, without passphrase");
    }
    let (Some(chain), Ok(key)) = (chain, key) else { return };
    if let Err(error) = CertifiedKey::from_der(chain, key, &ring::default_provider()) {
        let message = format!("{}: {error}", key_file.display());
        reader.error("tls_key_file", message, "the key must belong to the first certificate");
    }
}

/// Roots to check servers against.
pub(crate) fn check_roots(reader: &Reader<'_>, file: &Path) {
    check_authorities(reader, "tls_root_cert_file", file);
}

/// Authorities to check certificates against, in the file under `key`.
pub(crate) fn check_authorities(reader: &Reader<'_>, key: &str, file: &Path) {
    let Some(chain) = certificates(reader, key, file) else { return };
    for certificate in chain {
        if let Err(error) = RootCertStore::empty().add(certificate) {
            let message = format!("{}: {error}", file.display());
            reader.error(key, message, "a PEM file of X.509 certificates");
        }
    }
}

fn certificates(
    reader: &Reader<'_>,
    key: &str,
    file: &Path,
) -> Option<Vec<CertificateDer<'static>>> {
    let help = "a PEM file with at least one certificate";
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(chain) if !chain.is_empty() => Some(chain),
        Ok(_) => {
            reader.error(key, format!("{}: no certificate in it", file.display()), help);
            None
        }
        Err(error) => {
            reader.error(key, format!("{}: {}", file.display(), describe(&error)), help);
            None
        }
    }
}

fn describe(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "no such item in it".into(),
        other => format!("not valid PEM: {other}"),
    }
}
