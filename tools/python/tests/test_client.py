"""The client against a stand-in that can be made to misbehave."""

import functools
import unittest
from typing import Any, List
from unittest import mock

import zmq

from dinomo import Client, InvalidRequest, NoServers, OutcomeUnknown, Overloaded, WrongType
from dinomo.pb import request_pb2 as pb

from .fake_cluster import FakeCluster


class Clock:
    """Time that passes only while the client pauses: a client given up after a minute of pauses has had every answer,
    however slow the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class ClientTest(unittest.TestCase):
    def setUp(self) -> None:
        self.cluster = FakeCluster()
        self.addCleanup(self.cluster.close)

    def client(self, **options: Any) -> Client:
        options.setdefault("attempt_timeout", 0.1)
        options.setdefault("timeout", 10.0)
        client = Client([self.cluster.routing], any_port=True, **options)
        self.addCleanup(client.close)
        return client

    def test_values(self) -> None:
        client = self.client()
        self.assertIsNone(client.get("a"))
        for value in (b"1", b"", bytes(1 << 20)):
            client.put("a", value)
            self.assertEqual(client.get("a"), value)
        client.delete("a")
        client.delete("a")  # there is none any more

    def test_many(self) -> None:
        client = self.client()
        values = {f"k{i}": str(i).encode() for i in range(100)}
        client.put_many(values)
        self.assertEqual(client.get_many([*values, "missing"]), {**values, "missing": None})
        self.assertEqual(len(self.cluster.requests), 2)
        self.assertEqual(len(self.cluster.questions), 2)
        self.assertEqual(client.get_many([]), {})

    def test_each_request_has_its_own_id(self) -> None:
        client = self.client()
        for _ in range(10):
            client.get("a")
        ids = {request.request_id for request in self.cluster.requests}
        self.assertEqual(len(ids), 10)
        self.assertEqual({t.address_cache_size for r in self.cluster.requests for t in r.tuples}, {1})

    def test_wrong_thread_with_the_new_address(self) -> None:
        client = self.client()
        refused: List[pb.KeyRequest] = []

        def hook(request: pb.KeyRequest) -> object:
            if not refused:
                refused.append(request)
                return self.cluster.refusal(request, pb.WRONG_THREAD, [self.cluster.other])
            return None

        self.cluster.hook = hook
        client.put("a", b"1")
        self.assertEqual(len(self.cluster.requests), 2)
        self.assertEqual(len(self.cluster.questions), 1)

    def test_wrong_thread_without_one_asks_again(self) -> None:
        client = self.client()
        refused: List[pb.KeyRequest] = []

        def hook(request: pb.KeyRequest) -> object:
            if len(refused) < 3:
                refused.append(request)
                return self.cluster.refusal(request, pb.WRONG_THREAD)
            return None

        self.cluster.hook = hook
        self.assertIsNone(client.get("a"))
        self.assertEqual(len(self.cluster.questions), 4)

    def test_invalidate_asks_again(self) -> None:
        client = self.client()
        client.put("a", b"1")

        def hook(request: pb.KeyRequest) -> object:
            answer = self.cluster.serve(request)
            for t in answer.tuples:
                t.invalidate = True
            return answer

        self.cluster.hook = hook
        client.get("a")
        client.get("a")
        self.assertEqual(len(self.cluster.questions), 2)

    @mock.patch("dinomo.client.time", new_callable=Clock)
    def test_refusals(self, _: Clock) -> None:
        client = self.client(timeout=60, attempt_timeout=60)
        for code, error in ((pb.OVERLOADED, Overloaded), (pb.LATTICE, WrongType), (pb.INVALID_REQUEST, InvalidRequest)):
            self.cluster.hook = functools.partial(self.cluster.refusal, code=code)
            with self.assertRaises(error):
                client.put("a", b"1")
        self.cluster.hook = lambda request: pb.KeyResponse(response_id=request.request_id, error=pb.NO_SERVERS)
        with self.assertRaises(NoServers):
            client.get("a")

    def test_silence(self) -> None:
        client = self.client(timeout=0.35)
        self.cluster.hook = lambda request: False
        with self.assertRaises(OutcomeUnknown):
            client.put("a", b"1")
        self.assertGreater(len(self.cluster.requests), 1)
        self.cluster.requests.clear()
        careful = self.client(retry_writes=False)
        with self.assertRaises(OutcomeUnknown):
            careful.put("a", b"1")
        self.assertEqual(len(self.cluster.requests), 1)

    def test_a_refusal_after_silence_leaves_the_outcome_unknown(self) -> None:
        client = self.client()
        seen: List[pb.KeyRequest] = []

        def hook(request: pb.KeyRequest) -> object:
            seen.append(request)
            return False if len(seen) == 1 else self.cluster.refusal(request, pb.LATTICE)

        self.cluster.hook = hook
        with self.assertRaises(OutcomeUnknown):
            client.put("a", b"1")

    def test_a_late_answer_is_ignored(self) -> None:
        client = self.client()

        def hook(request: pb.KeyRequest) -> object:
            number = len(self.cluster.requests)
            if number == 1:
                return False
            return self.cluster.refusal(self.cluster.requests[0], pb.LATTICE) if number == 2 else None

        self.cluster.hook = hook
        self.assertIsNone(client.get("a"))
        self.assertEqual(len(self.cluster.requests), 3)

    def test_routing(self) -> None:
        client = self.client(timeout=0.3)
        self.cluster.routing_hook = lambda question: False
        with self.assertRaises(NoServers):
            client.get("a")
        self.cluster.routing_hook = lambda question: pb.KeyAddressResponse(response_id=question.request_id, error=pb.NO_SERVERS)
        with self.assertRaises(NoServers):
            client.get("a")

    def test_other_type(self) -> None:
        client = self.client()
        client.put_set("s", [b"1"])
        with self.assertRaises(WrongType):
            client.get("s")

    def test_ports(self) -> None:
        first = Client(["127.0.0.1"], ip="127.0.93.1", offset=2)
        self.addCleanup(first.close)
        with self.assertRaisesRegex(zmq.ZMQError, "8302.*offset"):
            Client(["127.0.0.1"], ip="127.0.93.1", offset=2)
        with self.assertRaises(ValueError):
            Client([])
