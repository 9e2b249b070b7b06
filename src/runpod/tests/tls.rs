//! A server that speaks TLS, and HTTP/2 where it offers that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::server::client_at;
use crate::runpod::client::{Client, pool};
use crate::runpod::dial::OneByOne;

/// What a server counts and remembers.
#[derive(Default)]
pub(super) struct Log {
    connections: AtomicUsize,
    /// Path below the endpoint and HTTP version of each request.
    requests: Mutex<Vec<(String, Version)>>,
    reset: AtomicUsize,
    came: Notify,
}

impl Log {
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<(String, Version)> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count(&self, kind: &str) -> usize {
        self.requests().iter().filter(|(path, _)| path.split(['/', '?']).next() == Some(kind)).count()
    }

    /// Takes note of a request whose head is not read.
    pub(super) fn note(&self, kind: &str) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push((kind.to_owned(), Version::HTTP_2));
        drop(requests);
        self.came.notify_waiters();
    }

    /// Waits until something holds that only requests change.
    pub(super) async fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let came = self.came.notified();
            if holds(self) {
                return;
            }
            came.await;
        }
    }

    /// How many requests the client gave up while they were served.
    pub(super) fn reset(&self) -> usize {
        self.reset.load(Ordering::SeqCst)
    }
}

/// A TLS server of this machine; it ends when this is dropped.
pub(super) struct TlsServer {
    pub(super) log: Arc<Log>,
    address: String,
    certificate: Vec<u8>,
    task: AbortHandle,
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers a request: path below the endpoint, body.
pub(super) type Script = dyn Fn(String, Bytes) -> BoxFuture<'static, Bytes> + Send + Sync;

impl TlsServer {
    /// Starts a server that offers these protocols.
    pub(super) async fn start(
        protocols: &[&str],
        script: impl Fn(String, Bytes) -> BoxFuture<'static, Bytes> + Send + Sync + 'static,
    ) -> Self {
        let script: Arc<Script> = Arc::new(script);
        Self::start_raw(protocols, move |stream, log| serve(stream, log, Arc::clone(&script))).await
    }

    /// Starts a server whose connections are served as told.
    pub(super) async fn start_raw<F>(
        protocols: &[&str],
        serve: impl Fn(TlsStream<TcpStream>, Arc<Log>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a configuration");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let log = Arc::new(Log::default());
        let shared = Arc::clone(&log);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self {
            log,
            address: format!("https://localhost:{port}"),
            certificate: made.cert.der().to_vec(),
            task: task.abort_handle(),
        }
    }

    /// Returns a client that trusts this server.
    pub(super) fn client(&self) -> Client {
        let certificate = reqwest::Certificate::from_der(&self.certificate).expect("a certificate");
        let pool = pool()
            .no_proxy()
            .connector_layer(OneByOne::default())
            .tls_certs_only([certificate])
            .build()
            .expect("a pool");
        let client = client_at(&self.address);
        client.use_pool(pool);
        client
    }
}

/// Takes note of a request that is given up.
struct Served {
    log: Arc<Log>,
    is_done: bool,
}

impl Drop for Served {
    fn drop(&mut self) {
        if !self.is_done {
            self.log.reset.fetch_add(1, Ordering::SeqCst);
            self.log.came.notify_waiters();
        }
    }
}

async fn serve(stream: TlsStream<TcpStream>, log: Arc<Log>, script: Arc<Script>) {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request: Request<Incoming>| {
        let (log, script) = (Arc::clone(&log), Arc::clone(&script));
        async move {
            let path = request.uri().path_and_query().map_or("", |path| path.as_str());
            let path = path.strip_prefix("/v2/ep/").unwrap_or(path).to_owned();
            let version = request.version();
            let mut served = Served { log: Arc::clone(&log), is_done: false };
            log.requests.lock().unwrap_or_else(PoisonError::into_inner).push((path.clone(), version));
            log.came.notify_waiters();
            let body = request.into_body().collect().await?.to_bytes();
            let answer = script(path, body).await;
            served.is_done = true;
            Ok::<_, hyper::Error>(Response::new(Full::new(answer)))
        }
    });
    let io = TokioIo::new(stream);
    if is_h2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(100)
            .serve_connection(io, service)
            .await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
}
