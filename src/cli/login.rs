//! `flash login`.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::{ExitStatus, Printer};
use crate::runpod::client::Client;
use crate::runpod::credentials::{self, ApiKey, Origin};
use crate::runpod::credentials_file::{CredentialsFile, migrate};
use crate::runpod::error::{ErrorKind, RunpodError};
use crate::runpod::login;
use crate::runpod::urls::{self, Urls};

/// Arguments of `flash login`.
#[derive(Debug, clap::Args)]
pub(super) struct LoginArgs {
    /// Do not open a browser; the address is printed in any case.
    #[arg(long)]
    no_open: bool,
    /// Seconds to wait for the approval.
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: f64,
    /// Only say whose API key is in use and where it comes from.
    #[arg(long, conflicts_with_all = ["no_open", "timeout"])]
    status: bool,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && Duration::try_from_secs_f64(seconds).is_ok() => Ok(seconds),
        _ => Err("a number of seconds above 0 is wanted".to_owned()),
    }
}

/// Runs `flash login`.
pub(super) fn login(arguments: &LoginArgs, printer: Printer) -> ExitStatus {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            printer.failure(&error, None);
            return ExitStatus::Failure;
        }
    };
    let done = runtime.block_on(async {
        if arguments.status { status(printer).await } else { log_in(arguments, printer).await }
    });
    match done {
        Ok(()) => ExitStatus::Success,
        Err(error) => {
            printer.failure(&error, error.hint.as_deref());
            ExitStatus::Failure
        }
    }
}

/// Says whose key is in use.
async fn status(printer: Printer) -> Result<(), RunpodError> {
    let key = credentials::require_key()?;
    let origin = key.origin().clone();
    let account = login::account(&Client::new(Urls::from_environment()?, Some(key))?).await?;
    printer.data(&format!("logged in as {account} (key from {origin})"));
    Ok(())
}

async fn log_in(arguments: &LoginArgs, printer: Printer) -> Result<(), RunpodError> {
    let urls = Urls::from_environment()?;
    // A file that cannot take the key is found before anybody is sent to a browser.
    let mut file = CredentialsFile::open()?;
    file.check_writable()?;
    if let Some(old) = migrate(&mut file)? {
        printer.message(&format!(
            "moved the API key from `{}` to `{}`",
            old.display(),
            file.path().display()
        ));
    }
    if let Some((file, names)) = urls::set_by_dotenv() {
        let names = names.join(", ");
        printer.message(&format!("where Runpod is was set by `{}` ({names}): keys go there", file.display()));
    }
    let before = credentials::find_key();
    if let Some(key) = &before {
        tell_of(key, &urls, printer).await;
    }
    let client = Client::new(urls.clone(), None)?;
    let request = login::request(&client).await?;
    printer.message("authorize flash in your browser:");
    printer.message(&format!("  {}", request.url));
    if !arguments.no_open {
        open(&request.url);
    }
    let key = login::wait(&client, &request, Duration::from_secs_f64(arguments.timeout)).await?;
    file.save(&key)?;
    // Saved already: a check that fails must not look like a login that failed.
    let account = login::account(&Client::new(urls, Some(key))?).await.ok();
    let who = account.map(|account| format!(" as {account}")).unwrap_or_default();
    printer.message(&format!("logged in{who}; credentials saved to {}", file.path().display()));
    if let Some(key) = before
        && matches!(key.origin(), Origin::Environment | Origin::DotEnv(_))
    {
        printer.hint(&format!("{} goes before the saved key: remove it to use the new one", key.origin()));
    }
    Ok(())
}

/// Says whose key there is already.
async fn tell_of(key: &ApiKey, urls: &Urls, printer: Printer) {
    let Ok(client) = Client::new(urls.clone(), Some(key.clone())) else { return };
    let origin = key.origin();
    match login::account(&client).await {
        Ok(account) => printer.message(&format!("so far logged in as {account} (key from {origin})")),
        Err(error) if error.kind == ErrorKind::Authentication => {
            printer.message(&format!("Runpod does not take the present key (from {origin})"));
        }
        // The login itself will say what is wrong.
        Err(_) => {}
    }
}

/// Opens a page, where there is a browser; nobody waits for it.
fn open(url: &str) {
    let (program, arguments): (&str, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("rundll32", &["url.dll,FileProtocolHandler"])
    } else {
        let has_screen = ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "WSL_DISTRO_NAME"];
        if !has_screen.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
            return;
        }
        ("xdg-open", &[])
    };
    let mut command = Command::new(program);
    command.args(arguments).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Ok(mut child) = command.spawn() {
        std::thread::spawn(move || child.wait());
    }
}
