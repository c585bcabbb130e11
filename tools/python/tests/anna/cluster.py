"""Where the cluster under test is, and what it holds on to."""

import os
import random
import time
import unittest
from typing import Callable, Dict, List, NamedTuple, Optional, Set, Tuple

import zmq


class Ports(NamedTuple):
    """Base ports of one numbering plan; a thread's port is base + thread."""

    kn_join: int
    kn_depart: int
    kn_request: int
    kn_gossip: int
    kn_replication_change: int
    kn_cache_ip: int
    kn_management: int
    route_seed: int
    route_notify: int
    route_key_address: int
    route_replication_change: int
    bench_command: int
    restart_count: int
    churn: int
    response: int
    key_address: int
    cache_update: int


PLANS = {
    "anna": Ports(6000, 6050, 6200, 6250, 6300, 7050, 7100, 6350, 6400, 6450, 6550, 6900, 7000, 7001, 6800, 6850, 7150),
    "dinomo": Ports(6000, 6100, 6400, 6500, 6700, 6800, 6900, 7000, 7100, 8200, 7300, 8000, 8100, 8101, 8300, 8400, 8500),
}

NETWORK = os.environ.get("DINOMO_CLUSTER", "")
PLAN = os.environ.get("DINOMO_PORTS", "anna")
PORTS = PLANS[PLAN]
KNS = int(os.environ.get("DINOMO_KNS", "2"))
KN_THREADS = int(os.environ.get("DINOMO_KN_THREADS", "2"))
ROUTES = int(os.environ.get("DINOMO_ROUTES", "1"))
ROUTE_THREADS = int(os.environ.get("DINOMO_ROUTE_THREADS", "1"))

# Nothing here takes this long; what waits longer hangs.
PATIENCE_MS = 60_000


def host(number: int) -> str:
    """The address of a node by its place in the network, as `dinomo up` numbers them."""
    return NETWORK.rpartition(".")[0] + f".{number}"


def manage() -> str:
    return host(1)


def route(i: int) -> str:
    return host(4 + i)


def bench(i: int) -> str:
    return host(20 + i)


def kn(i: int) -> str:
    return host(100 + i)


def tool(i: int) -> str:
    """Addresses for clients; 0 to 3 are for those of other tests."""
    return host(244 + i)


def endpoint(ip: str, base: int, thread: int = 0) -> str:
    return f"tcp://{ip}:{base + thread}"


def await_true(what: str, ok: Callable[[], bool], seconds: float = PATIENCE_MS / 1000) -> None:
    """Wait until ok; there is no event to wait for in another process."""
    end = time.monotonic() + seconds
    while not ok():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not in {seconds} s")
        time.sleep(0.02)


@unittest.skipUnless(NETWORK, "DINOMO_CLUSTER is not set")
class ClusterTest(unittest.TestCase):
    """A test against the cluster, with a ZeroMQ context of its own and keys that no other test has."""

    def setUp(self) -> None:
        self.context = zmq.Context()
        self.addCleanup(self.context.destroy, linger=0)
        self._prefix = f"anna-{random.getrandbits(64):x}-"
        self._pushers: Dict[str, "zmq.Socket[bytes]"] = {}
        self._listeners: List["zmq.Socket[bytes]"] = []  # a socket that nobody refers to would keep the context from ending

    def key(self, name: object) -> str:
        return f"{self._prefix}{name}"

    def listen(self, address: str) -> "zmq.Socket[bytes]":
        socket = self.context.socket(zmq.PULL)
        socket.RCVTIMEO = PATIENCE_MS
        socket.bind(address)
        self._listeners.append(socket)
        return socket

    def listen_anywhere(self) -> Tuple[str, "zmq.Socket[bytes]"]:
        """A socket at an address that no other test has, and so gets no other test's answers."""
        socket = self.context.socket(zmq.PULL)
        socket.RCVTIMEO = PATIENCE_MS
        port = socket.bind_to_random_port(f"tcp://{tool(7)}")
        self._listeners.append(socket)
        return f"tcp://{tool(7)}:{port}", socket

    def push(self, address: str, frame: bytes) -> None:
        if address not in self._pushers:
            self._pushers[address] = self.context.socket(zmq.PUSH)
            self._pushers[address].SNDTIMEO = PATIENCE_MS
            self._pushers[address].connect(address)
        self._pushers[address].send(frame)

    def ask(self, address: str, question: bytes) -> bytes:
        """One exchange with a REP socket."""
        socket = self.context.socket(zmq.REQ)
        socket.RCVTIMEO = PATIENCE_MS
        socket.connect(address)
        socket.send(question)
        answer = socket.recv()
        socket.close(linger=0)
        return answer


def process_of(ip: str) -> int:
    """The process of the node at an address of this network namespace: another may have nodes of the same addresses."""
    wanted, namespace = f"PRIVATE_IP={ip}".encode(), os.readlink("/proc/self/ns/net")
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.readlink(f"/proc/{name}/ns/net") != namespace:
                    continue
                with open(f"/proc/{name}/environ", "rb") as f:
                    if wanted in f.read().split(b"\0"):
                        return int(name)
            except OSError:
                pass  # it has ended meanwhile
    raise AssertionError(f"no process at {ip}")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_bytes(pid: int, what: str = "VmRSS") -> int:
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(what + ":"):
                return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no {what}")


def connections(local_ip: str, local_ports: Optional[Set[int]] = None, remote_ip: Optional[str] = None) -> int:
    """Established TCP connections of an address, at its end, of this network namespace."""

    def parse(text: str) -> Tuple[str, int]:
        ip, port = text.split(":")
        return ".".join(str(b) for b in reversed(bytes.fromhex(ip))), int(port, 16)

    count = 0
    with open("/proc/net/tcp") as f:
        next(f)
        for line in f:
            fields = line.split()
            ip, port = parse(fields[1])
            other, _ = parse(fields[2])
            count += (fields[3] == "01" and ip == local_ip and (local_ports is None or port in local_ports)
                      and (remote_ip is None or other == remote_ip))
    return count


def request_addresses() -> List[str]:
    return [endpoint(kn(i), PORTS.kn_request, t) for i in range(KNS) for t in range(KN_THREADS)]
