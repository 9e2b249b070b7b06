//! Where a call goes, decided from one table.

/// Where the code that makes a call runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// A script, a notebook, a test.
    Script,
    /// `flash run`.
    DevServer,
    /// A worker, calling its own endpoint.
    OwnWorker,
    /// A worker, calling another endpoint.
    OtherWorker,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// This machine.
    Local,
    /// Runpod.
    Runpod,
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callee {
    /// A queue-based function or class.
    Queue,
    /// A route handler of a load-balanced endpoint.
    Route,
}

/// Where a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The plain function, here.
    InPlace,
    /// A worker process of that endpoint on this machine.
    LocalWorker,
    /// That endpoint's queue, through the worker's parent.
    ParentQueue,
    /// The deployed app, addressed by app, environment and endpoint name.
    Deployed,
    /// An endpoint made for this run, with the source shipped.
    Live,
}

/// Returns where a call goes. `is_live` is `FLASH_IS_LIVE_PROVISIONING=true`.
pub fn decide(context: Context, target: Target, callee: Callee, is_live: bool) -> Destination {
    match (context, target, callee) {
        (Context::OwnWorker, _, _) | (Context::Script | Context::OtherWorker, _, Callee::Route) => {
            Destination::InPlace
        }
        (Context::OtherWorker, _, Callee::Queue) => Destination::ParentQueue,
        (Context::Script, Target::Local, Callee::Queue) | (Context::DevServer, Target::Local, _) => {
            Destination::LocalWorker
        }
        (Context::Script, Target::Runpod, Callee::Queue) if !is_live => Destination::Deployed,
        (Context::Script | Context::DevServer, Target::Runpod, _) => Destination::Live,
    }
}

/// Why `FLASH_TARGET` cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither `local` nor `runpod`.
    #[error("FLASH_TARGET must be `local` or `runpod`, got `{value}`")]
    Unknown {
        /// The variable's value.
        value: String,
    },
    /// Asked for, but this release cannot call Runpod.
    #[error("FLASH_TARGET=runpod: this release cannot call Runpod yet")]
    NotYet,
}

impl TargetError {
    /// Returns what to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unknown { .. } | Self::NotYet => {
                "set FLASH_TARGET=local, or leave it unset, to run on this machine"
            }
        }
    }
}

/// Reads `FLASH_TARGET`: unset or empty is [`Target::Local`] until calls can go to Runpod.
///
/// # Errors
/// For a value that is unknown, or cannot be followed.
pub fn parse_target(variable: Option<&str>) -> Result<Target, TargetError> {
    match variable.map(str::trim).unwrap_or_default().to_lowercase().as_str() {
        "" | "local" => Ok(Target::Local),
        "runpod" => Err(TargetError::NotYet),
        other => Err(TargetError::Unknown { value: other.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Context::Script, Target::Local, Callee::Queue, false, Destination::LocalWorker)]
    #[case(Context::Script, Target::Local, Callee::Route, false, Destination::InPlace)]
    #[case(Context::Script, Target::Runpod, Callee::Queue, false, Destination::Deployed)]
    #[case(Context::Script, Target::Runpod, Callee::Queue, true, Destination::Live)]
    #[case(Context::Script, Target::Runpod, Callee::Route, false, Destination::InPlace)]
    #[case(Context::DevServer, Target::Local, Callee::Route, false, Destination::LocalWorker)]
    #[case(Context::DevServer, Target::Runpod, Callee::Queue, false, Destination::Live)]
    #[case(Context::DevServer, Target::Runpod, Callee::Route, false, Destination::Live)]
    #[case(Context::OwnWorker, Target::Runpod, Callee::Queue, true, Destination::InPlace)]
    #[case(Context::OtherWorker, Target::Local, Callee::Queue, false, Destination::ParentQueue)]
    #[case(Context::OtherWorker, Target::Local, Callee::Route, false, Destination::InPlace)]
    fn call_goes_where_the_table_says(
        #[case] context: Context,
        #[case] target: Target,
        #[case] callee: Callee,
        #[case] is_live: bool,
        #[case] expected: Destination,
    ) {
        assert_eq!(decide(context, target, callee, is_live), expected);
    }

    #[rstest]
    #[case(None, Ok(Target::Local))]
    #[case(Some(" Local "), Ok(Target::Local))]
    #[case(Some("runpod"), Err(TargetError::NotYet))]
    #[case(Some("moon"), Err(TargetError::Unknown { value: "moon".to_owned() }))]
    fn target_is_read_from_the_variable(
        #[case] variable: Option<&str>,
        #[case] expected: Result<Target, TargetError>,
    ) {
        assert_eq!(parse_target(variable), expected);
    }
}
