//! Tells webhooks of jobs that have ended (`platform.md` 1.8): the status object by POST, three
//! times at most, until one is answered with 200.
//!
//! The store holds what is to be delivered, so that a restart forgets none; one that was posted
//! and not yet noted as such is posted again, with the same IDs. Nothing waits for a receiver, and
//! the log names only its host: the rest of a URL may be a secret.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::clock::{Clock, Moment};
use super::shared::Shutdown;
use super::store::{Delivery, JobStore};
use crate::server::guard::is_loopback;

/// How often one is tried.
const ATTEMPTS: u32 = 3;
/// From one attempt to the next.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many are on their way at once.
const MOST_AT_ONCE: usize = 32;
/// How far ahead is looked for the next one.
const HORIZON: Duration = Duration::from_hours(24);
/// When to try again what the store refused.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Delivers until the platform is gone.
pub(super) async fn deliver_all(
    store: Arc<dyn JobStore>,
    clock: Arc<dyn Clock>,
    mut shutdown: watch::Receiver<Shutdown>,
) {
    let mut news = store.delivery_news();
    let mut on_their_way = HashSet::new();
    let mut posts = JoinSet::new();
    let mut clients = None;
    loop {
        news.borrow_and_update();
        let next = start_due(&store, &clock, &mut on_their_way, &mut posts, &mut clients);
        let due = async {
            match next {
                Some(moment) => clock.sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = posts.join_next() => {
                if let Ok(id) = ended {
                    on_their_way.remove(&id);
                }
            }
            changed = news.changed(), if on_their_way.len() < MOST_AT_ONCE => {
                if changed.is_err() {
                    return;
                }
            }
            () = due => {}
            _ = shutdown.wait_for(|phase| *phase == Shutdown::Killing) => return,
        }
    }
}

/// Posts what is due, as far as there is room; returns when to look again.
fn start_due(
    store: &Arc<dyn JobStore>,
    clock: &Arc<dyn Clock>,
    on_their_way: &mut HashSet<String>,
    posts: &mut JoinSet<String>,
    clients: &mut Option<Clients>,
) -> Option<Moment> {
    let now = clock.now();
    // Those on their way are still among the ones that are due.
    let look = |until: Moment| store.deliveries(until, MOST_AT_ONCE);
    let due = match look(now) {
        Ok(due) => due,
        Err(error) => {
            tracing::error!(%error, "webhooks could not be read");
            return Some(now + STORE_PAUSE);
        }
    };
    for delivery in due {
        if on_their_way.len() < MOST_AT_ONCE && on_their_way.insert(delivery.id.clone()) {
            let clients = clients.get_or_insert_with(Clients::new).clone();
            posts.spawn(deliver(Arc::clone(store), Arc::clone(clock), clients, delivery));
        }
    }
    if on_their_way.len() >= MOST_AT_ONCE {
        return None;
    }
    if on_their_way.is_empty() {
        return store.next_delivery();
    }
    let waiting = look(now + HORIZON).unwrap_or_default();
    waiting.iter().find(|delivery| !on_their_way.contains(&delivery.id)).map(|delivery| delivery.due)
}

/// Posts one and notes what came of it; returns its ID.
async fn deliver(
    store: Arc<dyn JobStore>,
    clock: Arc<dyn Clock>,
    clients: Clients,
    delivery: Delivery,
) -> String {
    // The job's end must not be told before it is stored.
    store.settled().await;
    let started = clock.now();
    let outcome = tokio::select! {
        outcome = clients.post(&delivery) => outcome,
        () = clock.sleep_until(started + PATIENCE) => Err("it did not answer in 30 seconds".to_owned()),
    };
    let attempts = delivery.attempts + 1;
    let job = &delivery.job;
    if let Err(reason) = &outcome {
        let host = host_of(&delivery.url);
        tracing::warn!(job, host, attempts, reason, "webhook not delivered");
    }
    loop {
        let noted = match &outcome {
            Err(_) if attempts < ATTEMPTS => {
                let due = (started + PAUSE).max(clock.now());
                store.delivery_failed(&delivery.id, attempts, due)
            }
            _ => store.delivery_done(&delivery.id),
        };
        match noted {
            Ok(()) => return delivery.id,
            Err(error) => {
                tracing::error!(job, %error, "what came of a webhook could not be stored");
                clock.sleep_until(clock.now() + STORE_PAUSE).await;
            }
        }
    }
}

/// HTTP clients: what is on this machine is reached without a proxy.
#[derive(Clone)]
struct Clients {
    direct: Option<Client>,
    proxied: Option<Client>,
}

impl Clients {
    fn new() -> Self {
        // Fails where somebody has chosen one already, which will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .redirect(Policy::none())
                .user_agent(concat!("runpod-flash/", env!("CARGO_PKG_VERSION")))
        };
        let built = |client: reqwest::Result<Client>| {
            client.inspect_err(|error| tracing::error!(%error, "no HTTP client for webhooks")).ok()
        };
        Self { direct: built(builder().no_proxy().build()), proxied: built(builder().build()) }
    }

    async fn post(&self, delivery: &Delivery) -> Result<(), String> {
        let url: Url = delivery.url.parse().map_err(|_| "its URL cannot be understood".to_owned())?;
        let is_here = url.host_str().is_some_and(|host| is_loopback(host.trim_matches(['[', ']'])));
        let client = if is_here { &self.direct } else { &self.proxied };
        let client = client.as_ref().ok_or_else(|| "there is no HTTP client".to_owned())?;
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("x-request-id", &delivery.job)
            .header("idempotency-key", &delivery.id)
            .body(delivery.body.clone());
        match request.send().await {
            Ok(response) if response.status() == StatusCode::OK => Ok(()),
            Ok(response) => Err(format!("it answered {}", response.status().as_u16())),
            Err(error) => Err(format!("{:#}", Chain(&error.without_url()))),
        }
    }
}

/// An error with its causes.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// The host of a URL, for the log.
fn host_of(url: &str) -> String {
    url.parse::<Url>().ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}
