"""The lattice types: values that merge at their key's owner. Each type here knows its payload on the wire."""

import time
from typing import Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Tuple

from .pb import payload_pb2 as payloads
from .pb import request_pb2 as pb

Clock = Dict[str, int]
"""A vector clock: how far each writer is."""


class Dependency(NamedTuple):
    """A key, and the version of it, that a value was written in the knowledge of."""

    key: str
    clock: Clock


class Causal(NamedTuple):
    """A causal value. More than one of values means that concurrent writes met."""

    clock: Clock
    values: FrozenSet[bytes]
    dependencies: Tuple[Dependency, ...] = ()


class Priority(NamedTuple):
    """A value with a priority; of all that were written the smallest stays."""

    priority: float
    value: bytes


def encode_lww(value: bytes, timestamp: Optional[int] = None) -> bytes:
    """An LWW payload; the timestamp is the time in nanoseconds unless given."""
    if timestamp is None:
        timestamp = time.time_ns()
    return pb.LWWValue(timestamp=timestamp, value=value).SerializeToString()


def decode_lww(payload: bytes) -> bytes:
    return pb.LWWValue.FromString(payload).value


def encode_set(members: Iterable[bytes]) -> bytes:
    """A payload of SET and of ORDERED_SET."""
    return payloads.SetValue(values=sorted(set(members))).SerializeToString()


def decode_set(payload: bytes) -> List[bytes]:
    return list(payloads.SetValue.FromString(payload).values)


def encode_single_causal(value: Causal) -> bytes:
    return payloads.SingleKeyCausalValue(vector_clock=value.clock, values=sorted(value.values)).SerializeToString()


def decode_single_causal(payload: bytes) -> Causal:
    m = payloads.SingleKeyCausalValue.FromString(payload)
    return Causal(dict(m.vector_clock), frozenset(m.values))


def encode_multi_causal(value: Causal) -> bytes:
    return payloads.MultiKeyCausalValue(
        vector_clock=value.clock,
        dependencies=[payloads.KeyVersion(key=d.key, vector_clock=d.clock) for d in value.dependencies],
        values=sorted(value.values),
    ).SerializeToString()


def decode_multi_causal(payload: bytes) -> Causal:
    m = payloads.MultiKeyCausalValue.FromString(payload)
    dependencies = tuple(Dependency(d.key, dict(d.vector_clock)) for d in m.dependencies)
    return Causal(dict(m.vector_clock), frozenset(m.values), dependencies)


def encode_priority(value: Priority) -> bytes:
    return payloads.PriorityValue(priority=value.priority, value=value.value).SerializeToString()


def decode_priority(payload: bytes) -> Priority:
    m = payloads.PriorityValue.FromString(payload)
    return Priority(m.priority, m.value)
