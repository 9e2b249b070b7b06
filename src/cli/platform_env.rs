//! `flash platform env`.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{ExitStatus, Printer};
use crate::platform::client_env::client_variables;
use crate::platform::running::Running;

/// Arguments of `flash platform env`.
#[derive(Debug, clap::Args)]
pub(super) struct EnvArgs {
    /// Address of the platform; needed where several run.
    #[arg(long, env = "FLASH_PLATFORM_URL", hide_env_values = true)]
    url: Option<String>,
    /// Token to call with; the platform's own when it is not given.
    #[arg(long, env = "FLASH_PLATFORM_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How to write the variables.
    #[arg(long, value_enum, default_value_t = Shell::Sh)]
    shell: Shell,
}

/// How variables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    /// `export NAME='value'`, for `eval "$(flash platform env)"`.
    Sh,
    /// `set -gx NAME 'value'`, for `flash platform env --shell fish | source`.
    Fish,
    /// One object.
    Json,
}

/// Runs `flash platform env`: prints the variables that point official clients at a platform.
pub(super) fn env(arguments: EnvArgs, printer: Printer) -> ExitStatus {
    match choose(Running::list(), arguments.url, arguments.token) {
        Ok(running) => {
            printer.data(&written(&client_variables(&running), arguments.shell));
            ExitStatus::Success
        }
        Err(refusal) => refusal.print(printer),
    }
}

/// Why there is nothing to print.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    text: String,
    hint: String,
}

impl Refusal {
    /// Tells it.
    pub(super) fn print(&self, printer: Printer) -> ExitStatus {
        printer.error(&self.text);
        printer.hint(&self.hint);
        ExitStatus::Failure
    }
}

fn refuse(text: impl Into<String>, hint: impl Into<String>) -> Refusal {
    Refusal { text: text.into(), hint: hint.into() }
}

/// Finds the platform that is meant.
pub(super) fn choose(
    found: Vec<Running>,
    url: Option<String>,
    token: Option<String>,
) -> Result<Running, Refusal> {
    let given = |value: Option<String>| value.filter(|value| !value.trim().is_empty());
    let (url, token) = (given(url), given(token));
    let mut running = if let Some(url) = url {
        let known = found.into_iter().find(|running| running.is_at(&url));
        match (known, &token) {
            (Some(known), _) => known,
            (None, Some(token)) => Running::here(url, token.clone()),
            (None, None) => {
                let text = format!("no platform of yours runs at `{url}`");
                return Err(refuse(text, "give its token with `--token` if it is another user's"));
            }
        }
    } else {
        let urls: Vec<String> = found.iter().map(|running| format!("`--url {}`", running.url)).collect();
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(only), None) => only,
            (None, _) => return Err(refuse("no platform runs here", "start one with `flash platform`")),
            (Some(_), Some(_)) => {
                let hint = format!("choose one: {}", urls.join(", "));
                return Err(refuse("several platforms run here", hint));
            }
        }
    };
    if let Some(token) = token {
        running.token = token;
    }
    Ok(running)
}

fn written(variables: &[(&'static str, String)], shell: Shell) -> String {
    if shell == Shell::Json {
        let object: Map<String, Value> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
        return Value::Object(object).to_string();
    }
    let mut text = String::new();
    for (name, value) in variables {
        let _ = match shell {
            Shell::Fish => {
                let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
                writeln!(text, "set -gx {name} '{quoted}'")
            }
            _ => writeln!(text, "export {name}='{}'", value.replace('\'', "'\\''")),
        };
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(port: u16) -> Running {
        Running::here(format!("http://localhost:{port}"), format!("token-{port}"))
    }

    fn chosen(found: &[u16], url: Option<&str>, token: Option<&str>) -> Result<(String, String), String> {
        let found = found.iter().map(|port| running(*port)).collect();
        choose(found, url.map(str::to_owned), token.map(str::to_owned))
            .map(|running| (running.url, running.token))
            .map_err(|refusal| refusal.hint)
    }

    #[test]
    fn platform_is_the_only_one_or_the_one_at_the_url() {
        let one = Ok(("http://localhost:1".to_owned(), "token-1".to_owned()));
        assert_eq!(chosen(&[1], None, None), one);
        assert_eq!(chosen(&[1, 2], Some("http://127.0.0.1:1/"), None), one);
        let own = Ok(("http://localhost:1".to_owned(), "mine".to_owned()));
        assert_eq!(chosen(&[1], None, Some("mine")), own);
        let far = Ok(("http://box:9".to_owned(), "mine".to_owned()));
        assert_eq!(chosen(&[1], Some("http://box:9"), Some("mine")), far);
    }

    #[test]
    fn platform_that_is_not_known_or_not_the_only_one_is_asked_for() {
        assert!(chosen(&[], None, None).unwrap_err().contains("flash platform"));
        assert!(chosen(&[1], Some("http://box:9"), None).unwrap_err().contains("--token"));
        let several = chosen(&[1, 2, 3], None, None).unwrap_err();
        for port in 1..=3 {
            assert!(several.contains(&format!("--url http://localhost:{port}")), "{several}");
        }
    }

    #[test]
    fn values_are_quoted_for_each_shell() {
        let variables = [("NAME", "it's \\ $HOME".to_owned())];
        assert_eq!(written(&variables, Shell::Sh), "export NAME='it'\\''s \\ $HOME'");
        assert_eq!(written(&variables, Shell::Fish), "set -gx NAME 'it\\'s \\\\ $HOME'");
        assert_eq!(written(&variables, Shell::Json), r#"{"NAME":"it's \\ $HOME"}"#);
    }
}
