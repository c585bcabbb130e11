"""Anna's clients while nodes come and go, through the management node's strings."""

from typing import Iterable, List, Set

from dinomo.pb import metadata_pb2 as metadata, request_pb2 as pb

from .cluster import KNS, PORTS, ROUTE_THREADS, ROUTES, ClusterTest, await_true, kn, manage, route, tool
from .peers import AnnaCppClient, AnnaPythonClient


class ChurnTest(ClusterTest):
    def members(self) -> List[str]:
        found = metadata.ClusterMembership.FromString(self.ask(f"tcp://{route(0)}:{PORTS.route_seed}", b"join"))
        return sorted(s.private_ip for t in found.tiers if t.tier_id == metadata.MEMORY for s in t.servers)

    def churn(self, text: str, members: List[str], keys: Iterable[str]) -> None:
        """Add or remove, and wait until every routing node has the map: a node that has only announced itself owns nothing."""
        self.push(f"tcp://{manage()}:{PORTS.churn}", text.encode())
        names_at, names = self.listen_anywhere()

        def owners(i: int) -> Set[str]:
            question = pb.KeyAddressRequest(response_address=names_at, keys=keys, request_id="owners")
            self.push(f"tcp://{route(i)}:{PORTS.route_key_address}", question.SerializeToString())
            response = pb.KeyAddressResponse.FromString(names.recv())
            return {at[len("tcp://"):].partition(":")[0] for a in response.addresses for at in a.ips}

        for i in range(ROUTES):
            await_true(text, lambda: owners(i) == set(members))
        await_true(text, lambda: self.members() == sorted(members))

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
        before = self.members()
        self.assertEqual(before, [kn(i) for i in range(KNS)])

        self.churn("add:1:memory", before + [kn(KNS)], values)
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

        self.churn(f"remove:{kn(KNS)}:memory", before, values)
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

    def test_restart_count(self) -> None:
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
