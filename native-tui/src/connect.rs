//! One way to a relay for HTTP and WebSocket alike: TCP with happy eyeballs, and TLS where the URL asks for it.
//!
//! The TLS configuration reads the system's certificates, which takes longer than opening the screen; it is made
//! by the first `https:` or `wss:` URL and not before.

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use http_body_util::LengthLimitError;
use hyper::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower_service::Service;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// A connection to a relay.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    tls: Arc<OnceLock<Result<TlsConnector, String>>>,
}

impl Connector {
    pub(crate) fn new() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self { tcp, tls: Arc::default() }
    }

    /// Connects to the host of an `http:` or `https:` URI.
    pub(crate) async fn open(mut self, uri: Uri) -> Result<Stream, BoxError> {
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tcp = self.tcp.call(uri).await?.into_inner();
        if !secure {
            return Ok(Stream::Plain(tcp));
        }
        let tls = self.tls.get_or_init(|| tls().map_err(|e| format!("TLS is not available: {e}"))).clone()?;
        let stream = tls.connect(host.try_into()?, tcp).await.map_err(in_words)?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

fn tls() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.open(uri).await.map(TokioIo::new) })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What a TLS handshake failed for, in words for who knows nothing of TLS.
fn in_words(error: io::Error) -> BoxError {
    match error.get_ref().and_then(|inner| inner.downcast_ref()).and_then(tls_trouble) {
        Some(text) => text.into(),
        None => error.into(),
    }
}

fn tls_trouble(error: &rustls::Error) -> Option<String> {
    use rustls::{CertificateError as Why, Error as Tls};
    let why = match error {
        Tls::InvalidCertificate(why) => match why {
            Why::Expired | Why::ExpiredContext { .. } => "it has expired, or this device's clock is wrong",
            Why::NotValidYet | Why::NotValidYetContext { .. } => {
                "it is not valid yet, or this device's clock is wrong"
            }
            Why::NotValidForName | Why::NotValidForNameContext { .. } => "it is for another name",
            Why::Revoked => "it was revoked",
            // What else there is is another system's way to say it.
            _ => "nobody whom this system trusts has issued it",
        },
        Tls::InvalidMessage(_) => {
            return Some("it does not speak TLS at that port; is its address http://?".into());
        }
        _ => return None,
    };
    Some(format!("its certificate does not hold here: {why}"))
}

/// The innermost cause of an error, which is the one that helps: what is around it only names layers.
pub(crate) fn reasons(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    loop {
        if cause.downcast_ref().is_some_and(hyper::Error::is_parse) {
            return "it does not speak HTTP at that port; is its address https://?".to_owned();
        }
        let Some(inner) = cause.source() else { break };
        cause = inner;
    }
    if cause.is::<LengthLimitError>() {
        return "its answer is longer than one a Felund relay gives; check the address".to_owned();
    }
    let text = cause.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use felund_core::config::MAX_HTTP_RESPONSE;

    use super::*;

    #[test]
    fn a_certificate_that_does_not_hold_is_said_in_words() {
        use rustls::{CertificateError as Why, Error as Tls};
        for (why, word) in [
            (Why::Expired, "expired"),
            (Why::NotValidForName, "another name"),
            (Why::UnknownIssuer, "trusts"),
            (Why::BadSignature, "trusts"),
        ] {
            let said = reasons(in_words(io::Error::other(Tls::InvalidCertificate(why.clone()))).as_ref());
            assert!(said.contains("its certificate") && said.contains(word), "{why:?}: {said}");
        }
    }

    /// The error of a request to a server that says this.
    async fn asked(scheme: &str, says: Vec<u8>) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("somebody");
            let _ = stream.read(&mut [0; 1_024]).await;
            let _ = stream.write_all(&says).await;
            let _ = stream.read(&mut [0; 1_024]).await;
        });
        let request = felund_core::io::HttpRequest {
            method: "GET",
            url: format!("{scheme}://127.0.0.1:{port}/v1/health"),
            headers: vec![],
            body: vec![],
            within_ms: 10_000,
        };
        let error = crate::net::once(request).await.expect_err("it is no relay");
        served.abort();
        error
    }

    #[tokio::test]
    async fn what_answers_and_is_no_relay_is_called_that() {
        let alert = b"\x15\x03\x01\x00\x02\x02\x46".to_vec();
        let long = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; MAX_HTTP_RESPONSE + 1]].concat();
        for (scheme, says, words) in [
            ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "does not speak TLS"),
            ("http", alert, "does not speak HTTP"),
            ("http", long, "longer than"),
        ] {
            let said = asked(scheme, says).await;
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn the_innermost_cause_is_told() {
        let inner = io::Error::from_raw_os_error(2);
        let outer: BoxError = Box::new(io::Error::other(inner));
        let said = reasons(outer.as_ref());
        assert!(!said.is_empty() && !said.contains("os error"), "{said}");
    }
}
