//! Owns throw-away certificates: an authority, and certificates of servers signed by it.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Who signs certificates.
#[derive(Debug)]
pub struct Authority {
    /// Its own certificate.
    pub root: PathBuf,
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one, whose certificate is `NAME.crt` in `directory`.
    ///
    /// # Panics
    /// When the directory cannot be written.
    pub fn create(directory: &Path, name: &str) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        // OpenSSL takes a certificate whose subject is its issuer for a self-signed one.
        params.distinguished_name.push(DnType::CommonName, format!("authority {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("the authority");
        let root = write(directory, &format!("{name}.crt"), &root.pem());
        let issuer = Issuer::new(params, key);
        Authority { root, directory: directory.to_owned(), issuer }
    }

    /// Files of a certificate for somebody called `common_name`, usable by servers at 127.0.0.1
    /// and by clients: `FILE.crt` and `FILE.key`.
    ///
    /// # Panics
    /// When the directory cannot be written.
    pub fn issue(&self, file: &str, common_name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let cert = write(&self.directory, &format!("{file}.crt"), &cert.pem());
        (cert, write(&self.directory, &format!("{file}.key"), &key.serialize_pem()))
    }
}

/// Files of a certificate for 127.0.0.1 and localhost, with the authority that signed it.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate.
    pub root: PathBuf,
    /// The server's certificate.
    pub cert: PathBuf,
    /// The server's key, readable by the owner only.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in `directory`, owned by the directory's owner.
    ///
    /// # Panics
    /// When the directory cannot be written.
    pub fn create(directory: &Path) -> Certificates {
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        // OpenSSL takes a certificate whose subject is its issuer for a self-signed one.
        authority.distinguished_name.push(DnType::CommonName, "authority of a test");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).expect("the authority");
        let issuer = Issuer::new(authority, authority_key);

        let key = KeyPair::generate().expect("a key");
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let cert = params.signed_by(&key, &issuer).expect("a certificate");

        Certificates {
            root: write(directory, "root.crt", &root.pem()),
            cert: write(directory, "server.crt", &cert.pem()),
            key: write(directory, "server.key", &key.serialize_pem()),
        }
    }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("a file");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, mode).expect("permissions");
    let owner = std::fs::metadata(directory).expect("the directory");
    std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).expect("owner");
    path
}
