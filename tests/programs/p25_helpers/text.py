"""A module of a package beside the program."""


def clean(text: str) -> str:
    return " ".join(text.split())
