"""Metadata keys as Anna's monitor reads and writes them, and the replication of a key changed by them."""

import time
from typing import List, Optional

from dinomo.pb import metadata_pb2 as metadata, payload_pb2 as payloads, request_pb2 as pb

from .cluster import (KN_THREADS, KNS, PORTS, ROUTE_THREADS, ROUTES, ClusterTest, await_true, kn, request_addresses, route, tool)
from .peers import AnnaCppClient

# The GET of a routing thread that Anna was seen to send, but for the address.
CAPTURED_GET = "080112210a1d414e4e415f4d455441444154417c7265706c69636174696f6e7c666f6f10011a"


def factor(key: str, nodes: int, threads: int) -> "metadata.ReplicationFactor":
    f = metadata.ReplicationFactor(key=key)
    f.__getattribute__("global").add(tier=metadata.MEMORY, value=nodes)
    f.local.add(tier=metadata.MEMORY, value=threads)
    return f


def factors(f: "metadata.ReplicationFactor") -> "tuple[int, int]":
    (nodes,), (threads,) = f.__getattribute__("global"), f.local
    return nodes.value, threads.value


class MetadataTest(ClusterTest):
    def setUp(self) -> None:
        super().setUp()
        self.client = AnnaCppClient([route(i) for i in range(ROUTES)], ROUTE_THREADS, tool(0), 0)
        self.addCleanup(self.client.close)
        self.answers_at, self.answers = self.listen_anywhere()

    def read(self, key: str) -> Optional[bytes]:
        """A metadata key as a client reads any key: at the owner that the routing node names."""
        t = self.client.get(key)
        if t.error == pb.KEY_DNE:
            return None
        self.assertEqual((t.error, t.lattice_type), (pb.NO_ERROR, pb.LWW), key)
        return pb.LWWValue.FromString(t.payload).value

    def wait_for(self, key: str) -> bytes:
        await_true(f"{key} is there", lambda: self.read(key) is not None)
        value = self.read(key)
        assert value is not None
        return value

    def send(self, kind: "pb.RequestType", address: str, key: str, lattice_type: int = 0, payload: bytes = b"") -> "pb.KeyTuple":
        """One request to one thread, again while it disowns the key: a new owner may hear of a change a moment after the others."""
        request = pb.KeyRequest(type=kind, response_address=self.answers_at, request_id="one")
        request.tuples.add(key=key, lattice_type=lattice_type, payload=payload)
        found: List[pb.KeyTuple] = []

        def owned() -> bool:
            self.push(address, request.SerializeToString())
            found[:] = pb.KeyResponse.FromString(self.answers.recv()).tuples
            return found[0].error != pb.WRONG_THREAD

        await_true(f"{address} owns {key}", owned)
        return found[0]

    def read_at(self, address: str, key: str) -> "pb.KeyTuple":
        return self.send(pb.GET, address, key)

    def replication(self, key: str) -> "tuple[int, int]":
        value = self.read(f"ANNA_METADATA|replication|{key}")
        return (1, 1) if value is None else factors(metadata.ReplicationFactor.FromString(value))

    def test_statistics(self) -> None:
        """Of every thread of every node, where the routing node says that the key is."""
        for _ in range(200):
            self.client.get(self.key("hot"))
        for i in range(KNS):
            for thread in range(KN_THREADS):
                name = f"|{kn(i)}|{kn(i)}|{thread}|MEMORY"
                stats = metadata.ServerThreadStatistics.FromString(self.wait_for("ANNA_METADATA|stats" + name))
                self.assertGreater(stats.epoch, 0)
                self.assertGreaterEqual(stats.occupancy, 0)
                metadata.KeyAccessData.FromString(self.wait_for("ANNA_METADATA|access" + name))
                metadata.KeySizeData.FromString(self.wait_for("ANNA_METADATA|size" + name))

    def test_hot_key_shows(self) -> None:
        self.client.put_lww(self.key("hot"), b"0123456789")

        def accesses() -> int:
            for _ in range(50):
                self.client.get(self.key("hot"))
            seen = 0
            for i in range(KNS):
                for thread in range(KN_THREADS):
                    value = self.read(f"ANNA_METADATA|access|{kn(i)}|{kn(i)}|{thread}|MEMORY") or b""
                    seen += sum(k.access_count for k in metadata.KeyAccessData.FromString(value).keys if k.key == self.key("hot"))
            return seen

        await_true("the hot key is reported", lambda: accesses() > 0)
        sizes = {}
        for i in range(KNS):
            for thread in range(KN_THREADS):
                value = self.wait_for(f"ANNA_METADATA|size|{kn(i)}|{kn(i)}|{thread}|MEMORY")
                sizes.update({s.key: s.size for s in metadata.KeySizeData.FromString(value).key_sizes})
        self.assertGreaterEqual(sizes.get(self.key("hot"), 0), 10)

    def test_unknown_node(self) -> None:
        self.assertIsNone(self.read("ANNA_METADATA|stats|10.9.9.9|10.9.9.9|0|MEMORY"))

    def test_question_of_a_routing_thread(self) -> None:
        """The captured bytes of Anna's own routing node, with an address of ours: any thread answers KEY_DNE for a key that is
        not replicated, without an id."""
        at = self.answers_at.encode()
        self.assertLess(len(at), 128)
        frame = bytes.fromhex(CAPTURED_GET) + bytes([len(at)]) + at
        for address in request_addresses():
            self.push(address, frame)
            answer = pb.KeyResponse.FromString(self.answers.recv())
            (t,) = answer.tuples
            self.assertEqual((answer.type, answer.response_id, t.key, t.error), (pb.GET, "", "ANNA_METADATA|replication|foo", pb.KEY_DNE))

    def test_nonsense_is_refused(self) -> None:
        for key in ("ANNA_METADATA|", "ANNA_METADATA|nonsense", "ANNA_METADATA|stats|a|b|c|d", "ANNA_METADATA|replication|"):
            self.assertEqual(self.read_at(request_addresses()[0], key).error, pb.INVALID_REQUEST, key)
        name = f"ANNA_METADATA|stats|{kn(0)}|{kn(0)}|0|MEMORY"
        payload = pb.LWWValue(timestamp=1, value=b"").SerializeToString()
        self.assertEqual(self.client.put(name, pb.LWW, payload).error, pb.INVALID_REQUEST)

    def owners(self, key: str) -> "set[str]":
        """What a routing node says, asked anew."""
        self.client.known.pop(key, None)
        self.client.get(key)
        if key not in self.client.known:  # the answer said that it had changed meanwhile
            self.client.get(key)
        return self.client.known.get(key, set())

    def check_replicated(self, key: str, nodes: int, threads: int) -> None:
        """The key has that many owners, and each of them reads what any of them was told."""
        self.assertEqual(self.replication(key), (nodes, threads))
        await_true(f"{nodes} x {threads} owners", lambda: len(self.owners(key)) == nodes * threads)
        for n, address in enumerate(sorted(self.owners(key))):
            payload = pb.LWWValue(timestamp=time.time_ns() // 1000, value=b"by %d" % n).SerializeToString()
            self.assertEqual(self.send(pb.PUT, address, key, pb.LWW, payload).error, pb.NO_ERROR)
            for other in sorted(self.owners(key)):
                self.assertEqual(pb.LWWValue.FromString(self.read_at(other, key).payload).value, b"by %d" % n)

    def test_written_under_its_key(self) -> None:
        """Writing ANNA_METADATA|replication|<key> changes the key's replication, and so does deleting it."""
        key, name = self.key("r"), f"ANNA_METADATA|replication|{self.key('r')}"
        self.client.put_lww(key, b"before")
        self.assertEqual(self.replication(key), (1, 1))
        t = self.client.put_lww(name, factor(key, KNS, 1).SerializeToString())
        self.assertEqual(t.error, pb.NO_ERROR)
        await_true("the replication is in force", lambda: self.replication(key) == (KNS, 1))
        self.assertEqual(self.client.get_lww(key), b"before")
        self.check_replicated(key, KNS, 1)
        self.assertEqual(self.client.put_lww(name, factor(key, 1, 1).SerializeToString()).error, pb.NO_ERROR)
        await_true("the replication is taken back", lambda: self.replication(key) == (1, 1) and len(self.owners(key)) == 1)
        self.assertEqual(self.client.get_lww(key), b"by %d" % (KNS - 1))

    def test_every_owner_merges_and_deletes(self) -> None:
        """Of a replicated set each owner adds to what the others have; a delete at one of them removes it at all."""
        key, name = self.key("s"), f"ANNA_METADATA|replication|{self.key('s')}"
        self.assertEqual(self.client.put_lww(name, factor(key, KNS, KN_THREADS).SerializeToString()).error, pb.NO_ERROR)
        await_true("the replication is in force", lambda: self.replication(key) == (KNS, KN_THREADS))
        await_true("all owners are known", lambda: len(self.owners(key)) == KNS * KN_THREADS)
        owners = sorted(self.owners(key))

        for n, address in enumerate(owners):
            self.assertEqual(self.send(pb.PUT, address, key, pb.SET, payloads.SetValue(values=[b"%d" % n]).SerializeToString()).error, pb.NO_ERROR)
        for address in owners:
            members = sorted(payloads.SetValue.FromString(self.send(pb.GET, address, key).payload).values)
            self.assertEqual(members, [b"%d" % n for n in range(len(owners))])
            self.assertEqual(self.send(pb.PUT, address, key, pb.LWW, pb.LWWValue(value=b"v").SerializeToString()).error, pb.LATTICE)
        self.assertEqual(self.send(pb.DELETE, owners[0], key).error, pb.NO_ERROR)
        for address in owners:
            self.assertEqual(self.send(pb.GET, address, key).error, pb.KEY_DNE)
            self.assertEqual(self.send(pb.DELETE, address, key).error, pb.NO_ERROR)
        # Deleting the metadata key takes the replication back.
        self.assertEqual(self.send(pb.DELETE, owners[0], name).error, pb.NO_ERROR)
        await_true("the replication is taken back", lambda: self.replication(key) == (1, 1))

    def change(self, address: str, keys: "list[str]", nodes: int) -> None:
        """Anna's ReplicationFactorUpdate and its answer."""
        update = metadata.ReplicationFactorUpdate(response_address=self.answers_at, request_id=self.key("update"))
        for key in keys:
            update.updates.append(factor(key, nodes, 1))
        self.push(address, update.SerializeToString())
        answer = metadata.ReplicationFactorUpdateResponse.FromString(self.answers.recv())
        self.assertEqual(answer.response_id, update.request_id)

    def check_change(self, address: str) -> None:
        keys = [self.key(i) for i in range(3)]
        for key in keys:
            self.client.put_lww(key, key.encode())
        self.change(address, keys, KNS)
        for key in keys:
            await_true("the replication is in force", lambda: self.replication(key) == (KNS, 1))
            self.assertEqual(self.client.get_lww(key), key.encode())
        self.change(address, keys, 1)
        for key in keys:
            await_true("the replication is taken back", lambda: self.replication(key) == (1, 1))
            self.assertEqual(self.client.get_lww(key), key.encode())

    def test_by_a_routing_node(self) -> None:
        self.check_change(f"tcp://{route(0)}:{PORTS.route_replication_change}")

    def test_by_a_kn(self) -> None:
        self.check_change(f"tcp://{kn(0)}:{PORTS.kn_replication_change}")
