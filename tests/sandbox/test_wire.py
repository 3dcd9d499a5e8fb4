"""Plain data crosses unchanged, anything else is refused, and no bytes do more than spell a value."""

from __future__ import annotations

import collections
import decimal
import fractions
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.sandbox.inside import wire

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.fractions()
    | st.complex_numbers(allow_nan=False) | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner)
    | st.frozensets(st.integers() | st.text()) | st.sets(st.booleans() | st.binary()),
    max_leaves=20,
)  # fmt: skip


@given(PLAIN)
def test_plain_data_crosses_unchanged(value: Any) -> None:
    found = wire.decode(wire.encode(value))
    assert found == value and _types(found) == _types(value)


def _types(value: Any) -> Any:
    if isinstance(value, dict):
        return [(type(key), _types(item)) for key, item in value.items()]
    inner = [_types(item) for item in value] if isinstance(value, (list, tuple)) else []
    return type(value), inner, sorted(str(type(item)) for item in value) if isinstance(value, (set, frozenset)) else ()


@given(st.binary(max_size=60))
def test_bytes_are_a_value_or_refused(raw: bytes) -> None:
    try:
        value = wire.decode(raw)
    except wire.Refused:
        return
    assert type(value).__module__ in ("builtins", "collections", "decimal", "fractions")


@given(PLAIN, st.data())
def test_what_is_cut_off_is_refused(value: Any, data: st.DataObject) -> None:
    raw = wire.encode(value)
    with pytest.raises(wire.Refused):
        wire.decode(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(wire.Refused):
        wire.decode(raw + b"N")


def test_nan_and_the_infinities_cross() -> None:
    assert math.isnan(wire.decode(wire.encode(math.nan)))
    assert wire.decode(wire.encode([math.inf, -math.inf])) == [math.inf, -math.inf]


def test_stand_ins_of_builtin_containers_become_them() -> None:
    point = collections.namedtuple("point", "x y")
    for value, kind in (
        (collections.Counter("aab"), dict), (collections.OrderedDict(a=1), dict), (point(1, 2), tuple),
        (collections.defaultdict(int, a=1), dict), (collections.deque([1]), collections.deque),
    ):  # fmt: skip
        found = wire.decode(wire.encode(value))
        assert found == value and type(found) is kind


def test_subclasses_and_objects_are_refused_or_kept_there() -> None:
    class Lie(int):
        pass

    for value in (Lie(1), object(), [Lie(1)], {1: Lie(2)}, lambda: 1, decimal, fractions.Fraction.__add__):
        with pytest.raises(wire.Refused, match="an object of type"):
            wire.encode(value)
    kept = []
    raw = wire.encode([Lie(1)], lambda value: (kept.append(value), (5, "Lie"))[1])  # type: ignore[func-returns-value]
    assert wire.decode(raw, lambda number, kind: (number, kind)) == [(5, "Lie")] and kept == [1]
    with pytest.raises(wire.Refused, match="an object where plain data was due"):
        wire.decode(raw)


def test_builtins_cross_as_themselves() -> None:
    for value in wire.BY_NAME:
        assert wire.decode(wire.encode(value)) is value


def test_what_is_too_much_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(wire.DEEPEST + 5):
        deep = [deep]
    ring: list[Any] = []
    ring.append(ring)
    for value, words in (
        (deep, "deep"),
        (ring, "deep"),
        ("a" * (wire.MOST_BYTES + 1), "MiB"),
        ([0] * (wire.MOST_ITEMS + 1), "parts"),
    ):
        with pytest.raises(wire.Refused, match=words):
            wire.encode(value)
    with pytest.raises(wire.Refused):
        wire.decode(b"l\x01\0\0\0" * 10_000 + b"N")
    with pytest.raises(wire.Refused):
        wire.decode(b"S\x01\0\0\0l\0\0\0\0")  # a list in a set
    with pytest.raises(wire.Refused):
        wire.decode(b"Qi\x01\0\0\0\x01i\x01\0\0\0\0")  # a fraction over 0
