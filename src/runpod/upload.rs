//! Uploads an artifact to the address that Runpod gave for it (`wire.md` 5.7). The address is a
//! secret: it is in no error.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Url};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::time::sleep;

use super::client::Client;
use super::error::{ErrorKind, RunpodError};
use super::urls::is_loopback;

/// Is told how many more bytes were read for the upload.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// Largest artifact, as of 1.21.
const LARGEST: u64 = 1500 << 20;
/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;
const ATTEMPTS: u32 = 3;
/// How long an attempt may take, and the slowest line that it is meant for, in bytes per second.
const LONGEST: Duration = Duration::from_mins(10);
const SLOWEST: u64 = 256 << 10;

/// Returns the size of a file that can be an artifact.
pub(super) fn check(artifact: &Path) -> Result<u64, RunpodError> {
    let shown = artifact.display();
    let refuse = |what: String| RunpodError::new(ErrorKind::InvalidRequest, what);
    let meta =
        std::fs::metadata(artifact).map_err(|error| refuse(format!("cannot read `{shown}`: {error}")))?;
    if !meta.is_file() {
        return Err(refuse(format!("`{shown}` is not a file")));
    }
    let name = artifact.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if ![".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end)) {
        return Err(refuse(format!("`{shown}` is no artifact: its name must end in .tar.gz or .tgz")));
    }
    if meta.len() > LARGEST {
        let (size, most) = (meta.len() >> 20, LARGEST >> 20);
        return Err(refuse(format!("`{shown}` has {size} MB; an artifact has at most {most} MB"))
            .with_hint("leave files out with .flashignore, and large packages with --exclude"));
    }
    let mut magic = [0; 2];
    let read = std::fs::File::open(artifact).and_then(|mut file| io::Read::read_exact(&mut file, &mut magic));
    if read.is_err() || magic != [0x1f, 0x8b] {
        return Err(refuse(format!("`{shown}` is not a gzip file")));
    }
    Ok(meta.len())
}

/// Sends a file to an address, again where the connection broke or the store failed.
pub(super) async fn put(
    client: &Client,
    address: &str,
    artifact: &Path,
    size: u64,
    progress: Option<Progress>,
) -> Result<(), RunpodError> {
    let what = format!("upload `{}`", artifact.display());
    let fail = |kind, reason: String| RunpodError::new(kind, format!("cannot {what}: {reason}"));
    let url = Url::parse(address)
        .map_err(|_| fail(ErrorKind::Malformed, "Runpod gave an address that is no URL".to_owned()))?;
    if url.scheme() != "https" && !is_loopback(&url) {
        return Err(fail(ErrorKind::Malformed, "Runpod gave an address without encryption".to_owned()));
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    let told = Arc::new(AtomicU64::new(0));
    let mut attempt = 0;
    loop {
        attempt += 1;
        let file = File::open(artifact)
            .await
            .map_err(|error| fail(ErrorKind::InvalidRequest, format!("it cannot be read: {error}")))?;
        let body = body(file, progress.clone(), Arc::clone(&told));
        let request = client
            .http(&url)?
            .put(url.clone())
            .header(CONTENT_TYPE, "application/gzip")
            .header(CONTENT_LENGTH, size)
            .timeout(LONGEST + Duration::from_secs(size / SLOWEST))
            .body(body);
        let error = match request.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                // Stores ask to come back by 408 and 429 as well.
                let is_busy = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
                let kind = if is_busy { ErrorKind::Unavailable } else { ErrorKind::InvalidRequest };
                let mut error = fail(kind, format!("{host} answered {}", status.as_u16()));
                error.exchange.status = Some(status.as_u16());
                if status.as_u16() == 403 {
                    error = error.with_hint("the address that Runpod gave may have expired: try again");
                }
                error
            }
            Err(error) => fail(ErrorKind::Connection, reason(error, &host)),
        };
        if attempt == ATTEMPTS || !matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Connection) {
            return Err(error);
        }
        let pause = 8 * client.shared.timing.backoff * 2_u32.pow(attempt - 1);
        sleep(pause.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
    }
}

fn reason(error: reqwest::Error, host: &str) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_connect() {
        format!("{host} cannot be reached: {cause}")
    } else {
        format!("the connection to {host} broke: {cause}")
    }
}

/// A file as a body; what was sent before by an earlier attempt is not told twice.
fn body(file: File, progress: Option<Progress>, told: Arc<AtomicU64>) -> Body {
    let pieces = stream::try_unfold((file, 0), move |(mut file, sent)| {
        let (progress, told) = (progress.clone(), Arc::clone(&told));
        async move {
            let mut piece = vec![0; PIECE];
            let count = file.read(&mut piece).await?;
            if count == 0 {
                return Ok::<_, io::Error>(None);
            }
            piece.truncate(count);
            let sent = sent + count as u64;
            let before = told.fetch_max(sent, Ordering::Relaxed);
            if let Some(progress) = progress.filter(|_| sent > before) {
                progress(sent - before);
            }
            Ok(Some((Bytes::from(piece), (file, sent))))
        }
    });
    Body::wrap_stream(pieces)
}
