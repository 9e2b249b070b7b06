"""Messages of live workers."""

from abc import ABC, abstractmethod
from typing import Any

from pydantic import BaseModel, Field, model_validator
from typing_extensions import Self

from .. import _official


class FunctionRequest(BaseModel):
    """A function or class to run, with its arguments."""

    function_name: str | None = None
    function_code: str | None = None
    args: list[Any] = Field(default_factory=list)
    kwargs: dict[str, Any] = Field(default_factory=dict)
    dependencies: list[str] | None = None
    system_dependencies: list[str] | None = None
    modules: dict[str, str] = Field(default_factory=dict)
    execution_type: str = "function"
    class_name: str | None = None
    class_code: str | None = None
    constructor_args: list[Any] = Field(default_factory=list)
    constructor_kwargs: dict[str, Any] = Field(default_factory=dict)
    method_name: str = "__call__"
    instance_id: str | None = None
    create_new_instance: bool = True
    accelerate_downloads: bool = True
    serialization_format: str = "cloudpickle"

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.execution_type == "function" and self.function_name is None:
            raise ValueError("function_name is required when execution_type is 'function'")
        if self.execution_type == "class" and self.class_name is None:
            raise ValueError("class_name is required when execution_type is 'class'")
        return self


class FunctionResponse(BaseModel):
    """What came of it; ``result`` is base64 of a cloudpickle."""

    success: bool
    result: str | None = None
    json_result: Any | None = None
    error: str | None = None
    stdout: str | None = None
    instance_id: str | None = None
    instance_info: dict[str, Any] | None = None


class RemoteExecutorStub(ABC):
    """Something that executes functions elsewhere."""

    @abstractmethod
    async def ExecuteFunction(self, request: FunctionRequest) -> FunctionResponse:
        """Run what a request says."""


_official.adopt("legacy.protocol")
