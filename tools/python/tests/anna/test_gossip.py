"""What Anna's nodes and caches say to each other."""

import time
from typing import Dict, List, Set

import zmq

from dinomo.pb import payload_pb2 as payloads, request_pb2 as pb

from .cluster import KN_THREADS, KNS, PORTS, ROUTE_THREADS, ROUTES, ClusterTest, await_true, kn, request_addresses, route, tool
from .peers import AnnaCppClient


def lww(value: bytes, timestamp: int = 1) -> bytes:
    return pb.LWWValue(timestamp=timestamp, value=value).SerializeToString()


class GossipTest(ClusterTest):
    def setUp(self) -> None:
        super().setUp()
        self.client = AnnaCppClient([route(i) for i in range(ROUTES)], ROUTE_THREADS, tool(0), 0)
        self.addCleanup(self.client.close)

    def value(self, key: str) -> bytes:
        t = self.client.get(key)
        return pb.LWWValue.FromString(t.payload).value if t.error == pb.NO_ERROR else b""

    def test_gossip_reaches_the_owner(self) -> None:
        """To whichever thread it goes, each key of it is stored by its owner; nobody answers."""
        for i in range(KNS):
            for thread in range(KN_THREADS):
                gossip = pb.KeyRequest(type=pb.PUT)  # Anna's gossip has no response address and no id
                keys = [self.key(f"{i}-{thread}-{n}") for n in range(20)]
                for key in keys:
                    gossip.tuples.add(key=key, lattice_type=pb.LWW, payload=lww(key.encode()))
                self.push(f"tcp://{kn(i)}:{PORTS.kn_gossip + thread}", gossip.SerializeToString())
                for key in keys:
                    await_true(f"{key} is stored", lambda: self.value(key) == key.encode())

    def test_gossip_merges(self) -> None:
        key = self.key("set")
        self.client.put(key, pb.SET, payloads.SetValue(values=[b"1"]).SerializeToString())
        for i in range(KNS):
            gossip = pb.KeyRequest(type=pb.PUT)
            gossip.tuples.add(key=key, lattice_type=pb.SET, payload=payloads.SetValue(values=[b"%d" % (i + 2)]).SerializeToString())
            self.push(f"tcp://{kn(i)}:{PORTS.kn_gossip}", gossip.SerializeToString())

        def members() -> int:
            return len(payloads.SetValue.FromString(self.client.get(key).payload).values)

        await_true("all members are there", lambda: members() == KNS + 1)


class CacheTest(ClusterTest):
    """A cache node: it says which keys it holds, and hears of their changes."""

    def setUp(self) -> None:
        super().setUp()
        self.client = AnnaCppClient([route(i) for i in range(ROUTES)], ROUTE_THREADS, tool(0), 0)
        self.addCleanup(self.client.close)
        self.cache = tool(1)
        self.updates = self.listen(f"tcp://{self.cache}:{PORTS.cache_update}")
        self.name = f"ANNA_METADATA|cache_ip|{self.cache}"

        self.answers_at, self.answers = self.listen_anywhere()

    def registration(self, keys: List[str]) -> bytes:
        return lww(metadata_string_set(keys))

    def registered_everywhere(self, keys: List[str]) -> None:
        def same(address: str) -> bool:
            request = pb.KeyRequest(type=pb.GET, response_address=self.answers_at)
            request.tuples.add(key=self.name)
            self.push(address, request.SerializeToString())
            (t,) = pb.KeyResponse.FromString(self.answers.recv()).tuples
            found = payloads.StringSet.FromString(pb.LWWValue.FromString(t.payload).value).keys if t.error == pb.NO_ERROR else []
            return sorted(found) == sorted(keys)

        for address in request_addresses():
            await_true(f"{address} knows the registration", lambda: same(address))

    def pushed(self, values: Dict[str, bytes]) -> None:
        """Write the values again and again until the cache has heard of each: a thread takes a registration up a moment after
        it can be read."""
        left, end = dict(values), time.monotonic() + 60
        self.updates.RCVTIMEO = 20
        while left:
            self.assertLess(time.monotonic(), end, left)
            for key, value in left.items():
                self.assertEqual(self.client.put(key, pb.LWW, lww(value)).error, pb.NO_ERROR)
            try:
                while left:
                    update = pb.KeyRequest.FromString(self.updates.recv())
                    self.assertEqual((update.type, len(update.tuples)), (pb.PUT, 1))
                    t = update.tuples[0]
                    self.assertEqual(t.lattice_type, pb.LWW)
                    if t.key in left and pb.LWWValue.FromString(t.payload).value == left[t.key]:
                        del left[t.key]
            except zmq.Again:
                pass

    def forget(self) -> None:
        self.client.put(self.name, pb.LWW, self.registration([]))
        self.registered_everywhere([])

    def test_registered_by_writing_its_key(self) -> None:
        keys = [self.key(i) for i in range(8)]
        self.assertEqual(self.client.put(self.name, pb.LWW, self.registration(keys)).error, pb.NO_ERROR)
        self.registered_everywhere(keys)
        self.pushed({key: b"value of " + key.encode() for key in keys})
        # A merged value is pushed as it has become, not as it was put.
        merged = self.key("merged")
        self.client.put(merged, pb.SET, payloads.SetValue(values=[b"1"]).SerializeToString())
        self.assertEqual(self.client.put(self.name, pb.LWW, self.registration([merged])).error, pb.NO_ERROR)
        self.registered_everywhere([merged])
        seen: Set[bytes] = set()
        for n in range(2, 200):
            self.client.put(merged, pb.SET, payloads.SetValue(values=[b"%d" % n]).SerializeToString())
            try:
                update = pb.KeyRequest.FromString(self.updates.recv())
            except zmq.Again:
                continue
            if update.tuples[0].key == merged:
                seen = set(payloads.SetValue.FromString(update.tuples[0].payload).values)
                break
        self.assertLessEqual({b"1", b"2"}, seen)
        # Keys that it no longer holds are no longer pushed.
        self.forget()
        self.client.put_lww(keys[0], b"nobody hears of this")

    def test_registered_by_an_answer(self) -> None:
        """Anna's nodes ask each other for a cache's keys; the answer comes to the cache-ip socket."""
        keys = [self.key(i) for i in range(4)]
        answer = pb.KeyResponse(type=pb.GET)
        answer.tuples.add(key=self.name, lattice_type=pb.LWW, payload=self.registration(keys))
        for i in range(KNS):
            self.push(f"tcp://{kn(i)}:{PORTS.kn_cache_ip}", answer.SerializeToString())
        self.registered_everywhere(keys)
        self.pushed({key: b"1" for key in keys})

    def test_the_management_node_says_which_caches_there_are(self) -> None:
        keys = [self.key(0)]
        self.assertEqual(self.client.put(self.name, pb.LWW, self.registration(keys)).error, pb.NO_ERROR)
        self.registered_everywhere(keys)
        for i in range(KNS):
            self.push(f"tcp://{kn(i)}:{PORTS.kn_management}", metadata_string_set([self.cache]))
        self.registered_everywhere(keys)
        for i in range(KNS):
            self.push(f"tcp://{kn(i)}:{PORTS.kn_management}", metadata_string_set(["10.9.9.9"]))
        self.registered_everywhere([])


def metadata_string_set(keys: List[str]) -> bytes:
    return payloads.StringSet(keys=keys).SerializeToString()
