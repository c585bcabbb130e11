"""The client."""

import random
import time
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Type, TypeVar

import zmq
from google.protobuf.message import DecodeError

from . import lattices
from .errors import Error, NoServers, OutcomeUnknown, WrongType, of_code
from .lattices import Causal, Priority
from .pb import request_pb2 as pb
from .ports import DINOMO, Plan

T = TypeVar("T")
M = TypeVar("M", pb.KeyResponse, pb.KeyAddressResponse)


class Stored(NamedTuple):
    """What a key holds, as it travels."""

    lattice_type: int
    payload: bytes


class Client:
    """A client for one thread. Use it in a with statement, or close it.

    A key that does not exist is None to a get, and a delete of it succeeds. Everything else that goes wrong is an exception of
    dinomo.errors. No call takes much longer than timeout. A request that nobody answers within attempt_timeout is repeated until
    then, after the routing node was asked again who owns the key, so that a write may happen more than once; with
    retry_writes=False it is not, and OutcomeUnknown is raised instead.
    """

    MAX_OWNERS = 100_000
    """Keys whose owners are remembered; beyond, all are asked for again."""
    MAX_KEYS = 1000
    """Keys of one request; servers take some thousand."""

    def __init__(
        self,
        routing: Sequence[str],
        ip: str = "127.0.0.1",
        plan: Plan = DINOMO,
        offset: int = 0,
        routing_threads: int = 1,
        timeout: float = 10.0,
        attempt_timeout: float = 1.0,
        retry_writes: bool = True,
        any_port: bool = False,
    ) -> None:
        """routing: IPs of routing nodes, or full endpoints (tcp://...). ip: where this client listens. offset: its number
        among the clients of that IP; any_port takes free ports instead. timeout: seconds that a call may take; attempt_timeout:
        seconds until an owner or a routing node counts as gone."""
        if not routing or isinstance(routing, str):
            raise ValueError(f"routing: want a list of at least one IP or endpoint, not {routing!r}")
        self._routing: List[str] = []
        for where in routing:
            if where.startswith("tcp://"):
                self._routing.append(where)
            else:
                self._routing += [f"tcp://{where}:{plan.routing + t}" for t in range(routing_threads)]
        self._timeout, self._attempt_timeout, self._retry_writes = timeout, attempt_timeout, retry_writes
        self._owners: Dict[str, List[str]] = {}
        self._pushers: Dict[str, "zmq.Socket[bytes]"] = {}
        self._counter = 0
        self._context = zmq.Context()
        try:
            self._answers, self._answers_at = self._bind(ip, plan.response + offset, any_port)
            self._names, self._names_at = self._bind(ip, plan.key_address + offset, any_port)
        except zmq.ZMQError:
            self._context.destroy(linger=0)
            raise
        self._id = f"{self._answers_at[len('tcp://'):]}_{random.getrandbits(32):x}"

    def _bind(self, ip: str, port: int, any_port: bool) -> Tuple["zmq.Socket[bytes]", str]:
        socket = self._context.socket(zmq.PULL)
        if any_port:
            port = socket.bind_to_random_port(f"tcp://{ip}")
        else:
            try:
                socket.bind(f"tcp://{ip}:{port}")
            except zmq.ZMQError as e:
                raise zmq.ZMQError(e.errno, f"bind tcp://{ip}:{port}: {e}; another client there? give this one another offset") from e
        return socket, f"tcp://{ip}:{port}"

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets. What was not sent yet is dropped."""
        for socket in [self._answers, self._names, *self._pushers.values()]:
            socket.close(linger=0)
        self._context.term()

    # LWW values.

    def get(self, key: str) -> Optional[bytes]:
        """The value of an LWW key."""
        return self._get(key, pb.LWW, lattices.decode_lww)

    def put(self, key: str, value: bytes, timestamp: Optional[int] = None) -> None:
        """Store an LWW value. The timestamp matters only where the servers order by it."""
        self.put_payload(key, pb.LWW, lattices.encode_lww(value, timestamp))

    def delete(self, key: str) -> None:
        """Remove a key of any type. The servers do not say whether there was one: to know would cost them a read."""
        self._tuples(pb.DELETE, {key: None})

    def get_many(self, keys: Iterable[str]) -> Dict[str, Optional[bytes]]:
        """The values of several LWW keys, asked for at once."""
        found = self._tuples(pb.GET, {key: None for key in keys})
        return {key: self._decode(key, stored, pb.LWW, lattices.decode_lww) for key, stored in found.items()}

    def put_many(self, values: Mapping[str, bytes]) -> None:
        """Store several LWW values at once. When it raises, some may have been stored."""
        self._tuples(pb.PUT, {key: Stored(pb.LWW, lattices.encode_lww(value)) for key, value in values.items()})

    # The other lattices: a put adds to what is there, by the type's rule.

    def get_set(self, key: str) -> Optional[Set[bytes]]:
        """The members of a set."""
        return self._get(key, pb.SET, lambda payload: set(lattices.decode_set(payload)))

    def put_set(self, key: str, members: Iterable[bytes]) -> None:
        """Add members to a set."""
        self.put_payload(key, pb.SET, lattices.encode_set(members))

    def get_ordered_set(self, key: str) -> Optional[List[bytes]]:
        """The members of an ordered set, in order."""
        return self._get(key, pb.ORDERED_SET, lattices.decode_set)

    def put_ordered_set(self, key: str, members: Iterable[bytes]) -> None:
        """Add members to an ordered set."""
        self.put_payload(key, pb.ORDERED_SET, lattices.encode_set(members))

    def get_single_causal(self, key: str) -> Optional[Causal]:
        """A value with its vector clock; several values where concurrent writes met."""
        return self._get(key, pb.SINGLE_CAUSAL, lattices.decode_single_causal)

    def put_single_causal(self, key: str, value: Causal) -> None:
        """Store a value with a vector clock: it replaces what it follows and stands beside what is concurrent."""
        self.put_payload(key, pb.SINGLE_CAUSAL, lattices.encode_single_causal(value))

    def get_multi_causal(self, key: str) -> Optional[Causal]:
        """As get_single_causal, with dependencies."""
        return self._get(key, pb.MULTI_CAUSAL, lattices.decode_multi_causal)

    def put_multi_causal(self, key: str, value: Causal) -> None:
        """As put_single_causal, with dependencies."""
        self.put_payload(key, pb.MULTI_CAUSAL, lattices.encode_multi_causal(value))

    def get_priority(self, key: str) -> Optional[Priority]:
        """The value of the smallest priority that was offered."""
        return self._get(key, pb.PRIORITY, lattices.decode_priority)

    def put_priority(self, key: str, priority: float, value: bytes) -> None:
        """Offer a value; of all that were offered the one with the smallest priority stays."""
        self.put_payload(key, pb.PRIORITY, lattices.encode_priority(Priority(priority, value)))

    # Any type.

    def get_payload(self, key: str) -> Optional[Stored]:
        """What a key holds, of whatever type, as it travels. ANNA_METADATA keys are read this way too."""
        return self._tuples(pb.GET, {key: None})[key]

    def put_payload(self, key: str, lattice_type: int, payload: bytes) -> None:
        """Store a payload that is serialized already."""
        self._tuples(pb.PUT, {key: Stored(lattice_type, payload)})

    def _get(self, key: str, want: int, decode: Callable[[bytes], T]) -> Optional[T]:
        return self._decode(key, self.get_payload(key), want, decode)

    @staticmethod
    def _decode(key: str, stored: Optional[Stored], want: int, decode: Callable[[bytes], T]) -> Optional[T]:
        if stored is None:
            return None
        if stored.lattice_type != want:
            raise WrongType(f"key {key!r} holds {pb.LatticeType.Name(stored.lattice_type)}, not {pb.LatticeType.Name(want)}")
        return decode(stored.payload)

    # What happens on the wire.

    def _tuples(self, kind: "pb.RequestType", wanted: Mapping[str, Optional[Stored]]) -> Dict[str, Optional[Stored]]:
        """Carry out one request type for some keys, and return what the answers hold, None for keys that do not exist."""
        done: Dict[str, Optional[Stored]] = {}
        deadline = time.monotonic() + self._timeout
        why: Dict[str, Error] = {}
        pause = 0.001
        while len(done) < len(wanted):
            left = [key for key in wanted if key not in done][:self.MAX_KEYS]
            if time.monotonic() >= deadline:
                raise why.get(left[0], OutcomeUnknown(f"key {left[0]!r}: not done in {self._timeout} s"))
            if why:
                time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
                pause = min(2 * pause, 0.2)
            before = len(done)
            self._attempt(kind, wanted, left, done, why, deadline)
            if len(done) > before:
                pause = 0.001
        return done

    def _attempt(self, kind: "pb.RequestType", wanted: Mapping[str, Optional[Stored]], keys: List[str], done: Dict[str, Optional[Stored]],
                 why: Dict[str, Error], deadline: float) -> None:
        """Try once: find owners, send a request to each, take the answers. What is not in done afterwards is tried again."""
        self._locate([key for key in keys if key not in self._owners], why, deadline)
        by_owner: Dict[str, List[str]] = {}
        for key in keys:
            if key in self._owners:
                by_owner.setdefault(random.choice(self._owners[key]), []).append(key)
        open_requests: Dict[str, Set[str]] = {}
        sent_to: Dict[str, str] = {}
        for owner, named in by_owner.items():
            request = pb.KeyRequest(type=kind, response_address=self._answers_at, request_id=self._next_id())
            for key in named:
                t = request.tuples.add(key=key, address_cache_size=len(self._owners[key]))
                stored = wanted[key]
                if stored is not None:
                    t.lattice_type, t.payload = stored.lattice_type, stored.payload
            open_requests[request.request_id], sent_to[request.request_id] = set(named), owner
            self._push(owner, request.SerializeToString())
        until = min(deadline, time.monotonic() + self._attempt_timeout)
        while open_requests:
            response = self._receive(self._answers, pb.KeyResponse, until)
            if response is None:
                break
            self._take(response, open_requests, done, why)
        for request_id, group in open_requests.items():
            self._forget_node(sent_to[request_id])
            for key in group:
                why[key] = OutcomeUnknown(f"key {key!r}: no answer from {sent_to[request_id]}; " + (
                    "try again, or with a greater timeout" if kind == pb.GET else
                    "the write may have happened, or may still: read the key before you repeat what must not happen twice"))
        if kind != pb.GET and not self._retry_writes:
            for key in keys:
                if isinstance(why.get(key), OutcomeUnknown) and key not in done:
                    raise why[key]

    def _take(self, response: pb.KeyResponse, open_requests: Dict[str, Set[str]], done: Dict[str, Optional[Stored]],
              why: Dict[str, Error]) -> None:
        """Take one answer. One to a request that was given up is ignored."""
        keys = open_requests.get(response.response_id)
        if keys is None:
            return
        for t in response.tuples:
            if t.key not in keys:
                continue
            keys.discard(t.key)
            code = t.error or response.error
            if t.invalidate or code in (pb.WRONG_THREAD, pb.NO_SERVERS):
                self._owners.pop(t.key, None)
            if t.ips:
                self._owners[t.key] = list(t.ips)
            if code == pb.NO_ERROR:
                done[t.key] = Stored(t.lattice_type, t.payload)
            elif code == pb.KEY_DNE:
                done[t.key] = None
            else:
                self._refused(code, t.key, why)
        if not response.tuples and response.error:
            for key in keys:
                self._refused(response.error, key, why)
            keys.clear()
        if not keys:
            del open_requests[response.response_id]

    @staticmethod
    def _refused(code: int, key: str, why: Dict[str, Error]) -> None:
        """Note a refusal that may pass, or raise the error of one that does not. After an attempt without an answer the
        outcome stays unknown, whatever comes later."""
        if code == pb.WRONG_THREAD:
            error: Error = NoServers(f"key {key!r}: its owners disown it")
        else:
            error = of_code(code, key)
        unknown = why.get(key)
        if isinstance(unknown, OutcomeUnknown):
            error = unknown
        if code not in (pb.WRONG_THREAD, pb.NO_SERVERS, pb.OVERLOADED, pb.TIMEOUT):
            raise error
        why[key] = error

    def _locate(self, keys: List[str], why: Dict[str, Error], deadline: float) -> None:
        """Ask a routing thread who owns keys."""
        if not keys:
            return
        if len(self._owners) + len(keys) > self.MAX_OWNERS:
            self._owners.clear()
        request_id, routing = self._next_id(), random.choice(self._routing)
        self._push(routing, pb.KeyAddressRequest(response_address=self._names_at, keys=keys, request_id=request_id).SerializeToString())
        missing = set(keys)
        trouble = f"the routing node at {routing} names no owner: is a KN running?"
        until = min(deadline, time.monotonic() + self._attempt_timeout)
        while missing:
            response = self._receive(self._names, pb.KeyAddressResponse, until)
            if response is None:
                self._forget_node(routing)
                trouble = f"no answer from the routing node at {routing}: is the cluster up, and are address and port plan right?"
                break
            if response.response_id != request_id:
                continue
            for address in response.addresses:
                if address.ips:
                    self._owners[address.key] = list(address.ips)
                    missing.discard(address.key)
            if response.error:
                break
        for key in missing:
            why.setdefault(key, NoServers(f"key {key!r}: {trouble}"))

    def _forget_node(self, address: str) -> None:
        """Ask again who owns the keys of a node that did not answer. What still waits to be sent there is dropped: it must not be
        carried out when the node comes back, long after its caller has done something else."""
        node = address.rpartition(":")[0] + ":"
        self._owners = {key: ips for key, ips in self._owners.items() if not any(ip.startswith(node) for ip in ips)}
        for connected in [to for to in self._pushers if to.startswith(node)]:
            self._pushers.pop(connected).close(linger=0)

    def _next_id(self) -> str:
        self._counter += 1
        return f"{self._id}_{self._counter}"

    def _push(self, address: str, frame: bytes) -> None:
        socket = self._pushers.get(address)
        if socket is None:
            socket = self._pushers[address] = self._context.socket(zmq.PUSH)
            socket.connect(address)
        try:
            socket.send(frame, zmq.DONTWAIT)
        except zmq.Again:
            pass  # the queue of a peer that is away is full; the attempt runs into its timeout

    @staticmethod
    def _receive(socket: "zmq.Socket[bytes]", kind: Type[M], until: float) -> Optional[M]:
        """The next message, or None when none comes in time. What is no message is skipped."""
        while socket.poll(max(0, int((until - time.monotonic()) * 1000) + 1)):
            try:
                return kind.FromString(socket.recv())
            except DecodeError:
                continue
        return None
