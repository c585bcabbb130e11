"""The bytes that Anna's own programs were seen to send, and those of every message."""

import pathlib
import unittest

from dinomo.lattices import encode_lww
from dinomo.pb import metadata_pb2, payload_pb2, request_pb2, request_pb2 as pb

GOLDEN = pathlib.Path(__file__).resolve().parents[3] / "messages" / "testdata" / "golden"


class WireTest(unittest.TestCase):
    def test_key_address_response(self) -> None:
        m = pb.KeyAddressResponse(response_id="2")
        m.addresses.add(key="foo", ips=["tcp://127.0.0.1:6200"])
        self.assertEqual(m.SerializeToString().hex(), "0a1b0a03666f6f12147463703a2f2f3132372e302e302e313a363230301a0132")

    def test_put_and_get(self) -> None:
        put = pb.KeyRequest(type=pb.PUT, response_address="tcp://127.0.0.1:6800", request_id="127.0.0.1:0_1")
        put.tuples.add(key="k", lattice_type=pb.LWW, payload=encode_lww(b"v", 7), address_cache_size=1)
        self.assertEqual(put.SerializeToString().hex(),
                         "0802120e0a016b10012205080712017628011a147463703a2f2f3132372e302e302e313a36383030"
                         "220d3132372e302e302e313a305f31")
        answer = pb.KeyResponse.FromString(bytes.fromhex("0801120c0a016b1001220508071201761a0d3132372e302e302e313a305f33"))
        self.assertEqual((answer.type, answer.response_id, answer.tuples[0].payload), (pb.GET, "127.0.0.1:0_3", encode_lww(b"v", 7)))


class GoldenTest(unittest.TestCase):
    def test_every_message(self) -> None:
        """messages/testdata/golden holds the bytes of every message, with every field set: Google's protobuf reads them, knows every
        field, and writes the same."""
        modules = {"request": request_pb2, "payload": payload_pb2, "metadata": metadata_pb2}
        seen = set()
        for line in GOLDEN.read_text().splitlines():
            if line in modules:
                module = modules[line]
            elif line and line[0].isalpha():
                name, wire = line.split()
                message = getattr(module, name).FromString(bytes.fromhex(wire))
                with self.subTest(name):
                    self.assertEqual({f.name for f, _ in message.ListFields()}, {f.name for f in message.DESCRIPTOR.fields})
                    message.DiscardUnknownFields()
                    self.assertEqual(message.SerializeToString(deterministic=True).hex(), wire)
                seen.add(name)
        self.assertEqual(seen, {name for module in modules.values() for name in module.DESCRIPTOR.message_types_by_name})
