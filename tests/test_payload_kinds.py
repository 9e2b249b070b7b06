"""Payloads of every kind: sent without copies, read by stock cloudpickle, and the other way round."""

from __future__ import annotations

import base64

import cloudpickle
import pytest
from payload_kinds import KINDS, difference
from runpod_flash._core import dump_text, load_text


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_arrives_as_cloudpickle_sends_it(kind: str) -> None:
    value = KINDS[kind]()
    expected = cloudpickle.loads(cloudpickle.dumps(value))
    text = dump_text(value)
    arrived = cloudpickle.loads(base64.b64decode(text, validate=True))
    assert difference(expected, arrived) is None
    assert difference(expected, load_text(text)) is None
    assert difference(expected, load_text(base64.b64encode(cloudpickle.dumps(value)).decode())) is None
