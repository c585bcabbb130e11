package messages

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Envelope wraps one of our control messages. It panics on a message that ControlEnvelope has no field for:
// that is a mistake of the program, not of a peer.
func Envelope(sender string, body Message) *ControlEnvelope {
	e := &ControlEnvelope{Sender: sender}
	r := e.ProtoReflect()
	fields := r.Descriptor().Oneofs().ByName("body").Fields()
	want := body.ProtoReflect().Descriptor().FullName()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Message().FullName() == want {
			r.Set(f, protoreflect.ValueOfMessage(body.ProtoReflect()))
			return e
		}
	}
	panic(fmt.Sprintf("messages: %s is no control message", want))
}

// Unwrap returns what an envelope carries, or nil when it is empty or of a kind that this program does not know.
func Unwrap(e *ControlEnvelope) Message {
	r := e.ProtoReflect()
	f := r.WhichOneof(r.Descriptor().Oneofs().ByName("body"))
	if f == nil {
		return nil
	}
	return r.Get(f).Message().Interface()
}

// ControlFrame returns the bytes of an envelope with one of our control messages, ready for a control socket. It fails
// when a string of body is not UTF-8.
func ControlFrame(sender string, body Message) ([]byte, error) {
	return Marshal(Envelope(sender, body))
}

// ParseControlFrame reads what ControlFrame wrote and returns what the envelope carries. Errors wrap ErrMalformed; an envelope
// that is empty, or of a kind that this program does not know, is one.
func ParseControlFrame(frame []byte) (Message, error) {
	var e ControlEnvelope
	if err := Unmarshal(frame, &e); err != nil {
		return nil, err
	}
	body := Unwrap(&e)
	if body == nil {
		return nil, fmt.Errorf("%w: control envelope of %d bytes carries nothing that is known here", ErrMalformed, len(frame))
	}
	return body, nil
}
