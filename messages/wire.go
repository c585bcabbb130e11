package messages

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// Message is any message of this package.
type Message = proto.Message

// ErrMalformed means that bytes are not the message or string they should be. Every decoder of this package wraps it.
var ErrMalformed = errors.New("malformed message")

// MaxMessageBytes bounds what Unmarshal takes. Messages outside the request plane are lists of nodes, keys and counters; one
// of 4 MiB names tens of thousands, and a hostile one of that size costs some 150 MiB to decode, for a moment.
const MaxMessageBytes = 4 << 20

// wireOptions sorts maps, so that equal messages have equal bytes: golden tests and durable maps rely on it.
var wireOptions = proto.MarshalOptions{Deterministic: true}

// Marshal returns m's bytes; equal messages have equal bytes. It fails when a string of m is not UTF-8.
func Marshal(m Message) ([]byte, error) { return Append(nil, m) }

// Append appends m's bytes to dst.
func Append(dst []byte, m Message) ([]byte, error) {
	out, err := wireOptions.MarshalAppend(dst, m)
	if err != nil {
		return dst, fmt.Errorf("encode %s: %w", nameOf(m), err)
	}
	return out, nil
}

// Unmarshal replaces m by what b holds. m keeps no reference to b. Unknown fields are dropped: this system never
// forwards what it does not understand. Errors wrap ErrMalformed.
func Unmarshal(b []byte, m Message) error {
	if len(b) > MaxMessageBytes {
		return fmt.Errorf("%w: %s of %d bytes, the limit is %d", ErrMalformed, nameOf(m), len(b), MaxMessageBytes)
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: decode %s: %w", ErrMalformed, nameOf(m), err)
	}
	return nil
}

// Equal says whether two messages hold the same.
func Equal(a, b Message) bool { return proto.Equal(a, b) }

// Clone returns a deep copy of m.
func Clone[M Message](m M) M { return proto.CloneOf(m) }

// Text returns m as one line for logs and test output. Its exact form may change between library versions, so
// nothing may parse it or compare it.
func Text(m Message) string { return prototext.MarshalOptions{}.Format(m) }

// JSON returns m as JSON with the .proto files' field names.
func JSON(m Message) ([]byte, error) {
	b, err := (protojson.MarshalOptions{UseProtoNames: true}).Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s as JSON: %w", nameOf(m), err)
	}
	return b, nil
}

// nameOf names m's type in errors.
func nameOf(m Message) string { return string(m.ProtoReflect().Descriptor().Name()) }
