#!/bin/sh
# Regenerates the Go code of this package's .proto files. With -check it changes nothing and fails when the
# checked-in code is not what would be generated. The plugins' versions are pinned by internal/devtools/go.mod;
# protoc's by the check below, because its version is written into the generated files.
set -eu

want="libprotoc 3.21.12"
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")

mode=write
case "${1:-}" in
"") ;;
-check) mode=check ;;
*)
	echo "usage: generate.sh [-check]" >&2
	exit 2
	;;
esac

if ! command -v protoc >/dev/null 2>&1; then
	echo "generate.sh: protoc is missing; install it with: apt-get install protobuf-compiler (Debian 12 has 3.21.12)" >&2
	exit 1
fi
got=$(protoc --version)
if [ "$got" != "$want" ]; then
	echo "generate.sh: protoc is \"$got\", the checked-in code is made with \"$want\"; install Debian 12's protobuf-compiler" >&2
	exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/out"
(cd "$root/internal/devtools" && go build -o "$work/bin" \
	google.golang.org/protobuf/cmd/protoc-gen-go \
	github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto)

pool=
for message in KeyTuple KeyRequest KeyResponse KeyAddress KeyAddressRequest KeyAddressResponse; do
	pool="$pool --go-vtproto_opt=pool=github.com/dinomo-kv/dinomo/messages.$message"
done

cd "$root"
PATH="$work/bin:$PATH"
export PATH
protoc -I . --go_out="$work/out" --go_opt=paths=source_relative messages/*.proto
# Only the request plane gets the fast code: more generated code than that buys nothing.
# shellcheck disable=SC2086 # the pool options are a list
protoc -I . --go-vtproto_out="$work/out" --go-vtproto_opt=paths=source_relative \
	--go-vtproto_opt=features=marshal+unmarshal+size+pool+unmarshal_unsafe $pool \
	messages/request.proto

if [ "$mode" = check ]; then
	mkdir "$work/have"
	cp "$here"/*.pb.go "$work/have/"
	if ! diff -r "$work/have" "$work/out/messages"; then
		echo "generate.sh: the generated code differs from the .proto files; run make generate and commit the result" >&2
		exit 1
	fi
	exit 0
fi
rm -f "$here"/*.pb.go
cp "$work/out/messages"/*.pb.go "$here/"
# The golden files of our own messages follow; those of Anna's and Dinomo's never change.
go test -count=1 ./messages -run '^TestControl(Schema|GoldenBytes)$' -rewrite
