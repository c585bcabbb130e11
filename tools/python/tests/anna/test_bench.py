"""Anna's benchmark commands in five lines of pyzmq, against a benchmark node of the cluster."""

import zmq

from dinomo.pb import request_pb2 as pb

from .cluster import PORTS, ROUTE_THREADS, ROUTES, ClusterTest, await_true, bench, route, tool
from .peers import AnnaCppClient

BENCH_THREADS = 2


def send(line: str) -> None:
    """The five lines."""
    for thread in range(BENCH_THREADS):
        socket = zmq.Context.instance().socket(zmq.PUSH)
        socket.connect(f"tcp://{bench(0)}:{PORTS.bench_command + thread}")
        socket.send_string(line)
        socket.close()


class BenchTest(ClusterTest):
    def test_annas_commands(self) -> None:
        """WARM writes eight-digit keys; CACHE and LOAD G, P and M work on them. What they did shows in the values' lengths."""
        client = AnnaCppClient([route(i) for i in range(ROUTES)], ROUTE_THREADS, tool(0), 0)
        self.addCleanup(client.close)

        def of_length(wanted: int) -> int:
            found = [client.get(f"{n:08}") for n in range(1, 501)]
            return sum(t.error == pb.NO_ERROR and len(pb.LWWValue.FromString(t.payload).value) == wanted for t in found)

        send("WARM:500:128:2")
        await_true("WARM has written its keys", lambda: of_length(128) == 500)
        self.assertEqual([client.get(key).error for key in ("00000000", "00000501")], [pb.KEY_DNE] * 2)
        for line in ("CACHE:500", "LOAD:G:500:128:1:0.2:0.99", "LOAD:P:500:64:1:0.5:0"):
            send(line)
        await_true("LOAD:P has written", lambda: of_length(64) > 0)
        send("LOAD:M:500:32:1:0.5:0")
        await_true("LOAD:M has written", lambda: of_length(32) > 0)
