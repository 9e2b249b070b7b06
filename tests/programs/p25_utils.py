"""A module beside the program."""


def shout(text: str) -> str:
    return text.upper()
