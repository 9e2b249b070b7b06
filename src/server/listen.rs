//! Sockets: which port, and what happens on it until the server stops.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::Answer;
use super::error::ServerError;

/// How many ports are tried, from the one asked for.
const PORTS: u16 = 20;
/// First byte of a TLS connection: the content type of a handshake; no HTTP method begins with it.
const TLS_HANDSHAKE: u8 = 0x16;
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);

/// Bound sockets, all with one port.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
    /// Port.
    pub port: u16,
}

impl Listeners {
    /// An address of this machine at which they are reached.
    pub fn local_address(&self) -> SocketAddr {
        let bound = self.sockets.first().and_then(|socket| socket.local_addr().ok());
        let mut address = bound.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)));
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                Ipv4Addr::LOCALHOST.into()
            } else {
                Ipv6Addr::LOCALHOST.into()
            });
        }
        address
    }

    /// Whether something outside this machine can reach them.
    pub fn is_public(&self) -> bool {
        self.sockets.iter().any(|socket| socket.local_addr().is_ok_and(|address| !address.ip().is_loopback()))
    }
}

/// Binds `host` at `port`, or at the next free one of the 20 from there. Port 0 takes any.
pub async fn bind(host: &str, port: u16) -> Result<Listeners, ServerError> {
    let addresses = resolve(host, port).await?;
    let last = if port == 0 { 0 } else { port.saturating_add(PORTS - 1) };
    for candidate in port..=last {
        match bind_all(&addresses, candidate).await {
            Ok(listeners) => return Ok(listeners),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => {
                return Err(ServerError::Listen { host: host.to_owned(), port: candidate, source });
            }
        }
    }
    Err(ServerError::NoFreePort { host: host.to_owned(), first: port, last })
}

/// `localhost` means both loopback addresses, so that it makes no difference which one a client
/// tries first.
async fn resolve(host: &str, port: u16) -> Result<Vec<IpAddr>, ServerError> {
    if host == "localhost" {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let failed = |source| ServerError::Listen { host: host.to_owned(), port, source };
    let found: Vec<SocketAddr> = lookup_host((bare, port)).await.map_err(failed)?.collect();
    let mut addresses: Vec<IpAddr> = found.into_iter().map(|address| address.ip()).collect();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(addresses)
}

/// The host as a URL has it; an address that means every interface is reached as `localhost`.
pub fn shown_host(host: &str) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare {
        "0.0.0.0" | "::" => "localhost".to_owned(),
        _ if bare.contains(':') => format!("[{bare}]"),
        _ => bare.to_owned(),
    }
}

async fn bind_all(addresses: &[IpAddr], port: u16) -> io::Result<Listeners> {
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut port = port;
    let mut refused = None;
    for address in addresses {
        match TcpListener::bind((*address, port)).await {
            Ok(socket) => {
                port = socket.local_addr()?.port();
                sockets.push(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // A machine without IPv6 refuses one of the two.
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(Listeners { sockets, port }),
    }
}

/// Marks a request that came over TLS.
#[derive(Debug, Clone, Copy)]
pub struct Secure;

/// Serves until `stop` says so, then lets requests in flight end. Returns when the last
/// connection is closed.
pub async fn serve(listeners: Listeners, app: Arc<dyn Answer>, stop: watch::Receiver<bool>) {
    serve_both(listeners, app, None, stop).await;
}

/// Serves like [`serve`], and TLS on the same port: a client's first byte tells which it speaks.
pub async fn serve_both(
    listeners: Listeners,
    app: Arc<dyn Answer>,
    tls: Option<Arc<ServerConfig>>,
    stop: watch::Receiver<bool>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let connections = TaskTracker::new();
    let accepting: Vec<_> = listeners
        .sockets
        .into_iter()
        .map(|socket| {
            let accepting = accept(socket, Arc::clone(&app), tls.clone(), stop.clone(), connections.clone());
            tokio::spawn(accepting)
        })
        .collect();
    for task in accepting {
        // A task that panicked has stopped accepting; the other one may go on.
        let _ = task.await;
    }
    connections.close();
    connections.wait().await;
}

async fn accept(
    socket: TcpListener,
    app: Arc<dyn Answer>,
    tls: Option<TlsAcceptor>,
    mut stop: watch::Receiver<bool>,
    connections: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(welcome(stream, peer, Arc::clone(&app), tls.clone(), stop.clone()));
            }
            // Out of descriptors, or a client that left already: neither ends the server.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Finds out what a client speaks, and converses.
async fn welcome(
    stream: TcpStream,
    peer: SocketAddr,
    app: Arc<dyn Answer>,
    tls: Option<TlsAcceptor>,
    mut stop: watch::Receiver<bool>,
) {
    // Small answers must not wait for more.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return converse(stream, peer, app, false, stop).await };
    let greeting = async {
        let mut first = [0];
        if stream.peek(&mut first).await.ok()? == 0 {
            return None;
        }
        Some(first[0])
    };
    let first = tokio::select! {
        first = timeout(HEAD_TIMEOUT, greeting) => first,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    match first {
        Ok(Some(TLS_HANDSHAKE)) => {
            // A handshake that fails concerns its client alone.
            if let Ok(Ok(stream)) = timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
                converse(stream, peer, app, true, stop).await;
            }
        }
        Ok(Some(_)) => converse(stream, peer, app, false, stop).await,
        Ok(None) | Err(_) => {}
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    app: Arc<dyn Answer>,
    is_secure: bool,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        let app = Arc::clone(&app);
        if is_secure {
            request.extensions_mut().insert(Secure);
        }
        async move { Ok::<_, std::convert::Infallible>(app.answer(request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // For what is forwarded as it came.
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        // A connection that breaks concerns its client alone.
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
