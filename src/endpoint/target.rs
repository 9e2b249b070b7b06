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
    /// A worker on this machine, calling another endpoint: its parent routes the call.
    OtherWorker,
    /// A worker that nobody on its machine routes calls for (on Runpod), calling another endpoint.
    RemoteWorker,
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
        (Context::OwnWorker, _, _)
        | (Context::Script | Context::OtherWorker | Context::RemoteWorker, _, Callee::Route) => {
            Destination::InPlace
        }
        (Context::OtherWorker, _, Callee::Queue) => Destination::ParentQueue,
        (Context::Script | Context::RemoteWorker, Target::Local, Callee::Queue)
        | (Context::DevServer, Target::Local, _) => Destination::LocalWorker,
        (Context::Script | Context::RemoteWorker, Target::Runpod, Callee::Queue) if !is_live => {
            Destination::Deployed
        }
        (Context::Script | Context::RemoteWorker | Context::DevServer, Target::Runpod, _) => {
            Destination::Live
        }
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
}

impl TargetError {
    /// Returns what to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => {
                "set FLASH_TARGET=local to run on this machine, FLASH_TARGET=runpod to call Runpod, or leave it unset"
            }
        }
    }
}

/// Reads `FLASH_TARGET`; `None` where it is unset or empty.
///
/// # Errors
/// For a value that is unknown.
pub fn parse_target(variable: Option<&str>) -> Result<Option<Target>, TargetError> {
    match variable.map(str::trim).unwrap_or_default().to_lowercase().as_str() {
        "" => Ok(None),
        "local" => Ok(Some(Target::Local)),
        "runpod" => Ok(Some(Target::Runpod)),
        other => Err(TargetError::Unknown { value: other.to_owned() }),
    }
}

/// What a process knows that decides where its calls of queue-based functions go.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "five independent facts")]
pub struct Surroundings {
    /// What `FLASH_TARGET` says.
    pub asked: Option<Target>,
    /// Whether it is a worker of this machine, with a parent that routes calls.
    pub has_parent: bool,
    /// Whether it is a worker on Runpod: `RUNPOD_ENDPOINT_ID` or `RUNPOD_POD_ID` is set.
    pub is_on_runpod: bool,
    /// Whether `FLASH_IS_LIVE_PROVISIONING` is `true`.
    pub is_live: bool,
    /// Whether a test runs under the pytest plugin.
    pub is_test: bool,
    /// Whether a Runpod API key was found.
    pub has_key: bool,
}

impl Surroundings {
    /// Returns where code that calls another endpoint runs.
    pub fn context(self) -> Context {
        match (self.has_parent, self.is_on_runpod) {
            (true, _) => Context::OtherWorker,
            (false, true) => Context::RemoteWorker,
            (false, false) => Context::Script,
        }
    }

    /// Returns the target: what was asked for, else what the surroundings mean.
    ///
    /// A program that has a key calls Runpod, as it did with 1.21; tests do not, unless they ask.
    pub fn target(self) -> Target {
        let is_meant = self.is_live || self.is_on_runpod || (self.has_key && !self.is_test);
        self.asked.unwrap_or(if is_meant { Target::Runpod } else { Target::Local })
    }

    /// Returns where a call of another endpoint's queue-based function goes.
    pub fn destination(self) -> Destination {
        decide(self.context(), self.target(), Callee::Queue, self.is_live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    // The rows of the table in the architecture, left to right: queue-based, then load-balanced.
    #[rstest]
    #[case(Context::Script, Target::Local, false, Destination::LocalWorker, Destination::InPlace)]
    #[case(Context::Script, Target::Runpod, false, Destination::Deployed, Destination::InPlace)]
    #[case(Context::Script, Target::Runpod, true, Destination::Live, Destination::InPlace)]
    #[case(Context::DevServer, Target::Local, false, Destination::LocalWorker, Destination::LocalWorker)]
    #[case(Context::DevServer, Target::Runpod, false, Destination::Live, Destination::Live)]
    #[case(Context::DevServer, Target::Runpod, true, Destination::Live, Destination::Live)]
    #[case(Context::OwnWorker, Target::Local, false, Destination::InPlace, Destination::InPlace)]
    #[case(Context::OwnWorker, Target::Runpod, true, Destination::InPlace, Destination::InPlace)]
    #[case(Context::OtherWorker, Target::Local, false, Destination::ParentQueue, Destination::InPlace)]
    #[case(Context::OtherWorker, Target::Runpod, true, Destination::ParentQueue, Destination::InPlace)]
    #[case(Context::RemoteWorker, Target::Runpod, false, Destination::Deployed, Destination::InPlace)]
    #[case(Context::RemoteWorker, Target::Runpod, true, Destination::Live, Destination::InPlace)]
    #[case(Context::RemoteWorker, Target::Local, false, Destination::LocalWorker, Destination::InPlace)]
    fn call_goes_where_the_table_says(
        #[case] context: Context,
        #[case] target: Target,
        #[case] is_live: bool,
        #[case] queue: Destination,
        #[case] route: Destination,
    ) {
        assert_eq!(decide(context, target, Callee::Queue, is_live), queue);
        assert_eq!(decide(context, target, Callee::Route, is_live), route);
    }

    const NOTHING: Surroundings = Surroundings {
        asked: None,
        has_parent: false,
        is_on_runpod: false,
        is_live: false,
        is_test: false,
        has_key: false,
    };

    // Target when nothing says it, and who overrides whom.
    #[rstest]
    #[case::script_without_a_key(NOTHING, Destination::LocalWorker)]
    #[case::script_with_a_key(Surroundings { has_key: true, ..NOTHING }, Destination::Deployed)]
    #[case::asked_for_local(
        Surroundings { asked: Some(Target::Local), has_key: true, ..NOTHING },
        Destination::LocalWorker
    )]
    #[case::asked_for_runpod(Surroundings { asked: Some(Target::Runpod), ..NOTHING }, Destination::Deployed)]
    #[case::live(Surroundings { is_live: true, ..NOTHING }, Destination::Live)]
    #[case::local_beats_live(
        Surroundings { asked: Some(Target::Local), is_live: true, ..NOTHING },
        Destination::LocalWorker
    )]
    #[case::test_with_a_key(
        Surroundings { is_test: true, has_key: true, ..NOTHING },
        Destination::LocalWorker
    )]
    #[case::test_that_asks(
        Surroundings { asked: Some(Target::Runpod), is_test: true, ..NOTHING },
        Destination::Deployed
    )]
    #[case::deployed_worker(Surroundings { is_on_runpod: true, ..NOTHING }, Destination::Deployed)]
    #[case::live_worker(Surroundings { is_on_runpod: true, is_live: true, ..NOTHING }, Destination::Live)]
    #[case::local_worker(
        Surroundings { has_parent: true, is_on_runpod: true, has_key: true, ..NOTHING },
        Destination::ParentQueue
    )]
    fn surroundings_decide(#[case] surroundings: Surroundings, #[case] expected: Destination) {
        assert_eq!(surroundings.destination(), expected);
    }

    #[rstest]
    #[case(None, Ok(None))]
    #[case(Some(" "), Ok(None))]
    #[case(Some(" Local "), Ok(Some(Target::Local)))]
    #[case(Some("runpod"), Ok(Some(Target::Runpod)))]
    #[case(Some("moon"), Err(TargetError::Unknown { value: "moon".to_owned() }))]
    fn target_is_read_from_the_variable(
        #[case] variable: Option<&str>,
        #[case] expected: Result<Option<Target>, TargetError>,
    ) {
        assert_eq!(parse_target(variable), expected);
    }
}
