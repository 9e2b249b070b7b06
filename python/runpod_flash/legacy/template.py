"""``PodTemplate``: container settings of an endpoint."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from .. import _official
from .base import BaseResource


class KeyValuePair(BaseModel):
    """An environment variable of a template."""

    key: str
    value: str

    @classmethod
    def from_dict(cls, data: dict[str, str]) -> list["KeyValuePair"]:
        """Return one pair per entry."""
        if not isinstance(data, dict):
            raise ValueError("Input must be a dictionary.")
        return [cls(key=key, value=value) for key, value in data.items()]


class PodTemplate(BaseResource):
    """Container settings of an endpoint; the disk is in GB."""

    advancedStart: bool | None = False
    config: dict[str, Any] | None = {}
    containerDiskInGb: int | None = 64
    containerRegistryAuthId: str | None = ""
    dockerArgs: str | None = ""
    env: list[KeyValuePair] | None = []
    imageName: str | None = ""
    name: str | None = ""
    ports: str | None = ""
    startScript: str | None = ""

    if TYPE_CHECKING:
        # With variables as plain dicts, as the docs write them.
        def __init__(
            self,
            *,
            containerDiskInGb: int | None = 64,
            env: Sequence[KeyValuePair | dict[str, str]] | None = (),
            imageName: str | None = "",
            name: str | None = "",
            ports: str | None = "",
            dockerArgs: str | None = "",
            startScript: str | None = "",
            containerRegistryAuthId: str | None = "",
            advancedStart: bool | None = False,
            config: dict[str, Any] | None = None,
            id: str | None = None,
        ) -> None: ...


_official.adopt("legacy.template")
