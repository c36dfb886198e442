//! TLS from files that are read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::TlsFiles;

/// Bytes of a file of certificates.
const MAX: u64 = 1 << 20;

/// Why certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; check that it exists and that you may read it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// What a file holds is of no use.
    #[error("{path}: {why}; give a chain of certificates, the server's own first, and its key, both in PEM")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Certificate and key that are shown to whoever connects.
pub(super) struct Tls {
    files: TlsFiles,
    shown: Arc<Shown>,
    acceptor: TlsAcceptor,
}

#[derive(Debug)]
struct Shown(RwLock<(Vec<u8>, Arc<CertifiedKey>)>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).1))
    }
}

impl Tls {
    pub(super) fn open(files: &TlsFiles) -> Result<Self, TlsError> {
        let bytes = read_both(files)?;
        let key = certified(files, &bytes)?;
        let shown = Arc::new(Shown(RwLock::new((bytes.concat(), key))));
        let unusable = |e: rustls::Error| TlsError::Unusable { path: files.cert_file.clone(), why: e.to_string() };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Tls { files: files.clone(), shown, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Reads the files again; the old ones stay where the new ones cannot be used. Whether they changed.
    pub(super) fn renew(&self) -> Result<bool, TlsError> {
        let bytes = read_both(&self.files)?;
        let whole = bytes.concat();
        if self.shown.0.read().unwrap_or_else(PoisonError::into_inner).0 == whole {
            return Ok(false);
        }
        let key = certified(&self.files, &bytes)?;
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = (whole, key);
        Ok(true)
    }

    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> std::io::Result<TlsStream<S>> {
        self.acceptor.accept(stream).await
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read;
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|f| f.take(MAX).read_to_end(&mut bytes)).map_err(unreadable)?;
    Ok(bytes)
}

fn read_both(files: &TlsFiles) -> Result<[Vec<u8>; 2], TlsError> {
    Ok([read(&files.cert_file)?, read(&files.key_file)?])
}

fn certified(files: &TlsFiles, [chain, key]: &[Vec<u8>; 2]) -> Result<Arc<CertifiedKey>, TlsError> {
    let unusable = |path: &Path, why: String| TlsError::Unusable { path: path.to_owned(), why };
    let certs = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| unusable(&files.cert_file, format!("no PEM: {e}")))?;
    if certs.is_empty() {
        return Err(unusable(&files.cert_file, "it holds no certificate".to_owned()));
    }
    // What is wrong with a key is not told in more words: nothing of it should reach a log.
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| unusable(&files.key_file, "it holds no private key in PEM".to_owned()))?;
    let key = ring::sign::any_supported_type(&key)
        .map_err(|_| unusable(&files.key_file, "the key is of a kind that is not supported".to_owned()))?;
    let both = CertifiedKey::new(certs, key);
    both.keys_match().map_err(|_| unusable(&files.key_file, "the key is not that of the certificate".to_owned()))?;
    Ok(Arc::new(both))
}
