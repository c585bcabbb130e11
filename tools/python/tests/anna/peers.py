"""Test peers that do on the wire what Anna's two clients do, written from the protocol's description.

Neither is a good client: they have their originals' habits, because these are what a server has to live with. The ZeroMQ
library is libzmq and the protobuf code Google's; nothing of this project's own client is used.
"""

import random
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Set, Tuple, Union

import zmq

from dinomo.pb import payload_pb2, request_pb2 as pb

from .cluster import PATIENCE_MS, PORTS


class Hangs(AssertionError):
    """The original would wait for ever here."""


class AnnaCppClient:
    """Anna's C++ client: asynchronous, several requests under way, gets known by their key and puts by key and id, remembered
    addresses dropped on WRONG_THREAD and asked for again. It listens at 6800 and 6850 plus its number. Requests that nobody answers
    end as TIMEOUT after a while, and every address of the node that did not answer is forgotten."""

    def __init__(self, routing: Iterable[str], routing_threads: int, ip: str, number: int = 0, timeout: float = 10.0) -> None:
        self.routing = [f"tcp://{r}:{PORTS.route_key_address + t}" for r in routing for t in range(routing_threads)]
        self.name, self.timeout = f"{ip}:{number}", timeout
        self.context = zmq.Context()
        self.answers_at, self.names_at = f"tcp://{ip}:{PORTS.response + number}", f"tcp://{ip}:{PORTS.key_address + number}"
        self.answers, self.names = self.context.socket(zmq.PULL), self.context.socket(zmq.PULL)
        self.answers.bind(self.answers_at)
        self.names.bind(self.names_at)
        self.poller = zmq.Poller()
        self.poller.register(self.answers, zmq.POLLIN)
        self.poller.register(self.names, zmq.POLLIN)
        self.pushers: Dict[str, "zmq.Socket[bytes]"] = {}
        self.counter = 0
        self.known: Dict[str, Set[str]] = {}
        self.sent_to: Dict[str, str] = {}  # by request id
        # key -> (when asked, requests that wait for its addresses)
        self.asking: Dict[str, Tuple[float, List[pb.KeyRequest]]] = {}
        self.gets: Dict[str, Tuple[float, pb.KeyRequest]] = {}
        self.puts: Dict[str, Dict[str, Tuple[float, pb.KeyRequest]]] = {}
        self.disowned = 0  # answers with WRONG_THREAD
        self.asked = 0  # address requests sent

    def close(self) -> None:
        self.context.destroy(linger=0)

    def get_async(self, key: str) -> None:
        if key in self.gets:
            return  # one get of a key at a time; its answer is everybody's
        request = self._request(pb.GET, key)
        self.gets[key] = (time.monotonic(), request)
        self._try(request)

    def put_async(self, key: str, lattice_type: int, payload: bytes) -> str:
        request = self._request(pb.PUT, key)
        request.tuples[0].lattice_type, request.tuples[0].payload = lattice_type, payload
        self.puts.setdefault(key, {})[request.request_id] = (time.monotonic(), request)
        self._try(request)
        return request.request_id

    def receive(self, wait_ms: int = 10) -> List[pb.KeyResponse]:
        """What has arrived, one KeyResponse for each request that ended."""
        done: List[pb.KeyResponse] = []
        ready = dict(self.poller.poll(wait_ms))
        if self.names in ready:
            self._take_addresses(pb.KeyAddressResponse.FromString(self.names.recv()), done)
        if self.answers in ready:
            self._take_answer(pb.KeyResponse.FromString(self.answers.recv()), done)
        self._collect_garbage(done)
        return done

    # The two calls that Anna's command line makes of them.

    def get(self, key: str) -> "pb.KeyTuple":
        self.get_async(key)
        return self._wait_for(lambda r: r.type == pb.GET and r.tuples[0].key == key)

    def put(self, key: str, lattice_type: int, payload: bytes) -> "pb.KeyTuple":
        rid = self.put_async(key, lattice_type, payload)
        return self._wait_for(lambda r: r.response_id == rid)

    def put_lww(self, key: str, value: bytes, timestamp: Optional[int] = None) -> "pb.KeyTuple":
        payload = pb.LWWValue(timestamp=int(time.time() * 1e6) if timestamp is None else timestamp, value=value)
        return self.put(key, pb.LWW, payload.SerializeToString())

    def get_lww(self, key: str) -> bytes:
        t = self.get(key)
        assert (t.error, t.lattice_type) == (pb.NO_ERROR, pb.LWW), t
        return pb.LWWValue.FromString(t.payload).value

    def _wait_for(self, mine: Callable[["pb.KeyResponse"], bool]) -> "pb.KeyTuple":
        end = time.monotonic() + PATIENCE_MS / 1000
        while time.monotonic() < end:
            for response in self.receive():
                if mine(response):
                    return response.tuples[0]
        raise Hangs("no answer")

    def _request(self, kind: "pb.RequestType", key: str) -> "pb.KeyRequest":
        self.counter += 1
        request = pb.KeyRequest(type=kind, response_address=self.answers_at, request_id=f"{self.name}_{self.counter}")
        request.tuples.add(key=key)
        return request

    def _try(self, request: "pb.KeyRequest") -> None:
        t = request.tuples[0]
        addresses = self.known.get(t.key)
        if not addresses:
            if t.key in self.asking:
                self.asking[t.key][1].append(request)
                return
            self.asking[t.key] = (time.monotonic(), [request])
            self._ask(t.key)
            return
        t.address_cache_size = len(addresses)
        worker = random.choice(sorted(addresses))
        self.sent_to[request.request_id] = worker
        self._push(worker, request.SerializeToString())

    def _ask(self, key: str) -> None:
        self.counter += 1
        self.asked += 1
        question = pb.KeyAddressRequest(response_address=self.names_at, keys=[key], request_id=f"{self.name}_{self.counter}")
        self._push(random.choice(self.routing), question.SerializeToString())

    def _push(self, address: str, frame: bytes) -> None:
        if address not in self.pushers:
            self.pushers[address] = self.context.socket(zmq.PUSH)
            self.pushers[address].connect(address)
        self.pushers[address].send(frame)

    def _take_addresses(self, response: "pb.KeyAddressResponse", done: List["pb.KeyResponse"]) -> None:
        key = response.addresses[0].key if response.addresses else ""
        if key not in self.asking:
            return
        if response.error == pb.NO_SERVERS:
            self._ask(key)
            return
        self.known[key] = set(response.addresses[0].ips)
        for request in self.asking.pop(key)[1]:
            self._try(request)

    def _take_answer(self, response: "pb.KeyResponse", done: List["pb.KeyResponse"]) -> None:
        t = response.tuples[0]
        if response.type == pb.GET:
            pending = self.gets.get(t.key)
        else:
            pending = self.puts.get(t.key, {}).get(response.response_id)
        if pending is None:
            return
        if t.error == pb.WRONG_THREAD or t.invalidate:
            self.known.pop(t.key, None)
        if t.error == pb.WRONG_THREAD:
            self.disowned += 1
            self._try(pending[1])
            return
        self._forget(response.type, t.key, pending[1].request_id)
        done.append(response)

    def _forget(self, kind: "pb.RequestType", key: str, request_id: str) -> None:
        self.sent_to.pop(request_id, None)
        if kind == pb.GET:
            del self.gets[key]
            return
        del self.puts[key][request_id]
        if not self.puts[key]:
            del self.puts[key]

    def _invalidate(self, worker: Optional[str]) -> None:
        if worker:
            node = worker.rpartition(":")[0] + ":"
            for key in [k for k, addresses in self.known.items() if any(a.startswith(node) for a in addresses)]:
                del self.known[key]

    def _collect_garbage(self, done: List["pb.KeyResponse"]) -> None:
        old = time.monotonic() - self.timeout
        late = [r for at, r in self.gets.values() if at < old]
        late += [r for of_key in self.puts.values() for at, r in of_key.values() if at < old]
        for r in late:
            key = r.tuples[0].key
            self._invalidate(self.sent_to.get(r.request_id))
            self._forget(r.type, key, r.request_id)
            self.asking.pop(key, None)
            response = pb.KeyResponse(type=r.type, response_id=r.request_id)
            response.tuples.add(key=key, error=pb.TIMEOUT)
            done.append(response)


class AnnaPythonClient:
    """Anna's Python client: synchronous, a tuple a request, a counter for an id, no timeout and no second try. In local mode it asks
    the one routing port 6450 and listens at 6460 and 6760 plus its offset; out of it, it picks among ports 6450 to 6453."""

    RESPONSE, KEY_ADDRESS = 6460, 6760
    WRAP = 10_000

    def __init__(self, routing: str, ip: str, local: bool = False, offset: int = 0) -> None:
        ports = [PORTS.route_key_address] if local else range(PORTS.route_key_address, PORTS.route_key_address + 4)
        self.routing = [f"tcp://{routing}:{port}" for port in ports]
        self.context = zmq.Context()
        self.answers_at, self.names_at = f"tcp://{ip}:{self.RESPONSE + offset}", f"tcp://{ip}:{self.KEY_ADDRESS + offset}"
        self.answers, self.names = self.context.socket(zmq.PULL), self.context.socket(zmq.PULL)
        for socket, address in ((self.answers, self.answers_at), (self.names, self.names_at)):
            socket.RCVTIMEO = PATIENCE_MS
            socket.bind(address)
        self.pushers: Dict[str, "zmq.Socket[bytes]"] = {}
        self.known: Dict[str, List[str]] = {}
        self.counter = 0
        self.last: Dict[str, "pb.KeyTuple"] = {}  # the last tuple of each key, for tests

    def close(self) -> None:
        self.context.destroy(linger=0)

    def get(self, keys: Union[str, Iterable[str]]) -> Dict[str, Optional[object]]:
        """key -> value; None for whatever is not there, or went wrong."""
        keys = [keys] if isinstance(keys, str) else list(keys)
        ids = set()
        for key in keys:
            if self._worker(key):
                ids.add(self._send(pb.GET, key))
        found: Dict[str, Optional[object]] = {key: None for key in keys}
        for response in self._receive(self.answers, pb.KeyResponse, ids):
            t = self._one_tuple(response)
            if t.error == pb.NO_ERROR:
                found[t.key] = self._decode(t)
        return found

    def put(self, key: str, value: bytes) -> bool:
        payload = pb.LWWValue(timestamp=int(time.time() * 1e6), value=value)
        return self.put_payload(key, pb.LWW, payload.SerializeToString())

    def put_set(self, key: str, members: Iterable[bytes]) -> bool:
        return self.put_payload(key, pb.SET, payload_pb2.SetValue(values=list(members)).SerializeToString())

    def put_payload(self, key: str, lattice_type: int, payload: bytes) -> bool:
        if not self._worker(key):
            return False
        request_id = self._send(pb.PUT, key, lattice_type, payload)
        (response,) = self._receive(self.answers, pb.KeyResponse, {request_id})
        return self._one_tuple(response).error == pb.NO_ERROR

    def _one_tuple(self, response: "pb.KeyResponse") -> "pb.KeyTuple":
        (t,) = response.tuples
        self.last[t.key] = t
        if t.invalidate:
            self.known.pop(t.key, None)
        return t

    @staticmethod
    def _decode(t: "pb.KeyTuple") -> object:
        if t.lattice_type == pb.LWW:
            return pb.LWWValue.FromString(t.payload).value
        if t.lattice_type in (pb.SET, pb.ORDERED_SET):
            return set(payload_pb2.SetValue.FromString(t.payload).values)
        if t.lattice_type == pb.PRIORITY:
            return payload_pb2.PriorityValue.FromString(t.payload).value
        if t.lattice_type == pb.SINGLE_CAUSAL:
            return set(payload_pb2.SingleKeyCausalValue.FromString(t.payload).values)
        if t.lattice_type == pb.MULTI_CAUSAL:
            return set(payload_pb2.MultiKeyCausalValue.FromString(t.payload).values)
        raise ValueError(f"lattice type {t.lattice_type}")  # the original raises, too

    def _send(self, kind: "pb.RequestType", key: str, lattice_type: int = 0, payload: bytes = b"") -> str:
        request = pb.KeyRequest(type=kind, response_address=self.answers_at, request_id=self._next_id())
        t = request.tuples.add(key=key, address_cache_size=len(self.known[key]))
        t.lattice_type, t.payload = lattice_type, payload
        self._push(self._worker(key) or "", request.SerializeToString())
        return request.request_id

    def _worker(self, key: str) -> Optional[str]:
        if key not in self.known:
            request = pb.KeyAddressRequest(response_address=self.names_at, keys=[key], request_id=self._next_id())
            self._push(random.choice(self.routing), request.SerializeToString())
            (response,) = self._receive(self.names, pb.KeyAddressResponse, {request.request_id})
            if response.error != pb.NO_ERROR:
                return None
            for a in response.addresses:
                if a.key == key:
                    self.known[key] = list(a.ips)
        return random.choice(self.known[key]) if self.known.get(key) else None

    def _next_id(self) -> str:
        self.counter = (self.counter + 1) % self.WRAP
        return f"{self.answers_at}:{self.counter}"

    def _push(self, address: str, frame: bytes) -> None:
        if address not in self.pushers:
            self.pushers[address] = self.context.socket(zmq.PUSH)
            self.pushers[address].connect(address)
        self.pushers[address].send(frame)

    @staticmethod
    def _receive(socket: "zmq.Socket[bytes]", kind: Any, ids: Iterable[str]) -> List[Any]:
        """One response for each id. Anything else is thrown away, as the original does."""
        missing, responses = set(ids), []
        while missing:
            try:
                response = kind.FromString(socket.recv())
            except zmq.Again:
                raise Hangs(f"no response to {sorted(missing)}") from None
            if response.response_id in missing:
                missing.discard(response.response_id)
                responses.append(response)
        return responses
