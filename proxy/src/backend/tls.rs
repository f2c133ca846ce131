//! Owns TLS towards servers: libpq's `sslmode` in terms of rustls, the SSLRequest, and the trust
//! put in certificates.

use crate::backend::error::ConnectError;
use crate::config::model::{ServerTls, ServerTlsMode};
use crate::wire::protocol::{SSL_REQUEST_CODE, put_packet};
use crate::wire::stream::{Socket, Stream};
use crate::wire::tls::{TlsConfigError, provider, read_certificates, tls_server_end_point};
use bytes::{BufMut, BytesMut};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

/// What `ServerTls` says, with its files read: cheap to clone.
#[derive(Clone)]
pub struct TlsClient {
    mode: ServerTlsMode,
    /// `None` for `Disable`.
    connector: Option<TlsConnector>,
}

impl TlsClient {
    /// Reads the root certificates and builds what connections need.
    ///
    /// As with libpq, a root certificate file makes `require` and `prefer` check the chain too.
    ///
    /// # Errors
    /// When the root certificates cannot be read.
    pub fn new(tls: &ServerTls) -> Result<Self, TlsConfigError> {
        let verifier = match (tls.mode, &tls.root_cert_file) {
            (ServerTlsMode::Disable, _) => return Ok(Self { mode: tls.mode, connector: None }),
            (ServerTlsMode::Prefer | ServerTlsMode::Require, None) => {
                Arc::new(LenientVerifier { chain: None, provider: provider() })
            }
            (ServerTlsMode::VerifyFull, roots) => chain_verifier(roots.as_deref())?,
            (_, roots) => Arc::new(LenientVerifier {
                chain: Some(chain_verifier(roots.as_deref())?),
                provider: provider(),
            }),
        };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsConfigError(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self { mode: tls.mode, connector: Some(TlsConnector::from(Arc::new(config))) })
    }

    /// Asks for TLS on a fresh TCP connection and shakes hands. Not cancel safe: drop the socket
    /// after cancelling.
    ///
    /// # Errors
    /// When TLS is asked for and cannot be had, or the certificate is not trusted.
    pub(super) async fn negotiate(
        &self,
        mut socket: Socket,
        host: &str,
    ) -> Result<Stream, ConnectError> {
        let Some(connector) = &self.connector else { return Ok(Stream::Plain(socket)) };
        let name = self.server_name(host, &socket)?;
        match request(&mut socket).await.map_err(io_error)? {
            b'S' if socket.has_unread_bytes() => {
                // Whatever came in clear text would be taken for the server's word under TLS
                // (CVE-2021-23222).
                Err(ConnectError::Protocol(
                    "unencrypted bytes after the answer to SSLRequest".into(),
                ))
            }
            b'S' => match connector.connect(name, socket).await {
                Ok(stream) => Ok(Stream::TlsClient(Box::new(stream))),
                Err(error) => Err(handshake_error(error)),
            },
            b'N' if self.mode == ServerTlsMode::Prefer => Ok(Stream::Plain(socket)),
            b'N' => Err(ConnectError::Tls("the server does not offer TLS".into())),
            // An ErrorResponse before encryption could be anybody's, so its text is not shown.
            answer => {
                let text = format!("unexpected answer {answer:#04x} to SSLRequest");
                Err(ConnectError::Protocol(text))
            }
        }
    }

    /// A name that TLS cannot carry is only an obstacle where names are checked.
    fn server_name(
        &self,
        host: &str,
        socket: &Socket,
    ) -> Result<ServerName<'static>, ConnectError> {
        let error = match ServerName::try_from(host.to_owned()) {
            Ok(name) => return Ok(name),
            Err(error) => error,
        };
        match socket {
            Socket::Tcp(tcp) if self.mode != ServerTlsMode::VerifyFull => {
                tcp.peer_addr().map(|peer| peer.ip().into()).map_err(io_error)
            }
            _ => Err(ConnectError::Tls(format!("host name \"{host}\": {error}"))),
        }
    }
}

/// The data of `tls-server-end-point` channel binding, where there is TLS.
pub(crate) fn channel_binding(stream: &Stream) -> Option<Vec<u8>> {
    let Stream::TlsClient(tls) = stream else { return None };
    let (_, connection) = tls.get_ref();
    tls_server_end_point(connection.peer_certificates()?.first()?)
}

async fn request(socket: &mut Socket) -> std::io::Result<u8> {
    let mut packet = BytesMut::new();
    put_packet(&mut packet, |out| out.put_u32(SSL_REQUEST_CODE));
    socket.write_all(&packet).await?;
    socket.read_u8().await
}

fn io_error(source: std::io::Error) -> ConnectError {
    ConnectError::Io { step: "TLS negotiation", source }
}

fn handshake_error(error: std::io::Error) -> ConnectError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => ConnectError::Tls(tls.to_string()),
        None => io_error(error),
    }
}

fn chain_verifier(
    root_cert_file: Option<&Path>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsConfigError> {
    let Some(path) = root_cert_file else {
        let verifier = rustls_platform_verifier::Verifier::new(provider());
        let failed = |error| TlsConfigError(format!("cannot read the system's roots: {error}"));
        return Ok(Arc::new(verifier.map_err(failed)?));
    };
    let failed = |error: String| {
        TlsConfigError(format!("cannot trust the certificates in \"{}\": {error}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    Ok(verifier.build().map_err(|error| failed(error.to_string()))?)
}

/// Trusts any chain (`require`) or checks the chain without the name (`verify-ca`). The signature
/// of the handshake is always checked.
#[derive(Debug)]
struct LenientVerifier {
    chain: Option<Arc<dyn ServerCertVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for LenientVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // The name is looked at last, after chain and dates: only its verdict is passed over.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
