//! The HTTP client of a process: one pool of connections for all calls.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Method, RequestBuilder, Url};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::credentials::ApiKey;
use super::dial::OneByOne;
use super::error::{ErrorKind, RunpodError};
use super::job::EndpointRef;
use super::retry::Timing;
use super::urls::{Urls, is_loopback};
use super::watched::Watched;

/// How long it may take to reach Runpod.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection is kept without use: shorter than servers do, since one that the server
/// closes just when a request is sent leaves open whether the job was accepted.
const IDLE: Duration = Duration::from_secs(30);
/// When an HTTP/2 connection is asked whether it lives, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(20);
/// Bytes of an HTTP/2 answer that may come before they are read.
const STREAM_WINDOW: u32 = 4 << 20;
/// Variables by which other Python clients are told of certificates.
const BUNDLES: [&str; 2] = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
/// How many endpoints are remembered before idle ones are forgotten.
const ENDPOINTS: usize = 256;
/// Requests that are held open until a job ends: an HTTP/2 connection carries about a hundred
/// requests at once, and what waits must leave room for what is sent.
const HELD: usize = 64;
/// Other requests at once.
const BRIEF: usize = 32;

/// A client of Runpod's APIs; clones share its connections and what they wait for.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) urls: Arc<Urls>,
    pub(super) key: Option<ApiKey>,
    pub(super) shared: Arc<Shared>,
}

/// What all clones share.
pub(super) struct Shared {
    pub(super) timing: Timing,
    /// Whether endpoints are on this machine.
    pub(super) is_here: bool,
    /// Who holds one keeps a request open until a job ends.
    pub(super) held: Arc<Semaphore>,
    /// Who holds one sends a request that is answered at once.
    pub(super) brief: Semaphore,
    /// Told when the process ends.
    pub(super) ending: CancellationToken,
    /// Jobs that go with their calls: whoever holds one of these sees to that.
    pub(super) care: TaskTracker,
    pools: [OnceLock<reqwest::Client>; 3],
    watched: Mutex<HashMap<EndpointRef, Arc<Watched>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// How a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// This machine, in plain HTTP: no proxy, and no certificates to load.
    Plain = 0,
    /// This machine, by TLS: no proxy.
    Local = 1,
    /// Elsewhere: proxies and certificates as the environment says.
    Remote = 2,
}

impl Client {
    /// Makes a client; connections and certificates come with the first request.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where the key would go over plain HTTP to another machine.
    pub fn new(urls: Urls, key: Option<ApiKey>) -> Result<Self, RunpodError> {
        Self::with_timing(urls, key, Timing::default())
    }

    /// Makes a client that waits as told.
    pub(super) fn with_timing(urls: Urls, key: Option<ApiKey>, timing: Timing) -> Result<Self, RunpodError> {
        let endpoints = parse(&urls.endpoints)?;
        let shared = Shared {
            timing,
            is_here: is_loopback(&endpoints),
            held: Arc::new(Semaphore::new(HELD)),
            brief: Semaphore::new(BRIEF),
            ending: CancellationToken::new(),
            care: TaskTracker::new(),
            pools: Default::default(),
            watched: Mutex::default(),
        };
        let client = Self { urls: Arc::new(urls), key, shared: Arc::new(shared) };
        if let Some(key) = &client.key {
            key.check()?;
        }
        for url in [endpoints, parse(&client.urls.api)?] {
            client.check_key(&url)?;
        }
        Ok(client)
    }

    /// Returns where the APIs are.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Starts a request with the key, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where `url` is none, or may not get the key.
    pub(super) fn prepare(&self, method: Method, url: &str) -> Result<RequestBuilder, RunpodError> {
        let url = parse(url)?;
        self.check_key(&url)?;
        let request = self.http(&url)?.request(method, url);
        Ok(match &self.key {
            Some(key) => request.bearer_auth(key.reveal()),
            None => request,
        })
    }

    /// Starts a request without the key.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where `url` is none.
    pub(super) fn unsigned(&self, method: Method, url: &str) -> Result<RequestBuilder, RunpodError> {
        let url = parse(url)?;
        Ok(self.http(&url)?.request(method, url))
    }

    /// Returns the pool of connections for a URL. It follows no redirects: they would carry source
    /// and arguments elsewhere.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where certificates or proxies of the environment cannot be used.
    pub(super) fn http(&self, url: &Url) -> Result<&reqwest::Client, RunpodError> {
        let way = match (is_loopback(url), url.scheme()) {
            (true, "http") => Way::Plain,
            (true, _) => Way::Local,
            (false, _) => Way::Remote,
        };
        let slot = &self.shared.pools[way as usize];
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = build(way)?;
        Ok(slot.get_or_init(|| client))
    }

    /// Reaches this machine by TLS through a pool of a test.
    #[cfg(test)]
    pub(super) fn use_pool(&self, pool: reqwest::Client) {
        self.shared.pools[Way::Local as usize].set(pool).expect("none yet");
    }

    /// Returns what is waited for at an endpoint.
    pub(super) fn watched(&self, endpoint: &EndpointRef) -> Arc<Watched> {
        let mut all = self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = all.get(endpoint) {
            return Arc::clone(watched);
        }
        if all.len() >= ENDPOINTS {
            // A process may call endpoints that come and go.
            all.retain(|_, watched| Arc::strong_count(watched) > 1 || !watched.is_idle());
        }
        let watched = Arc::new(Watched::default());
        all.insert(endpoint.clone(), Arc::clone(&watched));
        watched
    }

    fn check_key(&self, url: &Url) -> Result<(), RunpodError> {
        if self.key.is_none() || url.scheme() == "https" || is_loopback(url) {
            return Ok(());
        }
        let host = url.host_str().unwrap_or_default();
        Err(RunpodError::new(
            ErrorKind::Configuration,
            format!(
                "the API key is not sent over plain http to `{host}`: everybody on the way could read it"
            ),
        )
        .with_hint(
            "use an https URL in RUNPOD_ENDPOINT_BASE_URL and RUNPOD_API_BASE_URL; http is for this machine",
        ))
    }
}

fn parse(url: &str) -> Result<Url, RunpodError> {
    Url::parse(url)
        .map_err(|error| RunpodError::new(ErrorKind::Configuration, format!("`{url}` is not a URL: {error}")))
}

/// Begins a pool of connections. Clients are told of its HTTP version by the server, over TLS.
pub(super) fn pool() -> reqwest::ClientBuilder {
    // Fails where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(user_agent())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tcp_keepalive(IDLE)
        // All calls share one HTTP/2 connection: one that died without a word is found out.
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PONG)
        // An answer that is read slowly does not stop the others.
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(4 * STREAM_WINDOW)
}

fn build(way: Way) -> Result<reqwest::Client, RunpodError> {
    let mut builder = pool();
    if way != Way::Remote {
        builder = builder.no_proxy().dns_resolver(Loopback);
    }
    builder = if way == Way::Plain {
        let roots = rustls::RootCertStore::empty();
        builder.tls_backend_preconfigured(
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth(),
        )
    } else {
        builder.connector_layer(OneByOne::default()).tls_certs_merge(further_roots()?)
    };
    builder.build().map_err(|error| {
        let text = format!("no secure connections can be made: {}", super::refusal::root_cause(&error));
        RunpodError::new(ErrorKind::Configuration, with_trust(text)).with_hint(
            "SSL_CERT_FILE and SSL_CERT_DIR say where certificates are; HTTPS_PROXY and NO_PROXY name proxies",
        )
    })
}

/// Returns the certificates that other Python clients are told of: they are trusted beside the
/// system's, unless `SSL_CERT_FILE` or `SSL_CERT_DIR` says what is.
fn further_roots() -> Result<Vec<reqwest::Certificate>, RunpodError> {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let named = BUNDLES.iter().find_map(|name| {
        let file = std::env::var_os(name).filter(|file| !file.is_empty())?;
        Some((name, std::path::PathBuf::from(file)))
    });
    let Some((name, file)) = named.filter(|_| !is_set("SSL_CERT_FILE") && !is_set("SSL_CERT_DIR")) else {
        return Ok(Vec::new());
    };
    let wrong = |why: String| {
        RunpodError::new(ErrorKind::Configuration, format!("{name}={} cannot be used: {why}", file.display()))
            .with_hint("it is a file of certificates (PEM); SSL_CERT_DIR names a folder of them")
    };
    let text = std::fs::read(&file).map_err(|error| wrong(error.to_string()))?;
    let found = reqwest::Certificate::from_pem_bundle(&text).map_err(|_| wrong("it is no PEM".to_owned()))?;
    if found.is_empty() { Err(wrong("it has no certificate".to_owned())) } else { Ok(found) }
}

/// Adds what the environment says of certificates.
fn with_trust(mut text: String) -> String {
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(value) = std::env::var_os(name) {
            // A text takes everything.
            _ = write!(text, "; {name} is `{}`", value.display());
        }
    }
    text
}

/// Names of this machine, without asking anybody: those below `localhost` are in no DNS.
struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _name: Name) -> Resolving {
        let addresses =
            [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))];
        Box::pin(std::future::ready(Ok(Box::new(addresses.into_iter()) as Addrs)))
    }
}

static RUNTIME: OnceLock<String> = OnceLock::new();

/// Says what runs this, for the `User-Agent` of clients made from now on: `Python 3.12.4`. The first
/// one counts.
pub fn set_runtime(text: impl Into<String>) {
    let _ = RUNTIME.set(text.into());
}

/// Returns the `User-Agent` of all our requests, in the official client's form.
pub fn user_agent() -> String {
    let system = rustix::system::uname();
    let runtime = RUNTIME.get().map(|text| format!("{text}; ")).unwrap_or_default();
    let via =
        if std::env::var("CLAUDECODE").is_ok_and(|value| value == "1") { " (via claude-code)" } else { "" };
    let text = format!(
        "Runpod Flash/{} ({runtime}{} {}; {}){via}",
        env!("CARGO_PKG_VERSION"),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        system.machine().to_string_lossy(),
    );
    text.chars().filter(|letter| (' '..='~').contains(letter)).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn client(endpoints: &str) -> Result<Client, RunpodError> {
        let urls = Urls {
            api: "https://api.runpod.io".to_owned(),
            endpoints: endpoints.to_owned(),
            console: String::new(),
            logs: String::new(),
        };
        Client::new(urls, ApiKey::new("rpa_SECRET"))
    }

    #[rstest]
    #[case("https://api.runpod.ai/v2", true)]
    #[case("http://127.0.0.1:8890/v2", true)]
    #[case("http://[::1]:8890/v2", true)]
    #[case("http://api.localhost:8890/v2", true)]
    #[case("http://localhost.example.com/v2", false)]
    #[case("http://10.0.0.1/v2", false)]
    fn key_goes_over_https_or_to_this_machine(#[case] url: &str, #[case] is_sent: bool) {
        let made = client(url);
        assert_eq!(made.is_ok(), is_sent, "{made:?}");
        if let Err(error) = made {
            assert_eq!(error.kind, ErrorKind::Configuration);
            assert!(error.hint.is_some() && !format!("{error:?}").contains("SECRET"));
        }
    }

    #[test]
    fn user_agent_has_the_official_form() {
        let text = user_agent();
        assert!(text.starts_with(concat!("Runpod Flash/", env!("CARGO_PKG_VERSION"), " (")), "{text}");
    }
}
