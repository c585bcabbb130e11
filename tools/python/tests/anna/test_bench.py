"""Anna's benchmark commands in five lines of pyzmq, against a benchmark node of the cluster."""

import zmq

from dinomo.pb import request_pb2 as pb

from .cluster import PORTS, ROUTE_THREADS, ROUTES, ClusterTest, await_true, bench, route, tool
from .peers import AnnaCppClient

BENCH_THREADS = 2


class BenchTest(ClusterTest):
    def test_annas_commands(self) -> None:
        """WARM writes eight-digit keys; CACHE and LOAD G, P and M work on them. What they did shows in the keys and in the KNs'
        own counts of accesses."""
        client = AnnaCppClient([route(i) for i in range(ROUTES)], ROUTE_THREADS, tool(0), 0)
        self.addCleanup(client.close)
        for line in ("WARM:500:128:2", "CACHE:500", "LOAD:G:500:128:1:1:0.99", "LOAD:P:500:64:1:1:0", "LOAD:M:500:32:1:1:0"):
            for thread in range(BENCH_THREADS):
                socket = zmq.Context.instance().socket(zmq.PUSH)
                socket.connect(f"tcp://{bench(0)}:{PORTS.bench_command + thread}")
                socket.send_string(line)
                socket.close()

        def lengths(wanted: int) -> bool:
            found = [client.get(f"{n:08}") for n in range(1, 501)]
            return all(t.error == pb.NO_ERROR for t in found) and {len(pb.LWWValue.FromString(t.payload).value) for t in found} <= {32, 64, 128} and (
                any(len(pb.LWWValue.FromString(t.payload).value) == wanted for t in found))

        await_true("WARM has written its keys", lambda: lengths(128))
        self.assertEqual([client.get(key).error for key in ("00000000", "00000501")], [pb.KEY_DNE] * 2)
        await_true("LOAD:P has written", lambda: lengths(64))
        await_true("LOAD:M has written", lambda: lengths(32))
