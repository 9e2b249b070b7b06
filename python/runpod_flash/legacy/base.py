"""What all resources have: an ID, and names made from their fields."""

import hashlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from typing_extensions import Self

from .. import _official


class BaseResource(BaseModel):
    """Something that Runpod has an ID for."""

    model_config = ConfigDict(validate_default=True)

    #: Fields that make two resources the same one; all where it is `None`.
    _hashed_fields: ClassVar[set[str] | None] = None

    id: str | None = None

    @property
    def resource_id(self) -> str:
        """Class and digest of the fields that make it what it is; Runpod sees it in templates' names."""
        text = self.model_dump_json(exclude_none=True, include=self._hashed_fields)
        return f"{type(self).__name__}_{digest(type(self).__name__, text)}"

    @property
    def config_hash(self) -> str:
        """Digest of the fields whose change is a change of the resource."""
        return digest(type(self).__name__, self.model_dump_json(exclude_none=True, include=self._hashed_fields))

    def get_resource_key(self) -> str:
        """Return the key that it is tracked by: class and name."""
        name = getattr(self, "name", None)
        return f"{type(self).__name__}:{name}" if name else self.resource_id


class DeployableResource(BaseResource, ABC):
    """A resource that can be made and removed by itself."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Its page in Runpod's console."""

    @abstractmethod
    async def is_deployed(self) -> bool:
        """Return whether Runpod has it."""

    @abstractmethod
    async def deploy(self) -> Self:
        """Make it, or find it."""

    @abstractmethod
    async def undeploy(self) -> dict[str, Any]:
        """Remove it."""

    def __eq__(self, other: object) -> bool:
        # What is computed on the way is no part of it.
        if not isinstance(other, DeployableResource):
            return NotImplemented
        return other.__class__ is type(self) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    # Pickles are those of 1.21: the fields alone.

    def __getstate__(self) -> dict[Any, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[Any, Any]) -> None:
        fields = type(self).model_fields
        kept = {name: value for name, value in state.items() if name in fields}
        super().__setstate__(
            {
                "__dict__": kept,
                "__pydantic_fields_set__": set(kept),
                "__pydantic_extra__": None,
                "__pydantic_private__": None,
            }
        )
        self.model_post_init(None)

    def __str__(self) -> str:
        return f"{type(self).__name__}:{self.id}"


def digest(class_name: str, text: str) -> str:
    """Return the digest of a class's name and its fields as text."""
    return hashlib.md5(f"{class_name}:{text}".encode(), usedforsecurity=False).hexdigest()


_official.adopt("legacy.base")
