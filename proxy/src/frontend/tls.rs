//! Owns TLS towards clients: certificate and key of a listener, and the handshake, asked for by
//! SSLRequest or begun at once ("direct", PostgreSQL 17).

use crate::config::model::{ClientAuthority, ListenerTls};
use crate::wire::stream::{Socket, Stream};
use crate::wire::tls::{TlsConfigError, provider, read_certificates, tls_server_end_point};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// First byte of a TLS connection; no PostgreSQL packet can begin with it.
pub(super) const TLS_HANDSHAKE_BYTE: u8 = 0x16;
/// Who checks clients' certificates: signatures, dates, and what they may be used for.
fn client_verifier(
    authority: &ClientAuthority,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsConfigError> {
    let unusable = |error: &dyn std::fmt::Display| {
        TlsConfigError(format!("\"{}\": {error}", authority.ca_file.display()))
    };
    let mut roots = RootCertStore::empty();
    for root in read_certificates(&authority.ca_file)? {
        roots.add(root).map_err(|error| unusable(&error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = if authority.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| unusable(&error))
}

const ALPN: &[u8] = b"postgresql";

/// What one listener needs for TLS.
pub(super) struct TlsServer {
    acceptor: TlsAcceptor,
    /// Data of `tls-server-end-point`; `None` when the certificate allows no channel binding.
    pub(super) channel_binding: Option<Vec<u8>>,
    /// Refuse clients without TLS.
    pub(super) required: bool,
}

impl TlsServer {
    /// Reads certificate and key.
    pub(super) fn new(tls: &ListenerTls) -> Result<Self, TlsConfigError> {
        let chain = read_certificates(&tls.cert_file)?;
        let channel_binding = chain.first().and_then(|leaf| tls_server_end_point(leaf));
        let key_file = tls.key_file.display();
        let key = PrivateKeyDer::from_pem_file(&tls.key_file).map_err(|error| {
            TlsConfigError(format!("cannot read a private key from \"{key_file}\": {error}"))
        })?;
        let unusable = |error: rustls::Error| {
            let cert_file = tls.cert_file.display();
            TlsConfigError(format!("\"{cert_file}\" with \"{key_file}\": {error}"))
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match &tls.client_authority {
            Some(authority) => builder.with_client_cert_verifier(client_verifier(authority)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // No resumption, as in PostgreSQL: connections live long, tickets would only cost memory.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, channel_binding, required: tls.required })
    }

    /// Shakes hands. Not cancel safe: the socket is lost with the future.
    pub(super) async fn accept(&self, socket: Socket, direct: bool) -> io::Result<Stream> {
        let stream = self.acceptor.accept(socket).await?;
        // Without ALPN, bytes meant for another protocol could be led here.
        if direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            let text = "direct TLS connection without the ALPN protocol \"postgresql\"";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Stream::TlsServer(Box::new(stream)))
    }
}
