"""The client against a cluster that somebody else started: DINOMO_ROUTING names its routing nodes (IPs or endpoints,
separated by spaces). Without it these tests are skipped."""

import os
import random
import unittest

from dinomo import Causal, Client, Dependency, Priority, WrongType

ROUTING = os.environ.get("DINOMO_ROUTING", "").split()


@unittest.skipUnless(ROUTING, "DINOMO_ROUTING is not set")
class ClusterTest(unittest.TestCase):
    def setUp(self) -> None:
        self.client = Client(ROUTING, any_port=True, timeout=20.0)
        self.addCleanup(self.client.close)
        self.prefix = f"python-test-{random.getrandbits(64):x}-"

    def key(self, name: str) -> str:
        return self.prefix + name

    def test_values(self) -> None:
        key = self.key("a")
        self.assertIsNone(self.client.get(key))
        for value in (b"1", b"", bytes(range(256)) * 256):
            self.client.put(key, value)
            self.assertEqual(self.client.get(key), value)
        self.client.delete(key)
        self.client.delete(key)
        self.assertIsNone(self.client.get(key))

    def test_many(self) -> None:
        values = {self.key(str(i)): str(i).encode() for i in range(5000)}  # more than one request takes
        self.client.put_many(values)
        self.assertEqual(self.client.get_many(values), values)

    def test_sets(self) -> None:
        self.client.put_set(self.key("set"), [b"1", b"2", b"3"])
        self.client.put_set(self.key("set"), [b"1", b"2", b"4"])
        self.assertEqual(self.client.get_set(self.key("set")), {b"1", b"2", b"3", b"4"})
        self.client.put_ordered_set(self.key("ordered"), [b"b", b"a"])
        self.client.put_ordered_set(self.key("ordered"), [b"c", b"a"])
        self.assertEqual(self.client.get_ordered_set(self.key("ordered")), [b"a", b"b", b"c"])

    def test_causal(self) -> None:
        put, get, key = self.client.put_single_causal, self.client.get_single_causal, self.key("single")
        put(key, Causal({"x": 1}, frozenset([b"first"])))
        put(key, Causal({"x": 2}, frozenset([b"second"])))
        put(key, Causal({"x": 1}, frozenset([b"late"])))
        self.assertEqual(get(key), Causal({"x": 2}, frozenset([b"second"])))
        put(key, Causal({"y": 1}, frozenset([b"beside"])))
        self.assertEqual(get(key), Causal({"x": 2, "y": 1}, frozenset([b"second", b"beside"])))
        key = self.key("multi")
        self.client.put_multi_causal(key, Causal({"x": 1}, frozenset([b"1"]), (Dependency("d", {"z": 1}),)))
        self.client.put_multi_causal(key, Causal({"y": 1}, frozenset([b"2"]), (Dependency("e", {"z": 2}),)))
        merged = self.client.get_multi_causal(key)
        self.assertEqual(merged and (merged.clock, merged.values, set(d.key for d in merged.dependencies)),
                         ({"x": 1, "y": 1}, frozenset([b"1", b"2"]), {"d", "e"}))

    def test_priority(self) -> None:
        for priority, value in ((2.0, b"second"), (1.0, b"first"), (3.0, b"third")):
            self.client.put_priority(self.key("p"), priority, value)
        self.assertEqual(self.client.get_priority(self.key("p")), Priority(1.0, b"first"))

    def test_a_key_keeps_its_type(self) -> None:
        self.client.put_set(self.key("t"), [b"1"])
        with self.assertRaises(WrongType):
            self.client.put(self.key("t"), b"1")
        self.assertEqual(self.client.get_set(self.key("t")), {b"1"})
        self.client.delete(self.key("t"))
        self.client.put(self.key("t"), b"1")
        self.assertEqual(self.client.get(self.key("t")), b"1")
