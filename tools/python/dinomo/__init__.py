"""A small Python client for Dinomo, over pyzmq and protobuf.

It speaks Anna's wire protocol and knows nothing of this system but that, so it also serves as the proof that a foreign
client works. Usage:

    from dinomo import Client

    with Client(["127.0.10.4"]) as client:
        client.put("greeting", b"hello")
        client.get("greeting")          # b"hello"; None when there is no such key
        client.put_set("colours", [b"red"])
        client.get_set("colours")       # {b"red"}

See dinomo.client for the rest.
"""

from .client import Client
from .errors import Damaged, Error, InvalidRequest, NoServers, NoSpace, OutcomeUnknown, Overloaded, TooLarge, WrongType
from .lattices import Causal, Dependency, Priority
from .ports import ANNA, ANNA_PYTHON, DINOMO, Plan

__all__ = [
    "ANNA", "ANNA_PYTHON", "DINOMO", "Causal", "Client", "Damaged", "Dependency", "Error", "InvalidRequest", "NoServers", "NoSpace",
    "OutcomeUnknown", "Overloaded", "Plan", "Priority", "TooLarge", "WrongType",
]
