"""PyTorch's values that payloads carry, by name, and what makes two of them the same; as `payload_kinds` for others.

Imported by clients and workers of every package, so that an interpreter gets a kind's name and makes the value itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from payload_kinds import difference as plain_difference
from payload_kinds import groups as groups_of

LARGE = 40_001
#: A live function that makes the values itself, says how those that arrived differ, and sends them back.
ECHO = """
def echo(**values):
    from tensor_kinds import made, difference
    return {kind: (difference(made(kind), value), value) for kind, value in values.items()}
"""


class Subclass(torch.Tensor):
    """A tensor class of the user's."""


class Network(torch.nn.Module):
    """Two weights that are one, a buffer, and a part of another tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(200, 200)
        self.second = torch.nn.Linear(200, 200)
        self.second.weight = self.first.weight
        self.register_buffer("counts", torch.arange(300))
        self.register_buffer("part", torch.arange(LARGE)[7:200:3])


def _numbers(count: int = LARGE, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.arange(count) * 37 % 101).to(dtype)


def _deterministic(module: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(_numbers(parameter.numel()).reshape(parameter.shape))
    return module


def _with_hidden_state() -> torch.Tensor:
    tensor = _numbers()
    tensor.label = "kept"  # type: ignore[attr-defined]
    return tensor


def _quantized(*, by_channel: bool) -> torch.Tensor:
    values = _numbers(200 * 300).reshape(200, 300)
    if by_channel:
        scales, zeros = torch.linspace(0.5, 1, 200), torch.zeros(200, dtype=torch.int64)
        return torch.quantize_per_channel(values, scales, zeros, 0, torch.qint8)
    return torch.quantize_per_tensor(values, 0.5, 3, torch.quint8)


def _shared() -> list[torch.Tensor]:
    whole = _numbers()
    return [whole, whole[10:], whole.view(torch.int32), whole[5:9], whole[5:9]]


def _trained() -> list[torch.Tensor]:
    leaf = _numbers().requires_grad_()
    (leaf * 2).sum().backward()
    return [leaf, (leaf * 2).detach()]


KINDS: dict[str, Callable[[], Any]] = {
    "tensor": _numbers,
    "small": lambda: torch.arange(6).reshape(2, 3),
    "no axes": lambda: torch.tensor(2.5),
    "no size": lambda: torch.zeros(3, 0, 2),
    "transposed": lambda: _numbers(300 * 200).reshape(300, 200).t(),
    "strided": lambda: _numbers(600 * 600).reshape(600, 600)[::2, 1::3],
    "small part of a large one": lambda: _numbers()[100:200],
    "strided part of a large one": lambda: _numbers(600 * 600).reshape(600, 600)[100:110, ::7],
    "expanded": lambda: _numbers(1000).expand(1_000_000, 1000),
    "channels last": lambda: _numbers(2 * 3 * 50 * 60).reshape(2, 3, 50, 60).to(memory_format=torch.channels_last),
    "shared": _shared,
    "bool": lambda: _numbers() > 50,
    "uint8": lambda: _numbers(300_000, torch.uint8),
    "int64": lambda: _numbers(dtype=torch.int64),
    "float16": lambda: _numbers(dtype=torch.float16),
    "bfloat16": lambda: _numbers(dtype=torch.bfloat16),
    "complex": lambda: torch.complex(_numbers(), -_numbers()),
    "conjugate": lambda: torch.complex(_numbers(), -_numbers()).conj(),
    "negative": lambda: torch.complex(_numbers(), -_numbers()).conj().imag,
    "not a number": lambda: _numbers() / 0,
    "requires grad": lambda: _numbers().requires_grad_(),
    "of a graph": _trained,
    "attributes": _with_hidden_state,
    "subclass": lambda: _numbers().as_subclass(Subclass),
    "parameter": lambda: torch.nn.Parameter(_numbers()),
    "sparse": lambda: (_numbers(200 * 300).reshape(200, 300) > 90).float().to_sparse(),
    "sparse rows": lambda: (_numbers(200 * 300).reshape(200, 300) > 90).float().to_sparse_csr(),
    "quantized": lambda: _quantized(by_channel=False),
    "quantized by channel": lambda: _quantized(by_channel=True),
    "on no device": lambda: torch.zeros(3, 4, device="meta"),
    "module": lambda: _deterministic(Network()),
    "module of many": lambda: _deterministic(torch.nn.Transformer(32, 2, 2, 2, 64, batch_first=True)),
    "weights": lambda: _deterministic(Network()).state_dict(),
    "with arrays": lambda: {"tensor": _numbers(), "array": _numbers().numpy(), "bytes": bytes(300_000)},
}


#: Kinds that torch's own way cannot read back (2.15), so stock cloudpickle cannot send them; ours can.
ONLY_OURS: dict[str, Callable[[], Any]] = {
    "uint16": lambda: _numbers().to(torch.uint16),
    "float8": lambda: _numbers().to(torch.float8_e4m3fn),
    "float8, a part": lambda: _numbers().to(torch.float8_e5m2)[40:90],
    "storage": lambda: _numbers().untyped_storage(),
}


def groups(count: int) -> list[list[str]]:
    """Return all kinds in so many groups."""
    return groups_of(count, KINDS)


def made(kind: str) -> Any:
    """Make the value of a kind as it is after a way through stock cloudpickle."""
    import cloudpickle

    if kind in ONLY_OURS:
        return ONLY_OURS[kind]()
    return cloudpickle.loads(cloudpickle.dumps(KINDS[kind]()))


def _bytes(tensor: torch.Tensor) -> bytes:
    plain = tensor.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg().contiguous()
    return bytes(plain.reshape(-1).view(torch.uint8).numpy())


def difference(left: Any, right: Any) -> str | None:
    """Say what differs between two values, `None` where nothing does."""
    if type(left) is not type(right):
        return f"type: {type(left)} and {type(right)}"
    if isinstance(left, torch.nn.Module):
        return difference(dict(left.state_dict()), dict(right.state_dict()))
    if isinstance(left, torch.UntypedStorage):
        return None if left.tolist() == right.tolist() else "storage"
    if isinstance(left, dict):
        found = (difference(left[key], right.get(key)) for key in left)
        return next(filter(None, found), None) if list(left) == list(right) else "keys"
    if isinstance(left, list):
        return next(filter(None, map(difference, left, right)), None) if len(left) == len(right) else "length"
    if not isinstance(left, torch.Tensor):
        return plain_difference(left, right)
    for name in ("dtype", "shape", "layout", "device", "requires_grad", "is_leaf", "__dict__"):
        if getattr(left, name, None) != getattr(right, name, None):
            return f"{name}: {getattr(left, name)} and {getattr(right, name)}"
    if left.device.type == "meta":
        return None
    if left.layout == torch.sparse_coo:
        return difference(left._indices(), right._indices()) or difference(left._values(), right._values())
    if left.layout == torch.sparse_csr:
        return difference(left.crow_indices(), right.crow_indices()) or difference(left.values(), right.values())
    if left.stride() != right.stride():
        return f"strides: {left.stride()} and {right.stride()}"
    if (left.is_conj(), left.is_neg()) != (right.is_conj(), right.is_neg()):
        return "conjugate or negative bit"
    if left.is_quantized:
        return difference(left.int_repr(), right.int_repr()) or difference(left.dequantize(), right.dequantize())
    if 0 in left.stride():
        left, right = (tensor.as_strided((tensor.shape[-1],), (1,)) for tensor in (left, right))
    return None if _bytes(left) == _bytes(right) else "bytes"
