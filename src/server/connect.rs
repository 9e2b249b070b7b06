//! A CONNECT proxy on loopback, by which clients reach the local Runpod under its real names.
//!
//! Tunnels to Runpod's domains at port 443, and to names below `localhost`, end at this server;
//! all others go where they are meant to (`platform.md` 6.1), so that a shell with `HTTPS_PROXY`
//! set still installs packages. Bound to loopback, and deaf to web pages: no open relay.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Answer;
use super::answer;
use super::guard::host_name;
use super::tls::is_served_domain;
use crate::wire::BoxFuture;

/// How long another server may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer head of a proxy that we go through.
const HEAD_LIMIT: usize = 16 << 10;

/// The proxy; [`super::listen::serve`] gives it requests.
#[derive(Debug)]
pub struct ConnectProxy {
    /// Where tunnels to the local Runpod end; it takes TLS.
    target: SocketAddr,
    /// The proxy that leads to the rest of the world, if the system has one.
    upstream: Option<Upstream>,
}

impl ConnectProxy {
    /// A proxy whose own tunnels end at `target`; `own_port` is its own, so that it does not take
    /// itself for the way out when a shell already names it.
    pub fn new(target: SocketAddr, own_port: u16) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
        let upstream = names.into_iter().find_map(variable).and_then(|url| Upstream::parse(&url));
        let is_own = |upstream: &Upstream| {
            let loopback = ["localhost", "127.0.0.1", "[::1]"];
            loopback.iter().any(|host| upstream.address == format!("{host}:{own_port}"))
        };
        let no_proxy = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
        let upstream = upstream.filter(|upstream| !is_own(upstream)).map(|upstream| Upstream {
            bypassed: no_proxy
                .split(',')
                .map(|name| name.trim().trim_start_matches('.').to_owned())
                .collect(),
            ..upstream
        });
        Self { target, upstream }
    }

    async fn open(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        if is_ours(host, port) {
            return TcpStream::connect(self.target).await;
        }
        let opening = async {
            match self.upstream.as_ref().filter(|upstream| !upstream.bypasses(host)) {
                Some(upstream) => upstream.open(host, port).await,
                None => TcpStream::connect((host, port)).await,
            }
        };
        timeout(CONNECT_TIMEOUT, opening).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn tunnel(&self, request: Request<Incoming>) -> Response<Body> {
        let (host, port) = match destination(&request) {
            Ok(destination) => destination,
            Err(refusal) => return *refusal,
        };
        let stream = match self.open(&host, port).await {
            Ok(stream) => stream,
            Err(error) => {
                return refusal(StatusCode::BAD_GATEWAY, format!("cannot reach `{host}:{port}`: {error}"));
            }
        };
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            if let Ok(client) = hyper::upgrade::on(request).await {
                let mut stream = stream;
                // An end that breaks is its client's to notice.
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut stream).await;
            }
        });
        Response::new(Body::empty())
    }
}

impl Answer for ConnectProxy {
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move {
            if !peer.ip().is_loopback() {
                return refusal(StatusCode::FORBIDDEN, "only this machine may use this proxy");
            }
            self.tunnel(request).await
        })
    }
}

/// Whether a tunnel to this name ends here.
fn is_ours(host: &str, port: u16) -> bool {
    let is_local = host.ends_with(".localhost");
    is_local || (port == 443 && host != "localhost" && is_served_domain(host))
}

fn destination(request: &Request<Incoming>) -> Result<(String, u16), Box<Response<Body>>> {
    let refused = |status, reason: &str| Err(Box::new(refusal(status, reason)));
    if request.method() != Method::CONNECT {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "this is a proxy for https: it takes CONNECT only");
    }
    let Some(authority) = request.uri().authority() else {
        return refused(StatusCode::BAD_REQUEST, "CONNECT needs `host:port`");
    };
    let Some(port) = authority.port_u16() else {
        return refused(StatusCode::BAD_REQUEST, "CONNECT needs a port");
    };
    let host = host_name(authority.as_str());
    let named = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    if host.is_empty() || named.is_some_and(|named| host_name(named) != host) {
        return refused(StatusCode::BAD_REQUEST, "`Host` names another host than CONNECT");
    }
    if is_of_page(request.headers()) {
        return refused(StatusCode::FORBIDDEN, "web pages may not use this proxy");
    }
    Ok((host, port))
}

fn is_of_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN)
        || headers.contains_key(header::REFERER)
        || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"))
}

fn refusal(status: StatusCode, reason: impl Into<String>) -> Response<Body> {
    answer::json(status, &json!({ "error": reason.into() }))
}

/// Another CONNECT proxy.
#[derive(PartialEq, Eq)]
struct Upstream {
    address: String,
    authorization: Option<String>,
    bypassed: Vec<String>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its credentials stay out.
        formatter.debug_struct("Upstream").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Reads `http://user:password@host:port`; `None` for kinds of proxy that are not CONNECT's.
    fn parse(url: &str) -> Option<Self> {
        let rest = match url.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return None,
            None => url,
        };
        let rest = rest.split('/').next()?;
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, rest),
        };
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { host.to_owned() } else { format!("{host}:80") };
        let authorization = user.map(|user| {
            let plain = urlencoding::decode_binary(user.as_bytes());
            format!("Basic {}", STANDARD.encode(plain))
        });
        (!host.is_empty()).then_some(Self { address, authorization, bypassed: Vec::new() })
    }

    fn bypasses(&self, host: &str) -> bool {
        host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            || self.bypassed.iter().filter(|name| !name.is_empty()).any(|name| {
                name == "*"
                    || host
                        .strip_suffix(name.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })
    }

    async fn open(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let authority =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(authorization) = &self.authorization {
            head.extend(["Proxy-Authorization: ", authorization, "\r\n"]);
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await?;
        // Byte by byte: what follows the head belongs to the tunnel.
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= HEAD_LIMIT {
                return Err(io::Error::other("the system's proxy gives no answer that ends"));
            }
            answer.push(stream.read_u8().await?);
        }
        let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        if status.first() == Some(&b'2') {
            return Ok(stream);
        }
        let status = String::from_utf8_lossy(status).into_owned();
        Err(io::Error::other(format!("the system's proxy refused with status {status}")))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::*;
    use crate::server::listen;

    #[test]
    fn tunnels_to_runpod_end_here_and_others_do_not() {
        for (host, port) in [("api.runpod.ai", 443), ("ep1.api.runpod.ai", 443), ("ep1.localhost", 8890)] {
            assert!(is_ours(host, port), "{host}");
        }
        for (host, port) in
            [("ssh.runpod.io", 22), ("pypi.org", 443), ("localhost", 443), ("evilrunpod.ai", 443)]
        {
            assert!(!is_ours(host, port), "{host}");
        }
    }

    #[test]
    fn system_proxy_is_read_with_its_credentials_and_exceptions() {
        let mut upstream = Upstream::parse("http://me:p%40ss@proxy.corp:3128/").unwrap();
        assert_eq!(upstream.address, "proxy.corp:3128");
        assert_eq!(upstream.authorization.as_deref(), Some("Basic bWU6cEBzcw=="));
        assert!(!format!("{upstream:?}").contains("bWU6"));
        upstream.bypassed = vec!["corp".to_owned()];
        assert!(upstream.bypasses("git.corp") && upstream.bypasses("127.0.0.1"));
        assert!(!upstream.bypasses("notcorp") && !upstream.bypasses("pypi.org"));
        assert_eq!(Upstream::parse("socks5://proxy:1080"), None);
    }

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        });
        address
    }

    async fn start(proxy: ConnectProxy) -> (u16, watch::Sender<bool>) {
        let listeners = listen::bind("127.0.0.1", 0).await.unwrap();
        let port = listeners.port;
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(listen::serve(listeners, Arc::new(proxy), stopping));
        (port, stop)
    }

    /// Sends a head; returns the connection and the answer's head.
    async fn ask(port: u16, head: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        (stream, String::from_utf8(answer).unwrap())
    }

    async fn is_echoed(stream: &mut TcpStream) {
        stream.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello");
    }

    fn proxy(target: SocketAddr, upstream: Option<Upstream>) -> ConnectProxy {
        ConnectProxy { target, upstream }
    }

    #[tokio::test]
    async fn tunnel_to_runpod_reaches_this_server_and_others_their_own() {
        let target = echo().await;
        let other = echo().await;
        let (port, _stop) = start(proxy(target, None)).await;
        let (mut stream, head) =
            ask(port, "CONNECT ep1.api.runpod.ai:443 HTTP/1.1\r\nHost: ep1.api.runpod.ai:443\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        is_echoed(&mut stream).await;
        let (mut stream, head) =
            ask(port, &format!("CONNECT {other} HTTP/1.1\r\nHost: {other}\r\n\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        is_echoed(&mut stream).await;
    }

    #[tokio::test]
    async fn tunnel_to_the_world_goes_through_the_system_proxy() {
        let world = echo().await;
        let (upstream, _stop) = start(proxy(world, None)).await;
        let through = |port: u16| {
            let address = format!("127.0.0.1:{port}");
            Upstream { address, authorization: Some("Basic eA==".to_owned()), bypassed: Vec::new() }
        };
        // The next proxy ends this name itself: no look-up of the name is needed.
        let mut stream = through(upstream).open("x.runpod.ai", 443).await.unwrap();
        is_echoed(&mut stream).await;
        let (port, _stop) = start(proxy(world, Some(through(upstream)))).await;
        let head = "CONNECT nowhere.invalid:1 HTTP/1.1\r\nHost: nowhere.invalid:1\r\n\r\n";
        let (mut stream, answer) = ask(port, head).await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        let mut body = Vec::new();
        while body.last() != Some(&b'}') {
            body.push(stream.read_u8().await.unwrap());
        }
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("refused with status 502"), "{body}");
    }

    #[tokio::test]
    async fn proxy_refuses_pages_other_methods_and_forged_hosts() {
        let target = echo().await;
        let (port, _stop) = start(proxy(target, None)).await;
        let connect = "CONNECT a.localhost:1 HTTP/1.1\r\nHost: a.localhost:1\r\n";
        for (head, status) in [
            (format!("{connect}Origin: https://evil.example\r\n\r\n"), "403"),
            (format!("{connect}Sec-Fetch-Mode: no-cors\r\n\r\n"), "403"),
            ("CONNECT a.localhost:1 HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), "400"),
            ("GET http://a.localhost/ HTTP/1.1\r\nHost: a.localhost\r\n\r\n".to_owned(), "405"),
            ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), "405"),
        ] {
            let (_, answer) = ask(port, &head).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
        }
    }
}
