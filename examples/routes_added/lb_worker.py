"""Routes added to a load-balanced endpoint: every method, path and query parameters, a pydantic model.

Add a function below a decorator, save, and the route answers.

    curl -X PUT localhost:8888/routes_added/lb_worker/notes/milk -d '{"text": "two bottles", "tags": ["shop"]}'
    curl "localhost:8888/routes_added/lb_worker/notes?tag=shop"
    curl localhost:8888/routes_added/lb_worker/notes/milk
    curl -X PATCH localhost:8888/routes_added/lb_worker/notes/milk -d '{"text": "three bottles"}'
    curl -X DELETE localhost:8888/routes_added/lb_worker/notes/milk
"""

from pydantic import BaseModel
from runpod_flash import Endpoint

# One worker, so that all requests see the same notes: a worker's memory is its own.
api = Endpoint(name="notes-api", cpu="cpu3c-1-2", workers=(1, 1))


class Note(BaseModel):
    """A note, as sent and as kept."""

    text: str
    tags: list[str] = []


NOTES: dict[str, Note] = {}


@api.put("/notes/{name}")
async def put_note(name: str, note: Note) -> dict[str, bool]:
    """Keep a note under a name."""
    is_new = name not in NOTES
    NOTES[name] = note
    return {"created": is_new}


@api.get("/notes")
async def list_notes(tag: str = "") -> dict[str, list[str]]:
    """List the names of notes, of one tag if it is given."""
    return {"names": sorted(name for name, note in NOTES.items() if not tag or tag in note.tags)}


@api.get("/notes/{name}")
async def get_note(name: str) -> dict[str, str | list[str] | None]:
    """Return one note; `text` is null where there is none."""
    note = NOTES.get(name)
    return {"name": name, "text": note.text if note else None, "tags": note.tags if note else []}


@api.patch("/notes/{name}")
async def change_note(name: str, text: str) -> dict[str, bool]:
    """Change the text of a note and keep its tags."""
    note = NOTES.get(name)
    if note is not None:
        NOTES[name] = Note(text=text, tags=note.tags)
    return {"changed": note is not None}


@api.delete("/notes/{name}")
async def delete_note(name: str) -> dict[str, bool]:
    """Forget a note."""
    return {"deleted": NOTES.pop(name, None) is not None}
