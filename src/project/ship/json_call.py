async def _flash_json_call(text):
    import inspect
    import json

    value = json.loads(text)
    function = _flash_target
    signature = inspect.signature(function)
    try:
        import typing

        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:
        hints = {}
    if not isinstance(value, dict):
        raise TypeError("the input must be a JSON object with the function's parameters")
    parameters = list(signature.parameters.values())
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters)
    names = [
        one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY, one.POSITIONAL_ONLY)
    ]
    is_optional = any(one.name in names and one.default is not one.empty for one in parameters)
    if len(names) == 1 and not takes_all and names[0] not in value and (value or not is_optional):
        # A function of one parameter takes the whole body, as its worker does.
        value = {names[0]: value}
    given = {}
    errors = []
    for name, item in value.items():
        if name not in names and not takes_all:
            continue
        if name in hints:
            try:
                import pydantic
            except ImportError:
                pass
            else:
                try:
                    item = pydantic.TypeAdapter(hints[name]).validate_python(item)
                except pydantic.ValidationError as error:
                    for one in json.loads(error.json(include_url=False)):
                        errors.append(dict(one, loc=[name, *one["loc"]]))
                except Exception:
                    pass
        given[name] = item
    for one in parameters:
        if (
            one.name in names
            and one.default is one.empty
            and one.name not in given
            and not any(e["loc"][0] == one.name for e in errors)
        ):
            errors.append({"type": "missing", "loc": [one.name], "msg": "Field required", "input": value})
    if errors:
        return json.dumps({"errors": errors})
    positional = [given.pop(one.name) for one in parameters if one.kind is one.POSITIONAL_ONLY and one.name in given]
    result = function(*positional, **given)
    if hasattr(result, "__await__"):
        result = await result
    if hasattr(result, "__aiter__"):
        result = [item async for item in result]
    elif hasattr(result, "__next__"):
        result = list(result)

    def plain(item):
        if hasattr(item, "model_dump"):
            return item.model_dump(mode="json")
        if hasattr(item, "tolist"):
            return item.tolist()
        if hasattr(item, "isoformat"):
            return item.isoformat()
        if hasattr(item, "__dataclass_fields__"):
            return {name: getattr(item, name) for name in item.__dataclass_fields__}
        if isinstance(item, (set, frozenset, tuple)):
            return list(item)
        if isinstance(item, bytes):
            return item.decode()
        raise TypeError("the result holds a %s, which JSON cannot carry" % type(item).__name__)

    return json.dumps({"result": result}, default=plain, allow_nan=False)
