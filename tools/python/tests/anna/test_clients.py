"""Anna's clients, as they are, against the cluster: every lattice, several of them at once, coming back and vanishing."""

import subprocess
import sys
import threading
from typing import Dict, List, Sequence, Tuple

import zmq

from dinomo.pb import payload_pb2 as payloads, request_pb2 as pb

from .cluster import (KN_THREADS, KNS, PORTS, ROUTE_THREADS, ROUTES, ClusterTest, await_true, connections, descriptors, kn, process_of, route,
                      tool)
from .peers import AnnaCppClient, AnnaPythonClient

Clock = Dict[str, int]

ROUTING = [route(i) for i in range(ROUTES)]


def causal(clock: Clock, values: List[bytes], dependencies: Sequence[Tuple[str, Clock]] = ()) -> bytes:
    m = payloads.MultiKeyCausalValue(vector_clock=clock, values=values)
    for key, of_key in dependencies:
        m.dependencies.add(key=key, vector_clock=of_key)
    return m.SerializeToString()


class CppClientTest(ClusterTest):
    def cpp(self, number: int = 0, ip: int = 0) -> AnnaCppClient:
        c = AnnaCppClient(ROUTING, ROUTE_THREADS, tool(ip), number)
        self.addCleanup(c.close)
        return c

    def test_values(self) -> None:
        c = self.cpp()
        for i in range(50):
            t = c.put_lww(self.key(i), b"%d" % i)
            self.assertEqual((t.error, t.lattice_type, t.payload), (pb.NO_ERROR, pb.LWW, b""))
        for i in range(50):
            self.assertEqual(c.get_lww(self.key(i)), b"%d" % i)
        t = c.get(self.key("none"))
        self.assertEqual((t.error, t.payload), (pb.KEY_DNE, b""))
        self.assertEqual(c.disowned, 0)

    def test_many_under_way(self) -> None:
        c = self.cpp()
        ids = {c.put_async(self.key(i), pb.LWW, pb.LWWValue(timestamp=1, value=b"v%d" % i).SerializeToString()) for i in range(300)}
        while ids:
            ids -= {r.response_id for r in c.receive()}
        for i in range(300):
            c.get_async(self.key(i))
        left = {self.key(i): b"v%d" % i for i in range(300)}
        while left:
            for r in c.receive():
                self.assertEqual(pb.LWWValue.FromString(r.tuples[0].payload).value, left.pop(r.tuples[0].key))

    def test_sets(self) -> None:
        c = self.cpp()
        for kind, name in ((pb.SET, "set"), (pb.ORDERED_SET, "ordered")):
            for members in ([b"1", b"2", b"3"], [b"4", b"2", b"1"]):
                t = c.put(self.key(name), kind, payloads.SetValue(values=members).SerializeToString())
                self.assertEqual((t.error, t.lattice_type), (pb.NO_ERROR, kind))
            t = c.get(self.key(name))
            values = list(payloads.SetValue.FromString(t.payload).values)
            self.assertEqual((t.error, t.lattice_type, sorted(values)), (pb.NO_ERROR, kind, [b"1", b"2", b"3", b"4"]))
            if kind == pb.ORDERED_SET:
                self.assertEqual(values, sorted(values))

    def test_single_causal(self) -> None:
        c, key = self.cpp(), self.key("single")

        def put(clock: Clock, value: bytes) -> None:
            t = c.put(key, pb.SINGLE_CAUSAL, payloads.SingleKeyCausalValue(vector_clock=clock, values=[value]).SerializeToString())
            self.assertEqual(t.error, pb.NO_ERROR)

        def read() -> Tuple[Clock, List[bytes]]:
            v = payloads.SingleKeyCausalValue.FromString(c.get(key).payload)
            return dict(v.vector_clock), sorted(v.values)

        put({"x": 2}, b"two")
        put({"x": 1}, b"dominated")
        self.assertEqual(read(), ({"x": 2}, [b"two"]))
        put({"y": 1}, b"concurrent")
        self.assertEqual(read(), ({"x": 2, "y": 1}, [b"concurrent", b"two"]))
        put({"x": 3, "y": 1}, b"dominating")
        self.assertEqual(read(), ({"x": 3, "y": 1}, [b"dominating"]))

    def test_multi_causal(self) -> None:
        c, key = self.cpp(), self.key("multi")
        for put in (causal({"test": 1}, [b"hello"], [("dep1", {"test1": 1})]), causal({"other": 1}, [b"world"], [("dep1", {"test1": 3}), ("dep2", {"z": 1})])):
            self.assertEqual(c.put(key, pb.MULTI_CAUSAL, put).error, pb.NO_ERROR)
        t = c.get(key)
        v = payloads.MultiKeyCausalValue.FromString(t.payload)
        self.assertEqual((t.lattice_type, dict(v.vector_clock), sorted(v.values)), (pb.MULTI_CAUSAL, {"test": 1, "other": 1}, [b"hello", b"world"]))
        self.assertEqual({d.key: dict(d.vector_clock) for d in v.dependencies}, {"dep1": {"test1": 3}, "dep2": {"z": 1}})

    def test_priority(self) -> None:
        c, key = self.cpp(), self.key("priority")
        for priority, value in ((2.0, b"second"), (1.0, b"first"), (3.0, b"third")):
            t = c.put(key, pb.PRIORITY, payloads.PriorityValue(priority=priority, value=value).SerializeToString())
            self.assertEqual(t.error, pb.NO_ERROR)
        v = payloads.PriorityValue.FromString(c.get(key).payload)
        self.assertEqual((v.priority, v.value), (1.0, b"first"))

    def test_several_on_one_machine(self) -> None:
        """Numbers 0 to 9 of one address, at the same time, each on keys of its own and all on one."""
        failures: List[str] = []

        def work(number: int) -> None:
            c = AnnaCppClient(ROUTING, ROUTE_THREADS, tool(1), number)
            try:
                for i in range(40):
                    key, value = self.key(f"{number}-{i}"), b"%d of %d" % (i, number)
                    c.put_lww(key, value)
                    c.put(self.key("shared"), pb.SET, payloads.SetValue(values=[value]).SerializeToString())
                    if c.get_lww(key) != value:
                        failures.append(f"{key} reads as another's")
            except Exception as e:  # a thread's exception would be lost
                failures.append(repr(e))
            finally:
                c.close()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        members = set(payloads.SetValue.FromString(self.cpp().get(self.key("shared")).payload).values)
        self.assertEqual(members, {b"%d of %d" % (i, n) for n in range(10) for i in range(40)})

    def test_routing_threads(self) -> None:
        """Each routing thread of each routing node names the same owners, with full endpoints."""
        names_at, names = self.listen_anywhere()
        seen = set()
        for r in ROUTING:
            for thread in range(ROUTE_THREADS):
                question = pb.KeyAddressRequest(response_address=names_at, keys=["foo"], request_id=f"{r}-{thread}")
                self.push(f"tcp://{r}:{PORTS.route_key_address + thread}", question.SerializeToString())
                response = pb.KeyAddressResponse.FromString(names.recv())
                self.assertEqual((response.response_id, response.error, len(response.addresses)), (f"{r}-{thread}", pb.NO_ERROR, 1))
                seen.add((response.addresses[0].key, *response.addresses[0].ips))
        ((key, at),) = seen
        self.assertEqual(key, "foo")
        self.assertIn(at, [f"tcp://{kn(i)}:{PORTS.kn_request + t}" for i in range(KNS) for t in range(KN_THREADS)])

    def test_restart_under_the_same_address(self) -> None:
        """Ten lives at one address: each is answered, whatever the one before had under way."""
        for life in range(10):
            c = AnnaCppClient(ROUTING, ROUTE_THREADS, tool(3), 5)
            c.put_lww(self.key("life"), b"%d" % life)
            self.assertEqual(c.get_lww(self.key("life")), b"%d" % life)
            for i in range(20):
                c.get_async(self.key(f"left-{i}"))
                c.receive(0)
            c.close()

    def test_addresses_are_asked_for_once(self) -> None:
        c = self.cpp()
        for _ in range(20):
            c.put_lww(self.key("k"), b"v")
            c.get_lww(self.key("k"))
        self.assertEqual(c.asked, 1)

    def test_invalidate_where_the_count_differs(self) -> None:
        """A good answer says invalidate when the client knows more or fewer addresses than there are owners."""
        c = self.cpp()
        c.put_lww(self.key("k"), b"v")
        at = next(iter(c.known[self.key("k")]))
        answers_at, answers = self.listen_anywhere()
        for cached, want in ((0, False), (1, False), (2, True), (7, True)):
            request = pb.KeyRequest(type=pb.GET, response_address=answers_at, request_id=f"r{cached}")
            request.tuples.add(key=self.key("k"), address_cache_size=cached)
            self.push(at, request.SerializeToString())
            (t,) = pb.KeyResponse.FromString(answers.recv()).tuples
            self.assertEqual((t.error, t.invalidate), (pb.NO_ERROR, want), cached)


class PythonClientTest(ClusterTest):
    def client(self, local: bool = True, offset: int = 0, ip: int = 0) -> AnnaPythonClient:
        c = AnnaPythonClient(route(0), tool(ip), local, offset)
        self.addCleanup(c.close)
        return c

    def test_local_mode(self) -> None:
        c = self.client()
        self.assertEqual(c.get(self.key("a")), {self.key("a"): None})
        self.assertTrue(c.put(self.key("a"), b"1"))
        self.assertTrue(c.put(self.key("b"), b"2"))
        self.assertEqual(c.get([self.key("a"), self.key("b"), self.key("c")]), {self.key("a"): b"1", self.key("b"): b"2", self.key("c"): None})
        self.assertTrue(c.put_set(self.key("s"), [b"1", b"2"]))
        self.assertTrue(c.put_set(self.key("s"), [b"3"]))
        self.assertEqual(c.get(self.key("s")), {self.key("s"): {b"1", b"2", b"3"}})
        self.assertFalse(c.put(self.key("s"), b"another type"))
        self.assertEqual(c.last[self.key("s")].error, pb.LATTICE)

    def test_every_lattice_reads_back(self) -> None:
        c = self.client()
        for kind, m, want in (
            (pb.ORDERED_SET, payloads.SetValue(values=[b"1"]).SerializeToString(), {b"1"}),
            (pb.SINGLE_CAUSAL, payloads.SingleKeyCausalValue(vector_clock={"x": 1}, values=[b"1"]).SerializeToString(), {b"1"}),
            (pb.MULTI_CAUSAL, payloads.MultiKeyCausalValue(vector_clock={"x": 1}, values=[b"1"]).SerializeToString(), {b"1"}),
            (pb.PRIORITY, payloads.PriorityValue(priority=1, value=b"1").SerializeToString(), b"1"),
        ):
            key = self.key(kind)
            self.assertTrue(c.put_payload(key, kind, m))
            self.assertEqual(c.get(key), {key: want})

    def test_offsets(self) -> None:
        clients = [self.client(offset=i, ip=1) for i in range(8)]
        for i, c in enumerate(clients):
            self.assertTrue(c.put(self.key(i), b"%d" % i))
        for c in clients:
            self.assertEqual(c.get([self.key(i) for i in range(8)]), {self.key(i): b"%d" % i for i in range(8)})

    def test_not_local(self) -> None:
        """It picks among four routing ports; a routing node with four threads answers at each."""
        if ROUTE_THREADS < 4:
            self.skipTest("the routing nodes have fewer than four threads")
        c = self.client(local=False)
        for i in range(40):
            self.assertTrue(c.put(self.key(i), b"%d" % i))
        self.assertEqual(len([p for p in c.pushers if any(p == r for r in c.routing)]), 4)

    def test_ids_come_again(self) -> None:
        """After 10,000 requests the ids begin anew; answers are still those to the new requests."""
        c = self.client()
        self.assertTrue(c.put(self.key("n"), b"0"))
        c.counter = c.WRAP - 50
        for i in range(100):
            self.assertTrue(c.put(self.key("n"), b"%d" % i))
            self.assertEqual(c.get(self.key("n")), {self.key("n"): b"%d" % i})
        self.assertEqual(c.counter, 150)


# A client as a process of its own, which ends without closing anything. It asks every thread and waits for the answers.
VANISHING = """
import os, sys, zmq
sys.path.insert(0, sys.argv[1])
from dinomo.pb import request_pb2 as pb
context = zmq.Context()
answers = context.socket(zmq.PULL)
ip, port = sys.argv[2].split(":")
at = f"tcp://{ip}:{port}"
answers.bind(at)
answers.RCVTIMEO = 60000
pushers = []
for address in sys.argv[3:]:
    push = context.socket(zmq.PUSH)
    push.connect(f"tcp://{ip}:0;{address}")
    pushers.append(push)
    request = pb.KeyRequest(type=pb.GET, response_address=at, request_id=address)
    request.tuples.add(key="vanishing")
    push.send(request.SerializeToString())
    answers.recv()
print("answered", flush=True)
sys.stdin.read()
"""


class VanishingTest(ClusterTest):
    def test_nothing_grows(self) -> None:
        """Forty clients are served by every thread and are killed: no KN keeps a connection or a descriptor of theirs."""
        addresses = [f"{kn(i)}:{PORTS.kn_request + t}" for i in range(KNS) for t in range(KN_THREADS)]
        pids = [process_of(kn(i)) for i in range(KNS)]
        await_true("other tests' connections end", lambda: sum(connections(kn(i), remote_ip=tool(4)) for i in range(KNS)) == 0)
        before = [descriptors(pid) for pid in pids]
        from_here = sys.path[0] if sys.path[0] else "."
        processes = [subprocess.Popen([sys.executable, "-c", VANISHING, from_here, f"{tool(4)}:{20000 + n}", *addresses],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for n in range(40)]
        try:
            for p in processes:
                assert p.stdout is not None
                self.assertEqual(p.stdout.readline(), "answered\n")
            # Each thread has a connection from each client, and one to it.
            for i in range(KNS):
                self.assertEqual(connections(kn(i), {PORTS.kn_request + t for t in range(KN_THREADS)}, tool(4)), 40 * KN_THREADS)
                self.assertGreaterEqual(connections(kn(i), None, tool(4)), 80 * KN_THREADS)
        finally:
            for p in processes:
                p.kill()
                p.communicate()
        await_true("the connections end", lambda: sum(connections(kn(i), remote_ip=tool(4)) for i in range(KNS)) == 0)
        # Peers that cannot be reached are given up after half a minute, with the attempts to reach them.
        await_true("descriptors fall back", lambda: all(descriptors(pid) <= b + 4 for pid, b in zip(pids, before)), 120)
