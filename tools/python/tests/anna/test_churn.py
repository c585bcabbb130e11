"""Anna's clients, and our own, while nodes come and go, through the management node's strings."""

import os
import signal
import threading
from typing import Iterable, List, Set

from dinomo import Client, Plan
from dinomo.pb import metadata_pb2 as metadata, request_pb2 as pb

from .cluster import KNS, PATIENCE_MS, PORTS, ROUTE_THREADS, ROUTES, ClusterTest, await_true, kn, manage, process_of, route, tool
from .peers import AnnaCppClient, AnnaPythonClient, Hangs


class ChurnTest(ClusterTest):
    def members(self) -> List[str]:
        found = metadata.ClusterMembership.FromString(self.ask(f"tcp://{route(0)}:{PORTS.route_seed}", b"join"))
        return sorted(s.private_ip for t in found.tiers if t.tier_id == metadata.MEMORY for s in t.servers)

    def add(self, keys: Iterable[str]) -> str:
        """Have a node join, and return its address."""
        before = self.members()
        self.push(f"tcp://{manage()}:{PORTS.churn}", b"add:1:memory")
        await_true("a node joins", lambda: len(self.members()) == len(before) + 1)
        (joined,) = set(self.members()) - set(before)
        self.in_force(before + [joined], keys)
        return joined

    def remove(self, ip: str, keys: Iterable[str]) -> None:
        """Have a node leave."""
        after = [member for member in self.members() if member != ip]
        self.push(f"tcp://{manage()}:{PORTS.churn}", f"remove:{ip}:memory".encode())
        self.in_force(after, keys)

    def in_force(self, members: List[str], keys: Iterable[str]) -> None:
        """Wait until every routing node has the map: a node that has only announced itself owns nothing."""
        names_at, names = self.listen_anywhere()

        def owners(i: int) -> Set[str]:
            question = pb.KeyAddressRequest(response_address=names_at, keys=keys, request_id="owners")
            self.push(f"tcp://{route(i)}:{PORTS.route_key_address}", question.SerializeToString())
            response = pb.KeyAddressResponse.FromString(names.recv())
            return {at[len("tcp://"):].partition(":")[0] for a in response.addresses for at in a.ips}

        for i in range(ROUTES):
            await_true(f"the members are {members}", lambda: owners(i) == set(members))
        await_true(f"the members are {members}", lambda: self.members() == sorted(members))

    def test_keys_that_move(self) -> None:
        """A node joins and leaves again. The C++ client finds its way by itself: WRONG_THREAD where the old owner is still
        there, TIMEOUT once where it is not. The Python client gets None for each key that moved away from a node that lives, with
        invalidate set, and the value at its next request; one that knows a node that has left has to be started anew."""
        cpp = AnnaCppClient([route(i) for i in range(ROUTES)], ROUTE_THREADS, tool(0), 0, timeout=2.0)
        python = AnnaPythonClient(route(0), tool(0), local=True)
        self.addCleanup(cpp.close)
        values = {self.key(i): self.key(i).encode() for i in range(300)}
        for key, value in values.items():
            self.assertTrue(python.put(key, value))
            self.cpp_reads(cpp, key, value)
        self.assertEqual(self.members(), [kn(i) for i in range(KNS)])

        joined = self.add(values)
        moved, disowned = 0, cpp.disowned
        for key, value in values.items():
            self.cpp_reads(cpp, key, value)
            found = python.get(key)
            moved += found[key] is None
            while found[key] is None:  # more than once only while somebody has not heard of the change yet
                self.assertEqual((python.last[key].error, python.last[key].invalidate), (pb.WRONG_THREAD, True))
                found = python.get(key)
            self.assertEqual(found, {key: value})
        self.assertGreater(moved, 0)
        self.assertGreaterEqual(cpp.disowned - disowned, moved)
        for key in values:
            while not python.put(key, b"anew"):
                self.assertEqual((python.last[key].error, python.last[key].invalidate), (pb.WRONG_THREAD, True))

        self.remove(joined, values)
        python.close()
        python = AnnaPythonClient(route(0), tool(0), local=True)  # under the same address
        self.addCleanup(python.close)
        for key in values:
            self.assertEqual(python.get(key), {key: b"anew"})
        for key in values:
            self.cpp_reads(cpp, key, b"anew")

    def cpp_reads(self, cpp: AnnaCppClient, key: str, value: bytes) -> None:
        t = cpp.get(key)
        while t.error == pb.TIMEOUT:
            t = cpp.get(key)
        self.assertEqual((t.error, pb.LWWValue.FromString(t.payload).value), (pb.NO_ERROR, value))

    def test_a_busy_python_client_outlives_a_leave(self) -> None:
        """A node that leaves answers for a while yet, so that a client that never asks twice learns where its keys went instead of
        waiting for ever."""
        everything = [self.key(i) for i in range(300)]
        joined = self.add(everything)
        client = AnnaPythonClient(route(0), tool(0), local=True)
        self.addCleanup(client.close)
        for key in everything:
            while not client.put(key, key.encode()):
                pass
        keys = [key for key in everything if client.known[key][0].startswith(f"tcp://{joined}:")][:8]
        self.assertTrue(keys)
        left = threading.Event()
        trouble: List[str] = []

        def work() -> None:
            wanted = set(keys)
            while wanted:
                last = left.is_set()
                for key in keys:
                    try:
                        found = client.get(key)[key]
                    except Hangs:
                        trouble.append(f"{key} is asked for at a node that has left, and nobody answers")
                        return
                    if found not in (None, key.encode()):
                        trouble.append(f"{key} reads as {found!r}")
                    if last and found is not None:
                        wanted.discard(key)

        thread = threading.Thread(target=work)
        thread.start()
        self.remove(joined, everything)
        left.set()
        thread.join()
        self.assertEqual(trouble, [])

    def test_our_own_client_outlives_a_kill(self) -> None:
        """A node is killed while it owns keys that the client knows to be there: every read and write of them succeeds."""
        keys = [self.key(i) for i in range(300)]
        joined = self.add(keys)
        client = Client([route(i) for i in range(ROUTES)], ip=tool(0), plan=Plan(PORTS.route_key_address, PORTS.response, PORTS.key_address),
                        any_port=True, routing_threads=ROUTE_THREADS, timeout=PATIENCE_MS / 1000)
        self.addCleanup(client.close)
        client.put_many({key: b"before" for key in keys})
        os.kill(process_of(joined), signal.SIGKILL)
        for key in keys:
            self.assertEqual(client.get(key), b"before")
        client.put_many({key: b"after" for key in keys})
        self.assertEqual(client.get_many(keys), {key: b"after" for key in keys})
        self.in_force([kn(i) for i in range(KNS)] + [joined], keys)  # it is started again
        self.remove(joined, keys)
        self.assertEqual(client.get_many(keys), {key: b"after" for key in keys})

    def test_restart_count(self) -> None:
        """In decimal: 0 for a node that never was, and for one that has not been restarted."""
        self.assertEqual(self.ask(f"tcp://{manage()}:{PORTS.restart_count}", f"restart:{tool(9)}".encode()), b"0")
        self.assertEqual(self.ask(f"tcp://{manage()}:{PORTS.restart_count}", f"restart:{kn(0)}".encode()), b"0")

    def test_join_string_and_request(self) -> None:
        """Anna's string and Dinomo's message at a KN's join socket: the message is answered, neither changes anything."""
        stranger = f"MEMORY:{tool(9)}:{tool(9)}:0"
        self.push(f"tcp://{kn(0)}:{PORTS.kn_join}", stranger.encode())
        at, answers = self.listen_anywhere()
        request = metadata.NodeJoinRequest(response_address=at, request_id="j", request_msg=stranger)
        self.push(f"tcp://{kn(0)}:{PORTS.kn_join}", request.SerializeToString())
        self.assertEqual(metadata.NodeJoinRequestResponse.FromString(answers.recv()).response_id, "j")
        self.push(f"tcp://{kn(0)}:{PORTS.kn_depart}", f"MEMORY:{tool(9)}:{tool(9)}".encode())
        self.assertEqual(self.members(), [kn(i) for i in range(KNS)])
