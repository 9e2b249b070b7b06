//! Job states and their transitions, in one table.

/// State of a job, spelled as Runpod spells it (`platform.md` 1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Accepted, waiting for a worker.
    InQueue,
    /// On a worker.
    InProgress,
    /// Finished with an output.
    Completed,
    /// Finished with an error.
    Failed,
    /// Cancelled by a client.
    Cancelled,
    /// Ran longer than its execution timeout.
    TimedOut,
}

/// What can happen to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobEvent {
    /// A worker took it.
    Taken,
    /// Its worker answered with an output.
    Succeeded,
    /// Its worker answered with an error, or no worker can run it.
    Failed,
    /// A client cancelled it, or its queue was purged.
    Cancelled,
    /// It ran longer than its execution timeout.
    TimedOut,
    /// Its worker was lost; it goes back to the head of the queue.
    Returned,
    /// A client asked for it to run again.
    Retried,
}

/// All transitions; what is not here does not happen, and a late event leaves a job as it is.
pub const TRANSITIONS: &[(JobStatus, JobEvent, JobStatus)] = &[
    (JobStatus::InQueue, JobEvent::Taken, JobStatus::InProgress),
    (JobStatus::InQueue, JobEvent::Cancelled, JobStatus::Cancelled),
    (JobStatus::InQueue, JobEvent::Failed, JobStatus::Failed),
    (JobStatus::InProgress, JobEvent::Succeeded, JobStatus::Completed),
    (JobStatus::InProgress, JobEvent::Failed, JobStatus::Failed),
    (JobStatus::InProgress, JobEvent::Cancelled, JobStatus::Cancelled),
    (JobStatus::InProgress, JobEvent::TimedOut, JobStatus::TimedOut),
    (JobStatus::InProgress, JobEvent::Returned, JobStatus::InQueue),
    (JobStatus::Failed, JobEvent::Retried, JobStatus::InQueue),
    (JobStatus::TimedOut, JobEvent::Retried, JobStatus::InQueue),
];

impl JobStatus {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::InQueue, Self::InProgress, Self::Completed, Self::Failed, Self::Cancelled, Self::TimedOut];

    /// Returns whether nothing can follow this state except a retry.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::InQueue | Self::InProgress)
    }

    /// Returns the state after an event; `None` where the event does not apply and the job stays
    /// as it is.
    pub fn after(self, event: JobEvent) -> Option<Self> {
        TRANSITIONS.iter().find(|(from, on, _)| *from == self && *on == event).map(|(_, _, to)| *to)
    }

    /// Returns the state as Runpod spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InQueue => "IN_QUEUE",
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::TimedOut => "TIMED_OUT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_state_is_left_only_by_a_retry() {
        for (from, event, to) in TRANSITIONS {
            if from.is_terminal() {
                assert_eq!((*event, *to), (JobEvent::Retried, JobStatus::InQueue), "{from:?}");
            }
        }
        assert_eq!(JobStatus::Completed.after(JobEvent::Retried), None);
        assert_eq!(JobStatus::Cancelled.after(JobEvent::Succeeded), None);
    }

    #[test]
    fn state_and_event_lead_to_one_state() {
        for (index, (from, event, _)) in TRANSITIONS.iter().enumerate() {
            let again = TRANSITIONS[index + 1..].iter().any(|(other, on, _)| other == from && on == event);
            assert!(!again, "{from:?} {event:?} is listed twice");
        }
    }

    #[test]
    fn every_state_is_reached_from_the_queue() {
        let mut reached = vec![JobStatus::InQueue];
        let mut index = 0;
        while index < reached.len() {
            for (from, _, to) in TRANSITIONS {
                if *from == reached[index] && !reached.contains(to) {
                    reached.push(*to);
                }
            }
            index += 1;
        }
        assert_eq!(reached.len(), JobStatus::ALL.len());
    }

    #[test]
    fn spelling_is_the_one_of_serde() {
        for status in JobStatus::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }
}
