//! Owns a certificate authority of the test's own, as files.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};

/// A root and a server certificate for `localhost`, and another root that signed nothing.
pub(crate) struct Certificates {
    pub(crate) root: PathBuf,
    pub(crate) other_root: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// Writes them into `directory`.
    pub(crate) fn new(directory: &Path) -> Self {
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).expect("write");
            path
        };
        let (root_pem, issuer) = authority();
        let (other_pem, _) = authority();
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("params");
        // OpenSSL takes a certificate with its issuer's name for a self-signed one.
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let cert = params.signed_by(&key, &issuer).expect("certificate");
        Self {
            root: write("root.crt", root_pem),
            other_root: write("other.crt", other_pem),
            cert: write("server.crt", cert.pem()),
            key: write("server.key", key.serialize_pem()),
        }
    }
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("key");
    let pem = params.self_signed(&key).expect("root").pem();
    (pem, Issuer::new(params, key))
}

/// A fresh directory that only this test uses; removed when dropped.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("pgm-login-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&path).expect("create");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
