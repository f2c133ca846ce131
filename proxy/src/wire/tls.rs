//! Owns what both sides need of TLS: reading PEM files, the cryptography provider, and
//! `tls-server-end-point` channel binding (RFC 5929, section 4.1), the hash of the server's
//! certificate that both ends mix into SCRAM. Whom to trust is decided elsewhere.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::path::Path;
use std::sync::Arc;

/// A TLS setting that cannot be used; the text names the file or host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsConfigError(pub String);

/// The cryptography behind all TLS here.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// All certificates of a PEM file, in order.
///
/// # Errors
/// When the file cannot be read, is damaged or holds no certificate.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let failed = |reason: String| {
        TlsConfigError(format!("cannot read certificates from \"{}\": {reason}", path.display()))
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(error.to_string()))?;
    match certificates.is_empty() {
        true => Err(failed("the file holds no certificate".into())),
        false => Ok(certificates),
    }
}

const DER_SEQUENCE: u8 = 0x30;
const DER_OID: u8 = 0x06;

/// The binding data of `certificate` (DER); `None` when its signature algorithm names no hash
/// (Ed25519) or one that is not known here: then there is no channel binding.
#[must_use]
pub fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    match signature_oid(certificate)? {
        // 1.2.840.113549.1.1.{4, 5, 11}: RSA with MD5, SHA-1 and SHA-256; the RFC has the first
        // two replaced by SHA-256. 1.2.840.10045.4.{1, 3.2}: ECDSA with SHA-1 and SHA-256.
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04"
        | b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"
        | b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"
        | b"\x2a\x86\x48\xce\x3d\x04\x01"
        | b"\x2a\x86\x48\xce\x3d\x04\x03\x02" => Some(Sha256::digest(certificate).to_vec()),
        // RSA and ECDSA with SHA-384.
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c" | b"\x2a\x86\x48\xce\x3d\x04\x03\x03" => {
            Some(Sha384::digest(certificate).to_vec())
        }
        // RSA and ECDSA with SHA-512.
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d" | b"\x2a\x86\x48\xce\x3d\x04\x03\x04" => {
            Some(Sha512::digest(certificate).to_vec())
        }
        _ => None,
    }
}

/// Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID, … }, … }
fn signature_oid(certificate: &[u8]) -> Option<&[u8]> {
    let (mut fields, _) = der_value(certificate, DER_SEQUENCE)?;
    (_, fields) = der_value(fields, DER_SEQUENCE)?;
    let (algorithm, _) = der_value(fields, DER_SEQUENCE)?;
    let (oid, _) = der_value(algorithm, DER_OID)?;
    Some(oid)
}

const DER_SET: u8 = 0x31;
const DER_VERSION: u8 = 0xa0;
const DER_INTEGER: u8 = 0x02;
const DER_UTF8_STRING: u8 = 0x0c;
const DER_PRINTABLE_STRING: u8 = 0x13;
const DER_IA5_STRING: u8 = 0x16;
/// 2.5.4.3
const OID_COMMON_NAME: &[u8] = b"\x55\x04\x03";

/// The common name in the subject of `certificate` (DER). `None` when there is none, more than
/// one, or one that is not plain text: such a name must not be taken for anybody's.
#[must_use]
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let (mut fields, _) = der_value(certificate, DER_SEQUENCE)?;
    (fields, _) = der_value(fields, DER_SEQUENCE)?;
    // version [0], serialNumber, signature, issuer, validity, subject
    if let Some((_, rest)) = der_value(fields, DER_VERSION) {
        fields = rest;
    }
    for tag in [DER_INTEGER, DER_SEQUENCE, DER_SEQUENCE, DER_SEQUENCE] {
        (_, fields) = der_value(fields, tag)?;
    }
    let (mut names, _) = der_value(fields, DER_SEQUENCE)?;
    let mut found = None;
    while !names.is_empty() {
        let mut set;
        (set, names) = der_value(names, DER_SET)?;
        while !set.is_empty() {
            let attribute;
            (attribute, set) = der_value(set, DER_SEQUENCE)?;
            let (oid, value) = der_value(attribute, DER_OID)?;
            if oid == OID_COMMON_NAME && found.replace(plain_text(value)?).is_some() {
                return None;
            }
        }
    }
    found
}

/// A string whose bytes are UTF-8.
fn plain_text(value: &[u8]) -> Option<String> {
    let kinds = [DER_UTF8_STRING, DER_PRINTABLE_STRING, DER_IA5_STRING];
    let (text, _) = kinds.into_iter().find_map(|kind| der_value(value, kind))?;
    let text = std::str::from_utf8(text).ok()?;
    (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
}

/// The content of the value of type `tag` at the front of `bytes`, and what follows it.
fn der_value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, bytes) = bytes.split_first()?;
    let (&first, bytes) = bytes.split_first()?;
    if found != tag {
        return None;
    }
    if first < 0x80 {
        return bytes.split_at_checked(usize::from(first));
    }
    let (length, bytes) = bytes.split_at_checked(usize::from(first & 0x7f))?;
    if length.is_empty() || length.len() > 4 {
        return None;
    }
    let length = length.iter().fold(0_usize, |sum, &byte| sum << 8 | usize::from(byte));
    bytes.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).expect("key");
        let params = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("params");
        params.self_signed(&key).expect("certificate").der().to_vec()
    }

    #[test]
    fn hash_follows_the_signature_algorithm() {
        let p256 = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(tls_server_end_point(&p256), Some(Sha256::digest(&p256).to_vec()));
        let p384 = certificate(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(tls_server_end_point(&p384), Some(Sha384::digest(&p384).to_vec()));
        assert_eq!(tls_server_end_point(&certificate(&rcgen::PKCS_ED25519)), None);
    }

    #[test]
    fn the_common_name_is_read_or_nothing() {
        let named = |names: &[&str]| {
            let mut params = rcgen::CertificateParams::new(vec!["san".into()]).expect("params");
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CountryName, "XX");
            for name in names {
                params.distinguished_name.push(rcgen::DnType::CommonName, *name);
            }
            let key = rcgen::KeyPair::generate().expect("key");
            params.self_signed(&key).expect("certificate").der().to_vec()
        };
        let whole = named(&["ann"]);
        assert_eq!(common_name(&whole).as_deref(), Some("ann"));
        assert_eq!(common_name(&named(&[])), None);
        assert_eq!(common_name(&named(&["a\0b"])), None);
        for length in 0..whole.len() {
            assert_eq!(common_name(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn cut_certificates_have_no_binding() {
        let whole = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        for length in 0..whole.len() {
            assert_eq!(tls_server_end_point(&whole[..length]), None, "{length}");
        }
        assert_eq!(tls_server_end_point(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
