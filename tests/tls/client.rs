//! A client of TLS and HTTP/2, in a runtime of its own.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response};
use h2::client::SendRequest;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use super::authority::Pair;

/// How long anything may take.
pub const BOUND: Duration = Duration::from_secs(30);

/// Runs a scenario to its end, within the bound.
pub fn run<T>(scenario: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(2 * BOUND, scenario).await.expect("it ends in time") })
}

/// The settings of a client that trusts a CA, with a certificate of its own or without.
pub fn trusting(ca: &str, own: Option<&Pair>) -> TlsConfig {
    let cert = |pem: &str| Certificate::from_pem(pem.as_bytes()).expect("a certificate");
    let own = own.map(|pair| {
        ClientCert::new_with_certs(&[cert(&pair.cert)], PrivateKey::from_pem(pair.key.as_bytes()).expect("a key"))
    });
    TlsConfig::builder().root_certs(RootCerts::from([cert(ca)])).client_cert(own).build()
}

/// A TLS connection that offers these protocols.
///
/// # Errors
/// What the handshake came to. Under TLS 1.3 a refusal of the client comes with the first read.
pub async fn connect(
    address: &str,
    ca: &str,
    own: Option<&Pair>,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("a certificate")).expect("a CA");
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let builder = builder.with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("a certificate");
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(vec![cert], key).expect("they fit")
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").expect("a name"), stream).await
}

/// An HTTP/2 client on a connection, which is driven in the background.
pub async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> SendRequest<Bytes> {
    with(h2::client::Builder::new(), stream).await
}

/// As [`http2`], with settings of its own.
pub async fn with<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    settings: h2::client::Builder,
    stream: S,
) -> SendRequest<Bytes> {
    let (client, connection) = settings.handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move {
        // Ends with an error where the host cuts it off; requests say so themselves.
        let _ = connection.await;
    });
    client
}

/// A request of a decision.
pub fn decision() -> Request<()> {
    Request::post("https://localhost/v1/decisions")
        .header("content-type", "application/json")
        .body(())
        .expect("a request")
}

/// Posts a decision, and reads its answer.
///
/// # Errors
/// Why there is none.
pub async fn decide(client: &SendRequest<Bytes>, borrower: &str) -> Result<(u16, String), h2::Error> {
    let mut client = client.clone().ready().await?;
    let (answer, mut body) = client.send_request(decision(), false)?;
    body.send_data(super::outreach(borrower).to_string().into(), true)?;
    read(answer.await?).await
}

/// The status and the body of an answer.
///
/// # Errors
/// Why it did not arrive whole.
pub async fn read(answer: Response<h2::RecvStream>) -> Result<(u16, String), h2::Error> {
    let (head, mut body) = answer.into_parts();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok((head.status.as_u16(), String::from_utf8(all).expect("UTF-8")))
}
