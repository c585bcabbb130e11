#!/bin/sh
# Regenerates the Python classes of the wire messages from messages/*.proto: those that a foreign client knows, not our
# control plane. protoc's version must be Debian 12's: older runtimes do not load what a newer protoc makes.
set -eu
want="libprotoc 3.21.12"
here=$(cd "$(dirname "$0")" && pwd)
messages=$(cd "$here/../../messages" && pwd)
if ! command -v protoc >/dev/null 2>&1; then
	echo "generate.sh: protoc is missing; install it with: apt-get install protobuf-compiler (Debian 12 has 3.21.12)" >&2
	exit 1
fi
got=$(protoc --version)
if [ "$got" != "$want" ]; then
	echo "generate.sh: protoc is \"$got\", the checked-in code is made with \"$want\"; install Debian 12's protobuf-compiler" >&2
	exit 1
fi
rm -f "$here"/dinomo/pb/*_pb2.py "$here"/dinomo/pb/*_pb2.pyi
protoc -I "$messages" --python_out="$here/dinomo/pb" --pyi_out="$here/dinomo/pb" request.proto payload.proto metadata.proto
