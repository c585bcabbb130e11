"""What can go wrong, one class for each way."""

from typing import Dict, Type

from .pb import request_pb2 as pb


class Error(Exception):
    """Base of all errors of this package. Unless it is an OutcomeUnknown, nothing was changed."""


class OutcomeUnknown(Error):
    """No answer in time. A write may have happened, or may still; a read changes nothing."""


class WrongType(Error):
    """The key holds a value of another lattice type: delete it first, or use its type."""


class NoServers(Error):
    """Nobody serves keys, or no routing node answers: look at the cluster."""


class TooLarge(Error):
    """The key or the value is above the server's limit (dinomo.limits)."""


class NoSpace(Error):
    """The pool is full; reads and deletes still work: delete what is not needed, or make the pool larger."""


class Overloaded(Error):
    """Refused before anything was done, until the time was over: try again later, or with fewer requests at a time."""


class InvalidRequest(Error):
    """Refused as it is: an empty key, a payload that its type does not have, or a metadata key that is none or cannot be written."""


class Damaged(Error):
    """The pool is damaged where the key lies: write or delete the key, else bring a backup back."""


BY_CODE: Dict[int, Type[Error]] = {
    pb.TIMEOUT: OutcomeUnknown,
    pb.LATTICE: WrongType,
    pb.NO_SERVERS: NoServers,
    pb.TOO_LARGE: TooLarge,
    pb.NO_SPACE: NoSpace,
    pb.OVERLOADED: Overloaded,
    pb.INVALID_REQUEST: InvalidRequest,
    pb.DAMAGED: Damaged,
}


def of_code(code: int, key: str) -> Error:
    """The error for a tuple's code other than NO_ERROR and KEY_DNE."""
    kind = BY_CODE.get(code)
    if kind is None:
        return Error(f"key {key!r}: error {code}, which this client does not know")
    return kind(f"key {key!r}: {(kind.__doc__ or '').strip()}")
