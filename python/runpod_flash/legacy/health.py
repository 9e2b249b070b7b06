"""Answers of Runpod as models: a job's end, the health of an endpoint, the end of a deployment."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel

from .. import _official


class JobOutput(BaseModel):
    """How a job ended."""

    id: str
    workerId: str
    status: str
    delayTime: int
    executionTime: int
    output: Any | None = None
    error: str | None = ""


class Status(str, Enum):
    """State of an endpoint's workers, the best first."""

    READY = "READY"
    INITIALIZING = "INITIALIZING"
    THROTTLED = "THROTTLED"
    UNHEALTHY = "UNHEALTHY"
    UNKNOWN = "UNKNOWN"


class WorkersHealth(BaseModel):
    """Numbers of workers by their state."""

    idle: int
    initializing: int
    ready: int
    running: int
    throttled: int
    unhealthy: int

    @property
    def status(self) -> Status:
        """The best state that a worker is in."""
        if self.ready or self.idle or self.running:
            return Status.READY
        if self.initializing:
            return Status.INITIALIZING
        if self.throttled:
            return Status.THROTTLED
        return Status.UNHEALTHY if self.unhealthy else Status.UNKNOWN


class JobsHealth(BaseModel):
    """Numbers of jobs by their state."""

    completed: int
    failed: int
    inProgress: int
    inQueue: int
    retried: int


class ServerlessHealth(BaseModel):
    """Health of an endpoint."""

    workers: WorkersHealth
    jobs: JobsHealth

    @property
    def is_ready(self) -> bool:
        """Whether a worker can take a job."""
        return self.workers.status == Status.READY


class QBRequestLogPhase(str, Enum):
    """How far a job is, as its log lines say."""

    WAITING_FOR_WORKER = "WAITING_FOR_WORKER"
    WAITING_FOR_WORKER_INITIALIZATION = "WAITING_FOR_WORKER_INITIALIZATION"
    STREAMING = "STREAMING"


class DeploymentStatus(Enum):
    """How far a deployment is."""

    PENDING = "pending"
    CHECKING = "checking"
    CACHED = "cached"
    DEPLOYING = "deploying"
    SUCCESS = "success"
    FAILED = "failed"


@dataclass
class DeploymentResult:
    """How a deployment ended; the duration is in seconds."""

    resource: Any
    status: DeploymentStatus
    duration: float
    error: str = ""
    endpoint_id: str = ""


_official.adopt("legacy.health")
