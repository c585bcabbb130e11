"""The client against a stand-in that can be made to misbehave."""

import functools
import socket
import unittest
from typing import Any, List
from unittest import mock

import zmq

from dinomo import Client, Damaged, InvalidRequest, NoServers, OutcomeUnknown, Overloaded, WrongType
from dinomo.pb import request_pb2 as pb

from .fake_cluster import FakeCluster

SHORT = 0.1  # of an attempt whose answer is to be missed


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
        """One that waits long enough for the slowest machine."""
        options.setdefault("attempt_timeout", 60.0)
        options.setdefault("timeout", 60.0)
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
        client.MAX_KEYS = 7  # in pieces
        self.assertEqual(client.get_many([*values, "missing"]), {**values, "missing": None})
        self.assertLessEqual(max(len(request.tuples) for request in self.cluster.requests[2:]), 7)

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
        client = self.client()
        for code, error in ((pb.OVERLOADED, Overloaded), (pb.LATTICE, WrongType), (pb.INVALID_REQUEST, InvalidRequest),
                            (pb.DAMAGED, Damaged)):
            self.cluster.hook = functools.partial(self.cluster.refusal, code=code)
            with self.assertRaises(error):
                client.put("a", b"1")
        self.cluster.hook = lambda request: pb.KeyResponse(response_id=request.request_id, error=pb.NO_SERVERS)
        with self.assertRaises(NoServers):
            client.get("a")

    @mock.patch("dinomo.client.time", new_callable=Clock)
    def test_silence(self, clock: Clock) -> None:
        """A put that nobody answers is repeated until the time is over; with retry_writes=False it is not."""
        def hook(_: pb.KeyRequest) -> object:
            if len(self.cluster.requests) == 3:
                clock.now += 60
            return False

        self.cluster.hook = hook
        with self.assertRaises(OutcomeUnknown):
            self.client(attempt_timeout=SHORT).put("a", b"1")
        self.assertGreaterEqual(len(self.cluster.requests), 3)
        careful = self.client(attempt_timeout=SHORT, retry_writes=False)
        puts = 0
        while not any(t.key == "once" for request in self.cluster.requests for t in request.tuples):  # it may be given up before it is sent
            with self.assertRaises(OutcomeUnknown):
                careful.put("once", b"1")
            puts += 1
        self.assertLessEqual(sum(t.key == "once" for request in self.cluster.requests for t in request.tuples), puts)

    def test_a_refusal_after_silence_leaves_the_outcome_unknown(self) -> None:
        client = self.client(attempt_timeout=SHORT)
        seen: List[pb.KeyRequest] = []

        def hook(request: pb.KeyRequest) -> object:
            seen.append(request)
            return False if len(seen) == 1 else self.cluster.refusal(request, pb.LATTICE)

        self.cluster.hook = hook
        with self.assertRaises(OutcomeUnknown):
            client.put("a", b"1")

    def test_a_late_answer_is_ignored(self) -> None:
        client = self.client(attempt_timeout=SHORT)

        def hook(request: pb.KeyRequest) -> object:
            number = len(self.cluster.requests)
            if number == 1:
                return False
            return self.cluster.refusal(self.cluster.requests[0], pb.LATTICE) if number == 2 else None

        self.cluster.hook = hook
        self.assertIsNone(client.get("a"))
        self.assertGreaterEqual(len(self.cluster.requests), 3)

    def test_a_silent_node_is_forgotten_as_a_whole(self) -> None:
        """One request without an answer is enough for all the keys of its node: the routing node is asked again for each."""
        client = self.client(attempt_timeout=SHORT)
        keys = [f"k{i}" for i in range(20)]
        client.put_many({key: b"v" for key in keys})
        self.cluster.silent = {self.cluster.owner}

        def elsewhere(question: pb.KeyAddressRequest) -> object:
            answer = pb.KeyAddressResponse(response_id=question.request_id)
            for key in question.keys:
                answer.addresses.add(key=key, ips=[self.cluster.other])
            return answer

        self.cluster.routing_hook = elsewhere
        for key in keys:
            self.assertEqual(client.get(key), b"v")
        self.assertLessEqual([request.type for request in self.cluster.ignored].count(pb.GET), 1)

    def test_what_was_given_up_is_not_sent_later(self) -> None:
        """A put waits for an owner that is away, and is given up; when the owner is there again it gets the next put and not that."""
        with socket.socket() as s:
            s.bind(("127.0.93.2", 0))
            owner = "tcp://127.0.93.2:%d" % s.getsockname()[1]

        def away(question: pb.KeyAddressRequest) -> object:
            answer = pb.KeyAddressResponse(response_id=question.request_id)
            answer.addresses.add(key=question.keys[0], ips=[owner])
            return answer

        self.cluster.routing_hook = away
        client = self.client(attempt_timeout=SHORT, retry_writes=False)
        with self.assertRaisesRegex(OutcomeUnknown, f"'first'.*{owner}.*read the key"):
            client.put("first", b"1")
        context = zmq.Context()
        self.addCleanup(context.destroy, linger=0)
        back = context.socket(zmq.PULL)
        self.addCleanup(back.close, linger=0)
        back.bind(owner)
        while not back.poll(0):  # a connection may take longer than an attempt
            with self.assertRaises(OutcomeUnknown):
                client.put("second", b"2")
        self.assertEqual(pb.KeyRequest.FromString(back.recv()).tuples[0].key, "second")

    def test_what_is_no_message_is_ignored(self) -> None:
        client = self.client()
        pusher = client._context.socket(zmq.PUSH)
        self.addCleanup(pusher.close, linger=0)
        pusher.connect(client._answers_at)
        pusher.connect(client._names_at)
        for _ in range(2):  # in turns
            pusher.send(b"\xff")
        for at in (client._answers, client._names):
            self.assertTrue(at.poll(60_000))
        self.assertIsNone(client.get("a"))

    def test_owners_are_forgotten_when_there_are_too_many(self) -> None:
        client = self.client()
        client.MAX_OWNERS = 10
        for i in range(25):
            client.put(f"k{i}", b"v")
            self.assertLessEqual(len(client._owners), 10)

    def test_routing(self) -> None:
        client = self.client(timeout=0.3, attempt_timeout=SHORT)
        self.cluster.routing_hook = lambda question: False
        with self.assertRaisesRegex(NoServers, f"no answer.*{self.cluster.routing}.*port plan"):
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
        for mistake in ([], "127.0.0.1"):
            with self.assertRaisesRegex(ValueError, "want a list"):
                Client(mistake)
