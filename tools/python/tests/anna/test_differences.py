"""What Anna's server was seen to do and ours does otherwise, and what a client needs of every answer."""

import os
from typing import List, Optional

from dinomo.pb import metadata_pb2 as metadata, payload_pb2 as payloads, request_pb2 as pb

from .cluster import (KN_THREADS, KNS, PORTS, ROUTE_THREADS, ROUTES, ClusterTest, await_true, kn, memory_bytes, process_of, request_addresses,
                      route, tool)
from .peers import AnnaCppClient

TIMESTAMPS = os.environ.get("DINOMO_LWW", "arrival") == "timestamp"


def lww(value: bytes, timestamp: int = 1) -> bytes:
    return pb.LWWValue(timestamp=timestamp, value=value).SerializeToString()


class RawTest(ClusterTest):
    """Requests and answers as they are, without a client."""

    def setUp(self) -> None:
        super().setUp()
        self.at, self.answers = self.listen_anywhere()
        self.names_at, self.names = self.listen_anywhere()
        self.counter = 0

    def locate(self, keys: List[str], thread: int = 0) -> "pb.KeyAddressResponse":
        self.counter += 1
        question = pb.KeyAddressRequest(response_address=self.names_at, keys=keys, request_id=f"a{self.counter}")
        self.push(f"tcp://{route(0)}:{PORTS.route_key_address + thread}", question.SerializeToString())
        response = pb.KeyAddressResponse.FromString(self.names.recv())
        self.assertEqual(response.response_id, f"a{self.counter}")
        return response

    def owner(self, key: str) -> str:
        return self.locate([key]).addresses[0].ips[0]

    def request(self, kind: "pb.RequestType", key: str, lattice_type: int = 0, payload: bytes = b"", at: Optional[str] = None) -> "pb.KeyTuple":
        at = at or self.owner(key)
        self.counter += 1
        request = pb.KeyRequest(type=kind, response_address=self.at, request_id=f"r{self.counter}")
        request.tuples.add(key=key, lattice_type=lattice_type, payload=payload)
        self.push(at, request.SerializeToString())
        response = pb.KeyResponse.FromString(self.answers.recv())
        self.assertEqual((response.type, response.response_id, len(response.tuples)), (kind, f"r{self.counter}", 1))
        self.assertEqual(response.tuples[0].key, key)
        return response.tuples[0]

    def value(self, key: str) -> Optional[bytes]:
        t = self.request(pb.GET, key)
        if t.error == pb.KEY_DNE:
            return None
        self.assertEqual((t.error, t.lattice_type), (pb.NO_ERROR, pb.LWW))
        return pb.LWWValue.FromString(t.payload).value


class DifferencesTest(RawTest):
    """The protocol's list, in its order."""

    def test_timestamps(self) -> None:
        """An older timestamp succeeds and changes nothing, an equal one replaces; by arrival, the default, the later put counts."""
        key = self.key("k")
        for timestamp, value, want in ((5, b"five", b"five"), (4, b"four", b"five" if TIMESTAMPS else b"four"), (5, b"equal", b"equal"),
                                       (9, b"nine", b"nine"), (0, b"none", b"nine" if TIMESTAMPS else b"none")):
            self.assertEqual(self.request(pb.PUT, key, pb.LWW, lww(value, timestamp)).error, pb.NO_ERROR)
            self.assertEqual(self.value(key), want, timestamp)

    def test_another_type(self) -> None:
        """LATTICE, and the key stays as it is, for every pair of types."""
        values = {
            pb.LWW: lww(b"v"), pb.SET: payloads.SetValue(values=[b"v"]).SerializeToString(),
            pb.ORDERED_SET: payloads.SetValue(values=[b"v"]).SerializeToString(),
            pb.SINGLE_CAUSAL: payloads.SingleKeyCausalValue(vector_clock={"x": 1}, values=[b"v"]).SerializeToString(),
            pb.MULTI_CAUSAL: payloads.MultiKeyCausalValue(vector_clock={"x": 1}, values=[b"v"]).SerializeToString(),
            pb.PRIORITY: payloads.PriorityValue(priority=1, value=b"v").SerializeToString(),
        }
        for mine, payload in values.items():
            key = self.key(mine)
            self.assertEqual(self.request(pb.PUT, key, mine, payload).error, pb.NO_ERROR)
            for other, theirs in values.items():
                if other != mine:
                    self.assertEqual(self.request(pb.PUT, key, other, theirs).error, pb.LATTICE, (mine, other))
            t = self.request(pb.GET, key)
            self.assertEqual((t.error, t.lattice_type, t.payload), (pb.NO_ERROR, mine, payload))

    def test_no_type(self) -> None:
        key = self.key("k")
        self.assertEqual(self.request(pb.PUT, key, pb.NONE, b"x").error, pb.INVALID_REQUEST)
        self.assertIsNone(self.value(key))
        self.request(pb.PUT, key, pb.LWW, lww(b"v"))
        self.assertEqual(self.request(pb.PUT, key, pb.NONE, b"x").error, pb.INVALID_REQUEST)
        self.assertEqual(self.value(key), b"v")

    def test_empty_value(self) -> None:
        for payload in (lww(b""), b""):
            key = self.key(len(payload))
            self.assertEqual(self.request(pb.PUT, key, pb.LWW, payload).error, pb.NO_ERROR)
            self.assertEqual(self.value(key), b"")

    def test_empty_key(self) -> None:
        for kind in (pb.GET, pb.PUT, pb.DELETE):
            for address in request_addresses():
                self.assertEqual(self.request(kind, "", pb.LWW, lww(b"v"), address).error, pb.INVALID_REQUEST)
        self.request(pb.PUT, self.key("k"), pb.LWW, lww(b"lives"))
        self.assertEqual(self.value(self.key("k")), b"lives")

    def test_batch_of_addresses(self) -> None:
        keys = [self.key(i) for i in range(50)]
        for thread in range(ROUTE_THREADS):
            response = self.locate(keys, thread)
            self.assertEqual((response.error, [a.key for a in response.addresses]), (pb.NO_ERROR, keys))
            for a in response.addresses:
                self.assertEqual(len(a.ips), 1)
                self.assertIn(a.ips[0], request_addresses())

    def test_no_addresses_asked_for(self) -> None:
        response = self.locate([])
        self.assertEqual((response.error, len(response.addresses)), (pb.NO_ERROR, 0))

    def test_answers_to_nobody(self) -> None:
        """5,000 answers of 10 KB to where nobody listens, and as many to a hundred such places: everybody else is served, and the
        node's memory does not follow."""
        key = self.key("k")
        self.request(pb.PUT, key, pb.LWW, lww(bytes(10_000)))
        at = self.owner(key)
        (pid,) = [process_of(kn(i)) for i in range(KNS) if f"//{kn(i)}:" in at]
        before = memory_bytes(pid)
        for n in range(10_000):
            nobody = f"tcp://{tool(9)}:{30000 + (n % 100 if n >= 5000 else 0)}"
            request = pb.KeyRequest(type=pb.GET, response_address=nobody, request_id="nobody")
            request.tuples.add(key=key)
            self.push(at, request.SerializeToString())
            if n % 500 == 0:
                self.assertEqual(self.value(key), bytes(10_000))
        self.assertEqual(self.value(key), bytes(10_000))
        # 100 MB of answers; a peer's queue takes 16 MiB, all together twice 64 MiB, and the garbage collector its part.
        self.assertLess(memory_bytes(pid) - before, 512 << 20)

    def test_access_statistics(self) -> None:
        """However many keys are read, only the hottest are reported."""
        for first in range(0, 20_000, 1000):
            self.counter += 1
            for address in request_addresses():
                request = pb.KeyRequest(type=pb.GET, response_address=self.at, request_id=f"r{self.counter}")
                for n in range(first, first + 1000):
                    request.tuples.add(key=self.key(n))
                self.push(address, request.SerializeToString())
            for _ in request_addresses():
                self.assertEqual(len(pb.KeyResponse.FromString(self.answers.recv()).tuples), 1000)
        for i in range(KNS):
            for thread in range(KN_THREADS):
                name = f"ANNA_METADATA|access|{kn(i)}|{kn(i)}|{thread}|MEMORY"
                await_true(f"{name} is there", lambda: self.value(name) is not None)
                self.assertLessEqual(len(metadata.KeyAccessData.FromString(self.value(name) or b"").keys), 64)


class AnswersTest(RawTest):
    """What a client needs of an answer."""

    def test_types_by_other_names(self) -> None:
        """READ is GET; INSERT and UPDATE are PUT; the answer has the request's own type."""
        key = self.key("k")
        for kind in (pb.INSERT, pb.UPDATE, pb.PUT):
            self.assertEqual(self.request(kind, key, pb.LWW, lww(b"%d" % kind)).error, pb.NO_ERROR)
            t = self.request(pb.READ, key)
            self.assertEqual((t.error, t.lattice_type, t.payload), (pb.NO_ERROR, pb.LWW, lww(b"%d" % kind)))

    def test_delete(self) -> None:
        """Ours: it removes a key of any type, and says NO_ERROR whether or not there was one."""
        key = self.key("k")
        self.assertEqual(self.request(pb.DELETE, key).error, pb.NO_ERROR)
        self.request(pb.PUT, key, pb.SET, payloads.SetValue(values=[b"1"]).SerializeToString())
        self.assertEqual(self.request(pb.DELETE, key).error, pb.NO_ERROR)
        self.assertEqual(self.request(pb.GET, key).error, pb.KEY_DNE)
        self.assertEqual(self.request(pb.PUT, key, pb.LWW, lww(b"1")).error, pb.NO_ERROR)

    def test_wrong_thread(self) -> None:
        """With the right addresses, whole, and invalidate set: all that either of Anna's clients looks at."""
        key = self.key("k")
        owner = self.owner(key)
        for address in request_addresses():
            for kind in (pb.GET, pb.PUT):
                t = self.request(kind, key, pb.LWW, lww(b"v"), address)
                if address == owner:
                    self.assertIn(t.error, (pb.NO_ERROR, pb.KEY_DNE))
                else:
                    self.assertEqual((t.error, t.invalidate, list(t.ips), t.payload), (pb.WRONG_THREAD, True, [owner], b""))

    def test_every_tuple_is_answered(self) -> None:
        """One response for a request, with all its keys in its order: there, missing, another thread's, refused."""
        mine, at = self.key("mine"), self.owner(self.key("mine"))
        self.request(pb.PUT, mine, pb.LWW, lww(b"v"))
        other = next(k for k in (self.key(i) for i in range(1000)) if self.owner(k) != at)
        missing = next(k for k in (self.key(f"m{i}") for i in range(1000)) if self.owner(k) == at)
        request = pb.KeyRequest(type=pb.GET, response_address=self.at, request_id="several")
        keys = [other, mine, "", missing, mine]
        for key in keys:
            request.tuples.add(key=key)
        self.push(at, request.SerializeToString())
        response = pb.KeyResponse.FromString(self.answers.recv())
        self.assertEqual((response.response_id, [t.key for t in response.tuples]), ("several", keys))
        self.assertEqual([t.error for t in response.tuples], [pb.WRONG_THREAD, pb.NO_ERROR, pb.INVALID_REQUEST, pb.KEY_DNE, pb.NO_ERROR])

    def test_no_more_than_one_answer(self) -> None:
        for n in range(200):
            self.request(pb.PUT, self.key(n % 7), pb.LWW, lww(b"v"))
            self.request(pb.GET, self.key(n % 7))
        self.answers.RCVTIMEO = 300
        self.assertRaises(Exception, self.answers.recv)


class RoutingTest(ClusterTest):
    def test_seed(self) -> None:
        """Anything asked of the seed socket is answered with all nodes there are."""
        for question in (b"join", b"", b"\xff\xff"):
            for i in range(ROUTES):
                members = metadata.ClusterMembership.FromString(self.ask(f"tcp://{route(i)}:{PORTS.route_seed}", question))
                tiers = {t.tier_id: sorted(s.private_ip for s in t.servers) for t in members.tiers}
                self.assertEqual(tiers[metadata.MEMORY], [kn(i) for i in range(KNS)])
                self.assertIn(route(i), tiers[metadata.ROUTING])

    def test_announcements_change_no_ownership(self) -> None:
        """A foreign node's join string makes it known at the seed socket; who owns what, the map alone says."""
        client = AnnaCppClient([route(0)], 1, tool(0), 0)
        self.addCleanup(client.close)
        stranger = tool(9)
        self.push(f"tcp://{route(0)}:{PORTS.route_notify}", f"join:STORAGE:{stranger}:{stranger}:0".encode())

        def storage() -> List[str]:
            members = metadata.ClusterMembership.FromString(self.ask(f"tcp://{route(0)}:{PORTS.route_seed}", b""))
            return [s.private_ip for t in members.tiers if t.tier_id == metadata.STORAGE for s in t.servers]

        await_true("the announcement is known", lambda: storage() == [stranger])
        for i in range(100):
            client.put_lww(self.key(i), b"v")
            self.assertLessEqual(client.known[self.key(i)], set(request_addresses()))
        self.push(f"tcp://{route(0)}:{PORTS.route_notify}", f"depart:STORAGE:{stranger}:{stranger}".encode())
        await_true("the departure is known", lambda: not storage())
