"""The port numbers that a client has to know."""

from typing import NamedTuple


class Plan(NamedTuple):
    """Base ports; a thread, or a client's offset, is added to them."""

    routing: int  # where a routing thread takes questions
    response: int  # where a client takes answers
    key_address: int  # where a client takes addresses


DINOMO = Plan(routing=8200, response=8300, key_address=8400)
# Anna's C++ client.
ANNA = Plan(routing=6450, response=6800, key_address=6850)
# Anna's Python client in local mode, which uses other ports of its own.
ANNA_PYTHON = Plan(routing=6450, response=6460, key_address=6760)
