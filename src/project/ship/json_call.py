async def _flash_json_call(text):
    import types

    begun = await _flash_json_begun(text)
    if isinstance(begun, str):
        return begun
    tools, result = begun
    if isinstance(result, types.AsyncGeneratorType):
        result = [item async for item in result]
    elif isinstance(result, types.GeneratorType):
        result = list(result)
    return '{"result":%s}' % _flash_json_text(tools, result)


async def _flash_json_stream(text):
    # As above, but of a generator it gives the items' texts as they come.
    import types

    begun = await _flash_json_begun(text)
    if isinstance(begun, str):
        return begun
    tools, result = begun
    if isinstance(result, types.AsyncGeneratorType):
        return _flash_json_later(tools, result)
    if isinstance(result, types.GeneratorType):
        return (_flash_json_text(tools, item) for item in result)
    return '{"result":%s}' % _flash_json_text(tools, result)


async def _flash_json_later(tools, items):
    try:
        async for item in items:
            yield _flash_json_text(tools, item)
    finally:
        await items.aclose()


async def _flash_json_begun(text):
    import json

    tools = _flash_json_tools(_flash_json_sources)
    try:
        function, label, value = _flash_json_target(tools, tools.validation.parse_json(text.encode()))
        positional, named = tools.validation.Inputs(function, label).bind(value)
    except tools.report.RefusedError as refused:
        return json.dumps({"errors": refused.report["detail"], "message": refused.report["message"]})
    result = function(*positional, **named)
    if hasattr(result, "__await__"):
        result = await result
    return tools, result


def _flash_json_text(tools, value):
    try:
        return tools.encoding.to_json(value).decode()
    except tools.report.RefusedError as refused:
        # Raised below nothing of ours: the message says it all.
        problem = ValueError(refused.report["message"] + "; " + refused.report["hint"])
    raise problem


def _flash_json_target(tools, value):
    target, method = _flash_json_callable
    if not isinstance(target, type):
        return target, target.__name__, value
    if not method:
        method, value = tools.validation.choose_method(target, value)
    # One object per worker, as everywhere else; edited code makes another.
    key, instance = tools.instances.get(target.__qualname__, (None, None))
    if key != _flash_json_key:
        instance = target()
        tools.instances[target.__qualname__] = (_flash_json_key, instance)
    return getattr(instance, method), "%s.%s" % (target.__name__, method), value


def _flash_json_tools(sources):
    """Return our worker's modules that read input and write results, made of their text once per process."""
    import sys
    import types

    known = sys.modules.get("_flash_json")
    if known is not None and known.sources == sources:
        return known
    made = types.ModuleType("_flash_json")
    made.sources, made.instances = sources, {}
    made.__path__ = []

    class RefusedError(Exception):
        def __init__(self, report):
            super().__init__(report["message"])
            self.report = report

    def failure(kind, error_type, message, *, detail=None, hint=None):
        return {"message": message, "detail": detail, "hint": hint}

    made.report = types.ModuleType("_flash_json_report")
    vars(made.report).update(RefusedError=RefusedError, failure=failure, message_of=str)
    for name, text in sources.items():
        module = types.ModuleType("_flash_json_" + name)
        text = text.replace("from .report import ", "from _flash_json_report import ")
        # pydantic looks a model's module up.
        sys.modules[module.__name__] = module
        sys.modules[made.report.__name__] = made.report
        exec(compile(text, "<flash %s>" % name, "exec", dont_inherit=True), vars(module))
        setattr(made, name, module)
    try:
        import fastapi.encoders  # noqa: F401
    except ImportError:

        def encode(value):
            import pydantic_core

            return pydantic_core.to_jsonable_python(value, by_alias=True, timedelta_mode="float")

        made.encoding._encode = encode
    sys.modules["_flash_json"] = made
    return made
