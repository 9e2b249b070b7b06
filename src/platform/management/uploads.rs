//! Artifacts of builds: uploaded to, and fetched from, signed addresses.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use futures_util::stream;
use http_body_util::BodyExt;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Management;
use super::error::ManagementError;
use super::model::Build;
use super::problem::{Problem, method_not_allowed};
use super::serve::hex;
use crate::server::guard::same;

/// How long an address works, in milliseconds.
pub(super) const ADDRESS_LIFE: u64 = 60 * 60 * 1000;
/// Bytes that are read of a file at a time.
const PIECE: usize = 256 << 10;

/// What an address is signed for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Upload,
    Download,
}

/// Builds the router of `/_platform/artifacts`.
pub(super) fn router() -> Router<Arc<Management>> {
    Router::new()
        .route("/_platform/artifacts/{build}", put(upload).fallback(method_not_allowed))
        .route("/_platform/artifacts/{build}/content", get(download).fallback(method_not_allowed))
}

impl Build {
    /// An address that works until `expires` (milliseconds since the Unix epoch).
    pub(super) fn address(&self, base: &str, purpose: Purpose, expires: u64) -> String {
        let end = match purpose {
            Purpose::Upload => "",
            Purpose::Download => "/content",
        };
        let signature = self.signature(purpose, expires);
        format!("{base}/_platform/artifacts/{}{end}?expires={expires}&signature={signature}", self.id)
    }

    fn signature(&self, purpose: Purpose, expires: u64) -> String {
        // The secret on both sides: nothing can be appended to a known signature.
        hex(&Sha256::digest(format!("{0}:{purpose:?}:{1}:{expires}:{0}", self.secret, self.id)))
    }
}

#[derive(Deserialize)]
struct Signed {
    expires: u64,
    signature: String,
}

impl Management {
    /// The build that an address was signed for.
    fn signed(&self, id: &str, purpose: Purpose, signed: &Signed) -> Result<Build, ManagementError> {
        let state = self.state();
        let build = state.builds.get(id).filter(|build| {
            signed.expires > self.now() && same(&signed.signature, &build.signature(purpose, signed.expires))
        });
        let unknown =
            || ManagementError::NotFound { what: "address, or an address that has not expired,".to_owned() };
        build.map(|build| Build::clone(build)).ok_or_else(unknown)
    }
}

async fn upload(
    Shared(management): Shared<Arc<Management>>,
    Path(id): Path<String>,
    Query(signed): Query<Signed>,
    body: Body,
) -> Result<Response, Problem> {
    let build = management.signed(&id, Purpose::Upload, &signed)?;
    if build.manifest.is_some() {
        return Err(
            ManagementError::Conflict("the build is finished: it cannot be changed".to_owned()).into()
        );
    }
    let target = management.artifact(&build);
    let failed = |action| move |source| ManagementError::File { action, source };
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).await.map_err(failed("make the folder of builds"))?;
    }
    let part = Part(target.with_extension(format!("{}.part", super::model::new_id(8))));
    let sha256 = receive(body, &part.0, build.announced).await?;
    fs::rename(&part.0, &target).await.map_err(failed("store the artifact"))?;
    management.change(|state| state.uploaded(&build.account, &build.id, sha256)).await?;
    Ok(StatusCode::OK.into_response())
}

/// A file that is being written: removed unless it was renamed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes a body of exactly `announced` bytes to a file, and returns its hash.
async fn receive(mut body: Body, path: &std::path::Path, announced: u64) -> Result<String, ManagementError> {
    let failed = |source| ManagementError::File { action: "write the artifact", source };
    let mut file = File::create(path).await.map_err(failed)?;
    let mut hash = Sha256::new();
    let mut seen = 0;
    let wrong = || {
        ManagementError::Invalid(format!("the artifact must have the {announced} bytes that were announced"))
    };
    while let Some(frame) = body.frame().await {
        let broken = |_| ManagementError::Invalid("the upload was broken off".to_owned());
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        seen += data.len() as u64;
        if seen > announced {
            return Err(wrong());
        }
        hash.update(&data);
        file.write_all(&data).await.map_err(failed)?;
    }
    if seen != announced {
        return Err(wrong());
    }
    file.sync_all().await.map_err(failed)?;
    Ok(hex(&hash.finalize()))
}

async fn download(
    Shared(management): Shared<Arc<Management>>,
    Path(id): Path<String>,
    Query(signed): Query<Signed>,
) -> Result<Response, Problem> {
    let build = management.signed(&id, Purpose::Download, &signed)?;
    let failed = |source| ManagementError::File { action: "read the artifact", source };
    let file = File::open(management.artifact(&build)).await.map_err(failed)?;
    let length = file.metadata().await.map_err(failed)?.len();
    let pieces = stream::unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some((Ok(Bytes::from(piece)), file))
            }
            Err(error) => Some((Err(error), file)),
        }
    });
    let headers =
        [(header::CONTENT_TYPE, "application/gzip".to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
