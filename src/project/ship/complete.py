
def _flash_complete(names):
    for cls in list(names.values()):
        if isinstance(cls, type) and "__pydantic_generic_metadata__" in vars(cls) and not cls.__pydantic_complete__:
            cls.model_rebuild(raise_errors=False, _types_namespace=names)
_flash_complete(globals())
