"""Turns the JSON of a job's ``input`` into arguments, by the function's own signature.

All coercion and every error is pydantic's, in the shape that FastAPI gives it; there are no rules
of our own except which part of the input is which argument.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable
from typing import Any

from .report import RefusedError, failure

Errors = list[dict[str, Any]]

#: Means "called without arguments": Runpod loses an empty input.
EMPTY_KEY = "__empty"
EMPTY_INPUT = (
    "Empty or null input: Runpod drops an empty `input`, so a deployed endpoint would never see this call. "
    'Give at least one parameter (null is a value), or {"__empty": true} to call without arguments.'
)


def invalid(detail: Any) -> RefusedError:
    """Return the refusal of an input; ``detail`` is FastAPI's list, or a text."""
    if isinstance(detail, str):
        message = detail
    else:
        message = "; ".join(f"{'.'.join(map(str, error['loc'][1:]))}: {error['msg']}" for error in detail)
    return RefusedError(failure("invalid_input", "ValidationError", message, detail=detail))


def parse_json(text: bytes) -> Any:
    """Return the value of a JSON text, refusing what is none as FastAPI does."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        detail = {
            "type": "json_invalid",
            "loc": ["body", error.pos],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.msg},
        }
        raise invalid([detail]) from None
    except (UnicodeDecodeError, RecursionError):
        detail = {
            "type": "json_invalid",
            "loc": ["body", 0],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": "not readable as UTF-8 JSON"},
        }
        raise invalid([detail]) from None


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature with annotations evaluated; what cannot be evaluated accepts anything."""
    try:
        return inspect.signature(function, eval_str=True)
    except Exception:
        pass
    try:
        signature = inspect.signature(function)
    except Exception:
        # A callable without a signature (built in): anything goes.
        return inspect.Signature([inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)])
    namespace = getattr(inspect.unwrap(function), "__globals__", {})

    def evaluated(annotation: Any) -> Any:
        if not isinstance(annotation, str):
            return annotation
        try:
            return eval(annotation, namespace)
        except Exception:
            return inspect.Parameter.empty

    return signature.replace(
        parameters=[each.replace(annotation=evaluated(each.annotation)) for each in signature.parameters.values()],
        return_annotation=evaluated(signature.return_annotation),
    )


def methods_of(cls: type) -> list[str]:
    """Return the public methods that a class itself defines, in the order of the source."""
    return [name for name, value in vars(cls).items() if not name.startswith("_") and inspect.isfunction(value)]


def choose_method(cls: type, value: Any) -> tuple[str, Any]:
    """Return the method of a class that an input is for, and the rest of the input; raises `RefusedError`.

    The key `method` says which, where there are several; it may name the only one, too.
    """
    methods = methods_of(cls)
    name = value.get("method") if isinstance(value, dict) else None
    if name in methods:
        # The method's name is an input, so what is left may be empty.
        return str(name), {key: part for key, part in value.items() if key != "method"} or {EMPTY_KEY: True}
    if len(methods) == 1:
        return methods[0], value
    listed = ", ".join(methods)
    if name is None:
        raise invalid(f'`{cls.__name__}` has several methods ({listed}): say which with a "method" key in `input`')
    raise invalid(f"`{cls.__name__}` has no method {name!r}; it has: {listed}")


class Inputs:
    """The inputs of one callable: a pydantic model made from its signature."""

    def __init__(self, function: Callable[..., Any], name: str, suffix: str = "Input") -> None:
        kinds = inspect.Parameter
        self.signature = signature_of(function)
        words = name.replace(".", "_").split("_")
        self.title = "".join(word[:1].upper() + word[1:] for word in words) + suffix
        self.module = getattr(function, "__module__", None)
        self.namespace = getattr(inspect.unwrap(function), "__globals__", None)
        everything = self.signature.parameters.values()
        self.parameters = [each for each in everything if each.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
        self.takes_more = any(each.kind is kinds.VAR_KEYWORD for each in everything)
        self._model: Any = None
        self._adapter: Any = None

    @property
    def model(self) -> Any:
        """The model; fields are called ``p0`` … so that no parameter's name can clash with pydantic's."""
        if self._model is None:
            self._model = self._make_model()
        return self._model

    def bind(self, value: Any) -> tuple[list[Any], dict[str, Any]]:
        """Return positional and keyword arguments for an input; raises `RefusedError`."""
        is_dict = isinstance(value, dict)
        names = {each.name for each in self.parameters}
        is_explicitly_empty = is_dict and EMPTY_KEY in value and EMPTY_KEY not in names
        if is_explicitly_empty:
            value = {key: part for key, part in value.items() if key != EMPTY_KEY}
        if not self.parameters and is_dict:
            return [], dict(value) if self.takes_more else {}
        found = self._validate_whole(value) if is_dict and value else None
        if found is None:
            found = self._validate(value)
        if is_dict and not value and not is_explicitly_empty:
            raise invalid(EMPTY_INPUT)
        return self.arguments(found)

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the input: an object whose properties are the parameters."""
        with warnings.catch_warnings():
            # A default that JSON cannot carry is left out.
            warnings.simplefilter("ignore")
            try:
                found: dict[str, Any] = self.model.model_json_schema(by_alias=True)
            except Exception:
                found = {
                    "type": "object",
                    "title": self.title,
                    "properties": {each.name: {"title": each.name} for each in self.parameters},
                    "required": [each.name for each in self.parameters if each.default is each.empty],
                }
        found.setdefault("properties", {})
        return found

    def _make_model(self) -> Any:
        from typing import Annotated

        from pydantic import ConfigDict, Field, create_model
        from pydantic.fields import FieldInfo

        def fields(lenient: bool) -> dict[str, Any]:
            made: dict[str, Any] = {}
            for index, each in enumerate(self.parameters):
                annotation = Any if lenient or each.annotation is each.empty else each.annotation
                default = ... if each.default is each.empty else each.default
                if isinstance(default, FieldInfo) and default.alias is not None:
                    made[f"p{index}"] = (annotation, default)
                else:
                    made[f"p{index}"] = (Annotated[annotation, Field(alias=each.name)], default)
            return made

        config = ConfigDict(arbitrary_types_allowed=True, extra="allow" if self.takes_more else "ignore")
        for lenient in (False, True):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    model = create_model(
                        self.title, __config__=config, __module__=self.module or __name__, **fields(lenient)
                    )
                    if model.__pydantic_complete__ or lenient:
                        return model
                    if model.model_rebuild(raise_errors=False, _types_namespace=self.namespace):
                        return model
            except Exception:
                if lenient:
                    raise
        raise AssertionError("a model without annotations is always complete")

    def _validate(self, value: Any) -> Any:
        from pydantic import TypeAdapter, ValidationError

        if self._adapter is None:
            self._adapter = TypeAdapter(self.model)
        try:
            return self._adapter.validate_python(value, from_attributes=True)
        except ValidationError as error:
            raise invalid(_detail(error.errors(include_url=False), ("body", "input"))) from None

    def _validate_whole(self, value: dict[str, Any]) -> Any:
        """Try the whole input as the only parameter's value; ``None`` when it is not meant so."""
        if len(self.parameters) != 1 or self.takes_more:
            return None
        from pydantic import TypeAdapter, ValidationError

        (field,) = self.model.model_fields.values()
        name = field.alias
        if name in value:
            return None
        if self._adapter is None:
            self._adapter = TypeAdapter(self.model)
        try:
            return self._adapter.validate_python({name: value}, from_attributes=True)
        except ValidationError as error:
            errors = error.errors(include_url=False)
        if any(len(each["loc"]) < 2 for each in errors) or not self._knows_keys(value):
            # Not an object's type, or nothing in it fits: a missing parameter is what is wrong.
            return None
        for each in errors:
            each["loc"] = each["loc"][1:]
        raise invalid(_detail(errors, ("body", "input")))

    def _knows_keys(self, value: dict[str, Any]) -> bool:
        return any(
            not set(value).isdisjoint(part.get("properties", ())) for part in self.schema().get("$defs", {}).values()
        )

    def arguments(self, found: Any) -> tuple[list[Any], dict[str, Any]]:
        """Return positional and keyword arguments; defaults are left to the function."""
        from pydantic.fields import FieldInfo

        positional: list[Any] = []
        named: dict[str, Any] = {}
        for index, each in enumerate(self.parameters):
            field = f"p{index}"
            is_given = field in found.model_fields_set or isinstance(each.default, FieldInfo)
            if each.kind is each.POSITIONAL_ONLY:
                positional.append(getattr(found, field) if is_given else each.default)
            elif is_given:
                named[each.name] = getattr(found, field)
        if self.takes_more:
            named.update(found.model_extra or {})
        return positional, named


def _detail(errors: Any, prefix: tuple[str, ...]) -> Errors:
    """Return pydantic's errors as FastAPI sends them."""
    return [{**plain(each), "loc": [*prefix, *each["loc"]]} for each in errors]


def plain(value: Any) -> Any:
    """Return an error's part as JSON data; an exception becomes ``{}``, as FastAPI has it."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(part) for part in value]
    if isinstance(value, BaseException):
        return {}
    try:
        from pydantic_core import to_jsonable_python

        return to_jsonable_python(value)
    except Exception:
        return str(value)
