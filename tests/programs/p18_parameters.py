"""Path and query parameters, a model, an upload, every method."""

from pydantic import BaseModel
from runpod_flash import Endpoint

api = Endpoint(name="p18", cpu="cpu3c-1-2")


class Item(BaseModel):
    name: str
    price: float = 1.0


@api.get("/items/{item_id}")
async def get_item(item_id: int, detail: bool = False) -> dict:
    return {"id": item_id, "detail": detail}


@api.post("/items")
async def make_item(item: Item) -> dict:
    return {"name": item.name, "double": item.price * 2}


@api.post("/upload")
async def upload(data: bytes) -> dict:
    return {"size": len(data)}


@api.put("/items/{item_id}")
async def put_item(item_id: int, item: Item) -> dict:
    return {"id": item_id, "name": item.name}


@api.patch("/items/{item_id}")
async def change_item(item_id: int, price: float) -> dict:
    return {"id": item_id, "price": price}


@api.delete("/items/{item_id}")
async def delete_item(item_id: int) -> dict:
    return {"deleted": item_id}


async def main():
    assert await get_item(3) == {"id": 3, "detail": False}
    assert await make_item(Item(name="a")) == {"name": "a", "double": 2.0}
