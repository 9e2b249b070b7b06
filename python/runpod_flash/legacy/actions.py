"""What an endpoint as a resource can do: be deployed, be called, be removed."""

from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from .base import DeployableResource
from .health import JobOutput

if TYPE_CHECKING:
    from .. import Endpoint, EndpointJob


class Actions(DeployableResource):
    """The methods of a serverless endpoint."""

    if TYPE_CHECKING:
        name: str
        type: Any
        aiKey: str | None
        templateId: str | None
        executionTimeoutMs: int | None
        template: Any
        env: dict[str, str] | None
        instanceIds: Any

    @property
    def url(self) -> str:
        """Its page in Runpod's console."""
        if not self.id:
            raise ValueError("Missing self.id")
        from . import urls

        return f"{urls.RUNPOD_CONSOLE_URL}/serverless/user/endpoint/{self.id}"

    @property
    def endpoint(self) -> Any:
        """The endpoint as an object of the ``runpod`` package, which must be installed."""
        if not self.id:
            raise ValueError("Missing self.id")
        from .http import needed

        return needed("runpod").Endpoint(self.id)

    @property
    def endpoint_url(self) -> str:
        """Where its jobs or requests go."""
        from . import urls

        if self._is_load_balanced():
            if not self.id:
                raise ValueError("Endpoint ID not set. Cannot determine endpoint URL.")
            return urls.balanced(self.id)
        if not self.id:
            raise ValueError("Missing self.id")
        return f"{urls.RUNPOD_ENDPOINT_URL}/{self.id}"

    def _is_load_balanced(self) -> bool:
        return bool(getattr(self.type, "value", self.type) == "LB")

    def _check_deployable(self) -> None:
        """Refuse what Runpod would refuse, before anything is made."""

    async def is_deployed(self) -> bool:
        """Return whether Runpod has it; raises where that cannot be found out."""
        if not self.id:
            return False
        from . import cloud

        return bool(await cloud.manage("endpointExists", {"id": self.id}))

    async def deploy(self) -> Self:
        """Make it, change it, or find it as it is; its ID is kept."""
        from .manager import ResourceManager

        self._check_deployable()
        self.id = (await ResourceManager().get_or_deploy_resource(self)).id
        return self

    async def update(self, new_config: Self) -> Self:
        """Change it on Runpod into another configuration, which is returned with its ID."""
        new_config.id = self.id
        return await new_config.deploy()

    async def undeploy(self) -> dict[str, Any]:
        """Remove it from Runpod."""
        from .manager import ResourceManager

        manager = ResourceManager()
        for key, _ in manager.find_resources_by_provider_id(self.id) if self.id else ():
            return await manager.undeploy_resource(key, self.name)
        return await manager.undeploy_resource(self.get_resource_key(), self.name)

    async def run(self, payload: dict[str, Any]) -> JobOutput:
        """Submit a job and wait for its end; ``payload`` is the whole body, ``{"input": …}``."""
        return await _finished(await self._submit(payload))

    async def runsync(self, payload: dict[str, Any]) -> JobOutput:
        """Submit a job and wait for its end, at most as long as the endpoint lets it run, else 60 s."""
        timeout = (self.executionTimeoutMs or 0) / 1000 or 60.0
        job = await self._client().runsync(payload.get("input"), timeout=timeout, **_options(payload))
        return await _finished(job)

    async def _submit(self, payload: dict[str, Any]) -> "EndpointJob[Any]":
        """Submit a job and return it, not waiting for its end; ``payload`` is the whole body."""
        return await self._client().run(payload.get("input"), **_options(payload))

    def _client(self) -> "Endpoint":
        if not self.id:
            raise ValueError("Serverless is not deployed")
        from .. import Endpoint

        return Endpoint(id=self.id)


def _options(payload: dict[str, Any]) -> dict[str, Any]:
    names = {"webhook": "webhook", "policy": "policy", "s3_config": "s3Config"}
    return {option: payload[name] for option, name in names.items() if name in payload}


async def _finished(job: "EndpointJob[Any]") -> JobOutput:
    await job.wait()
    data = dict(job._data)
    return JobOutput(
        id=data.get("id", ""),
        workerId=data.get("workerId") or "",
        status=data.get("status", ""),
        delayTime=data.get("delayTime") or 0,
        executionTime=data.get("executionTime") or 0,
        output=data.get("output"),
        error=data.get("error") if data.get("error") is None else str(data["error"]),
    )
