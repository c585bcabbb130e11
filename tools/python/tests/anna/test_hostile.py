"""Peers that are broken or mean: each costs itself its connection, and others nothing. Raw TCP sockets, so that libzmq is in no one's way."""

import resource
import socket
import struct
import threading
from typing import List

import zmq

from dinomo.pb import request_pb2 as pb

from .cluster import KNS, PORTS, ROUTE_THREADS, ROUTES, ClusterTest, await_true, connections, descriptors, kn, memory_bytes, process_of, route, tool
from .peers import AnnaCppClient

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
HANDSHAKE = GREETING + b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH"
READY_PULL = b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04PULL"
LONG, SHORT, MORE = b"\x02", b"\x00", b"\x01"

# What a peer sends before it falls silent.
BAD_ENDS = {
    "nothing": b"",
    "half a greeting": GREETING[:20],
    "an older ZeroMQ": b"\x01\x00",
    "HTTP": b"GET / HTTP/1.1\r\nHost: kn\r\n\r\n",
    "another mechanism": GREETING[:12] + b"CURVE".ljust(20, b"\0") + bytes(32),
    "no handshake": GREETING + SHORT + b"\x05hello",
    "half a message": HANDSHAKE + SHORT + b"\xc8x",
    "a huge frame": HANDSHAKE + LONG + struct.pack(">Q", 1 << 62),
    "the start of a large frame": HANDSHAKE + LONG + struct.pack(">Q", 1 << 20) + bytes(1000),
    "bad flags": HANDSHAKE + b"\xff\xff\xff",
    "a message that is none": HANDSHAKE + SHORT + b"\x03\xff\xff\xff",
    "several frames": HANDSHAKE + MORE + b"\x01a" + SHORT + b"\x01b",
    "an unknown command": HANDSHAKE + b"\x04\x04\x03FOO",
    "idle": HANDSHAKE,
}
# Those of them that are no offence, or not yet: their connection may stay.
PATIENT = {"nothing", "half a greeting", "half a message", "the start of a large frame", "a message that is none", "several frames", "idle",
           "an unknown command"}


def descriptors_to_spare(wanted: int) -> int:
    """How many sockets this process may open, having asked for as many as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + 200 and hard != soft:
        soft = hard if hard != resource.RLIM_INFINITY and hard < wanted + 200 else wanted + 200
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(wanted, soft - 200)


class HostileTest(ClusterTest):
    def setUp(self) -> None:
        super().setUp()
        self.good = AnnaCppClient([route(i) for i in range(ROUTES)], ROUTE_THREADS, tool(0), 0)
        self.addCleanup(self.good.close)
        self.raw: List[socket.socket] = []
        self.addCleanup(self.hang_up)

    def hang_up(self) -> None:
        for s in self.raw:
            s.close()
        self.raw.clear()

    def dial(self, ip: str, port: int, say: bytes) -> socket.socket:
        s = socket.socket()
        self.raw.append(s)
        s.settimeout(60)
        s.bind((tool(8), 0))
        s.connect((ip, port))
        s.sendall(say)
        return s

    def good_is_served(self, rounds: int = 20) -> None:
        """Keys of all threads, so every one of them."""
        for n in range(rounds):
            self.good.put_lww(self.key(n), b"%d" % n)
            self.assertEqual(self.good.get_lww(self.key(n)), b"%d" % n)

    def test_bad_ends(self) -> None:
        """At a KN's request, gossip and join sockets and at a routing node's: who breaks the protocol is hung up on."""
        self.good_is_served()
        offenders = []
        for ip, port in ((kn(0), PORTS.kn_request), (kn(0), PORTS.kn_gossip), (kn(0), PORTS.kn_join), (route(0), PORTS.route_key_address),
                         (route(0), PORTS.route_notify)):
            for name, say in BAD_ENDS.items():
                s = self.dial(ip, port, say)
                if name not in PATIENT:
                    offenders.append((name, port, s))
        for name, port, s in offenders:
            with self.subTest(name, port=port):
                try:
                    while s.recv(1000):
                        pass
                except ConnectionResetError:
                    pass
        self.good_is_served()

    def test_nonsense_on_every_socket(self) -> None:
        """Frames that are well-formed ZeroMQ and nothing else, on every socket; unknown fields of otherwise good requests are skipped."""
        for ip in (kn(0), route(0)):
            for base in PORTS:
                for frame in (b"", b"\xff" * 100, b"join:", bytes(100_000), b"MEMORY:" * 1000):
                    pusher = self.context.socket(zmq.PUSH)
                    pusher.setsockopt(zmq.LINGER, 0)
                    pusher.connect(f"tcp://{ip}:{base}")
                    try:
                        pusher.send(frame, zmq.DONTWAIT)
                    except zmq.Again:
                        pass
                    pusher.close(linger=200)
        self.good_is_served()

    def test_unknown_fields(self) -> None:
        key = self.key("k")
        self.good.put_lww(key, b"v")
        at = next(iter(self.good.known[key]))
        answers_at, answers = self.listen_anywhere()
        request = pb.KeyRequest(type=pb.GET, response_address=answers_at, request_id="r")
        request.tuples.add(key=key)
        extra = bytes.fromhex("c83e07") + bytes.fromhex("d23e03616263")  # fields 1001 and 1002
        inner = request.tuples[0].SerializeToString() + extra
        frame = pb.KeyRequest(type=pb.GET, response_address=answers_at, request_id="r").SerializeToString()
        frame += b"\x12" + bytes([len(inner)]) + inner + extra
        self.push(at, frame)
        raw = answers.recv()
        response = pb.KeyResponse.FromString(raw)
        self.assertEqual((response.response_id, pb.LWWValue.FromString(response.tuples[0].payload).value), ("r", b"v"))
        self.assertNotIn(b"abc", raw)

    def test_thousands_of_connections(self) -> None:
        """Three thousand peers at one KN thread, each in one of the bad states above: the node pays kilobytes for each, good
        clients are served all along, and when the peers hang up nothing of them is left."""
        count = descriptors_to_spare(3000)
        self.assertGreaterEqual(count, 1000, "this process may not open enough sockets for the test")
        self.good_is_served()
        pid = process_of(kn(0))
        descriptors_before, memory_before = descriptors(pid), memory_bytes(pid)
        # Half of them stay for as long as they like; the others are hung up on after a while, for what they have begun and not ended.
        states = [BAD_ENDS[name] for name in ("idle", "half a message", "several frames", "the start of a large frame", "a message that is none", "nothing")]
        for n in range(count):
            self.dial(kn(0), PORTS.kn_request, states[n % len(states)])
            if n % 250 == 0:
                self.good_is_served(5)
        await_true("half of them are connected", lambda: connections(kn(0), {PORTS.kn_request}, tool(8)) >= count // 2)
        self.good_is_served()
        self.assertLess(memory_bytes(pid) - memory_before, count * (64 << 10), "of 64 KiB for each peer")
        self.hang_up()
        await_true("the connections end", lambda: connections(kn(0), {PORTS.kn_request}, tool(8)) == 0)
        await_true("descriptors fall back", lambda: descriptors(pid) <= descriptors_before + 8)
        self.good_is_served()

    def test_more_connections_than_there_may_be(self) -> None:
        """Peers that connect and say nothing, more than a thread takes: a client that comes after them is served."""
        limit = 4096
        count = descriptors_to_spare(limit + 400)
        if count < limit + 100:
            self.skipTest(f"this process may open {count} sockets, a thread takes {limit}")
        for n in range(count):
            self.dial(kn(0), PORTS.kn_request, BAD_ENDS["idle"])
        late = AnnaCppClient([route(i) for i in range(ROUTES)], ROUTE_THREADS, tool(0), 1)
        self.addCleanup(late.close)
        for n in range(20):
            late.put_lww(self.key(n), b"v")
            self.assertEqual(late.get_lww(self.key(n)), b"v")
        # The kernel's count includes who is about to be hung up on.
        await_true("no more are connected than there may be", lambda: connections(kn(0), {PORTS.kn_request}) <= limit)

    def test_slow_reader(self) -> None:
        """A client that asks for 100 MB and reads none of it: its answers are dropped, nobody else's."""
        key = self.key("large")
        self.good.put_lww(key, bytes(100_000))
        at = next(iter(self.good.known[key]))
        listener = socket.socket()
        listener.settimeout(60)
        listener.bind((tool(7), 0))
        listener.listen()
        port = listener.getsockname()[1]
        self.raw.append(listener)
        shaken = threading.Event()

        def shake_hands() -> None:
            s, _ = listener.accept()
            self.raw.append(s)
            s.sendall(GREETING + READY_PULL)
            shaken.set()

        thread = threading.Thread(target=shake_hands)
        thread.start()
        (pid,) = [process_of(kn(i)) for i in range(KNS) if f"//{kn(i)}:" in at]
        before = memory_bytes(pid)
        for n in range(1000):
            request = pb.KeyRequest(type=pb.GET, response_address=f"tcp://{tool(7)}:{port}", request_id=f"{n}")
            request.tuples.add(key=key)
            self.push(at, request.SerializeToString())
            if n % 100 == 0:
                self.assertEqual(self.good.get_lww(key), bytes(100_000))
        thread.join()
        self.assertTrue(shaken.is_set())
        self.good_is_served()
        # Its queue takes 16 MiB, what the kernel holds comes on top; the garbage collector has its part.
        self.assertLess(memory_bytes(pid) - before, 160 << 20)
