"""The bytes that Anna's own programs were seen to send."""

import unittest

from dinomo.lattices import encode_lww
from dinomo.pb import request_pb2 as pb


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
