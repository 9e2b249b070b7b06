//! The ways in besides plain HTTP: TLS on the same port, and the CONNECT proxy.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use tempfile::TempDir;
use tokio::sync::watch;

use super::running::Running;
use crate::requirements::HostPython;
use crate::server::ServerError;
use crate::server::connect::ConnectProxy;
use crate::server::listen::{self, Listeners};
use crate::server::tls::{Tls, TrustFiles};

/// Hosts of Runpod's that requests may name, beside this machine's.
pub(super) const RUNPOD_HOSTS: [&str; 3] = [".runpod.ai", ".runpod.io", ".runpod.net"];

/// TLS and the proxy of one server.
pub(super) struct Front {
    tls: Tls,
    proxy: Listeners,
    target: std::net::SocketAddr,
    /// Holds the files where there is no state folder.
    folder: Option<TempDir>,
}

impl Front {
    /// Makes the certificates, in the state folder if there is one, and binds the proxy, on
    /// loopback: next to the server's own port, or anywhere where `port` (that was asked for) is 0.
    pub(super) async fn open(
        state: Option<&Path>,
        host: &HostPython,
        listeners: &Listeners,
        port: u16,
    ) -> Result<Self, ServerError> {
        let temporary = match state {
            Some(_) => None,
            None => Some(temporary_folder()?),
        };
        let folder = match (state, &temporary) {
            (Some(state), _) => state.join("tls"),
            (None, Some(temporary)) => temporary.path().to_path_buf(),
            (None, None) => {
                return Err(certificate_error(&std::env::temp_dir(), std::io::ErrorKind::NotFound.into()));
            }
        };
        let folder = std::path::absolute(&folder).map_err(|error| certificate_error(&folder, error))?;
        let certifi: Vec<PathBuf> =
            host.runtime_paths.iter().map(|path| path.join("certifi").join("cacert.pem")).collect();
        let tls = Tls::open(&folder, &certifi)?;
        let port = if port == 0 { 0 } else { listeners.port.saturating_add(1) };
        let proxy = listen::bind("127.0.0.1", port).await?;
        Ok(Self { tls, proxy, target: listeners.local_address(), folder: temporary })
    }

    /// How to accept TLS.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls.config)
    }

    /// Says where the proxy and the files are.
    pub(super) fn describe(&self, running: &mut Running) {
        let TrustFiles { authority, bundle } = self.tls.trust.clone();
        running.proxy = Some(format!("http://127.0.0.1:{}", self.proxy.port));
        running.authority = Some(authority);
        running.bundle = Some(bundle);
    }

    /// Serves the proxy until `stop` says so. Returns the folder of the files where it is a
    /// temporary one: it is removed when that is dropped.
    pub(super) fn serve(self, stop: watch::Receiver<bool>) -> Option<TempDir> {
        let app = Arc::new(ConnectProxy::new(self.target, self.proxy.port));
        tokio::spawn(listen::serve(self.proxy, app, stop));
        self.folder
    }
}

fn temporary_folder() -> Result<TempDir, ServerError> {
    let made = tempfile::Builder::new().prefix("flash-tls-").tempdir();
    made.map_err(|error| certificate_error(&std::env::temp_dir(), error))
}

fn certificate_error(path: &Path, source: std::io::Error) -> ServerError {
    ServerError::Certificate { path: path.to_path_buf(), source }
}
