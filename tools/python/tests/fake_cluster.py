"""A stand-in for a cluster: one routing node and one KN thread over libzmq, in a thread of this process."""

import threading
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

import zmq

from dinomo.pb import request_pb2 as pb


class FakeCluster:
    """Answers as the hooks say. Values are kept as they come; there are no merges."""

    def __init__(self) -> None:
        self.values: Dict[str, "pb.KeyTuple"] = {}
        self.requests: List["pb.KeyRequest"] = []
        self.questions: List["pb.KeyAddressRequest"] = []
        # Owners that take requests and answer none, and what they took.
        self.silent: Set[str] = set()
        self.ignored: List["pb.KeyRequest"] = []
        # Called with each request before it is served; may return the answer itself, or False for none.
        self.hook: Optional[Callable[["pb.KeyRequest"], Any]] = None
        # Likewise for questions.
        self.routing_hook: Optional[Callable[["pb.KeyAddressRequest"], Any]] = None
        self._context = zmq.Context()
        self._route, self.routing = self._bind()
        self._kn, self.owner = self._bind()
        self._other, self.other = self._bind()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _bind(self) -> Tuple["zmq.Socket[bytes]", str]:
        socket = self._context.socket(zmq.PULL)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        return socket, f"tcp://127.0.0.1:{port}"

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def _serve(self) -> None:
        poller = zmq.Poller()
        for socket in (self._route, self._kn, self._other):
            poller.register(socket, zmq.POLLIN)
        pushers: Dict[str, "zmq.Socket[bytes]"] = {}
        try:
            self._loop(poller, pushers)
        finally:
            for socket in pushers.values():
                socket.close(linger=0)

    def _loop(self, poller: zmq.Poller, pushers: Dict[str, "zmq.Socket[bytes]"]) -> None:
        while not self._stop.is_set():
            for socket, _ in poller.poll(20):
                frame = socket.recv()
                if socket is self._route:
                    request = pb.KeyAddressRequest.FromString(frame)
                    self.questions.append(request)
                    answer = self.routing_hook(request) if self.routing_hook else None
                    if answer is None:
                        answer = pb.KeyAddressResponse(response_id=request.request_id)
                        for key in request.keys:
                            answer.addresses.add(key=key, ips=[self.owner])
                else:
                    request = pb.KeyRequest.FromString(frame)
                    if (self.owner if socket is self._kn else self.other) in self.silent:
                        self.ignored.append(request)
                        continue
                    self.requests.append(request)
                    answer = self.hook(request) if self.hook else None
                    if answer is None:
                        answer = self.serve(request)
                if answer is False:
                    continue
                to = request.response_address
                if to not in pushers:
                    pushers[to] = self._context.socket(zmq.PUSH)
                    pushers[to].connect(to)
                pushers[to].send(answer.SerializeToString())

    def serve(self, request: "pb.KeyRequest") -> "pb.KeyResponse":
        answer = pb.KeyResponse(type=request.type, response_id=request.request_id)
        for t in request.tuples:
            out = answer.tuples.add(key=t.key)
            if request.type == pb.PUT:
                self.values[t.key] = t
                out.lattice_type = t.lattice_type
            elif request.type == pb.DELETE:  # whether or not there is one, as a KN does
                self.values.pop(t.key, None)
            elif t.key not in self.values:
                out.error = pb.KEY_DNE
            else:
                out.lattice_type, out.payload = self.values[t.key].lattice_type, self.values[t.key].payload
        return answer

    def refusal(self, request: "pb.KeyRequest", code: int, ips: List[str] = []) -> "pb.KeyResponse":
        answer = pb.KeyResponse(type=request.type, response_id=request.request_id)
        for t in request.tuples:
            answer.tuples.add(key=t.key, error=code, ips=ips, invalidate=code == pb.WRONG_THREAD)
        return answer
