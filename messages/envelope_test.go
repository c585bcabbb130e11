package messages

import "testing"

func TestEnvelopeCarriesEveryControlMessage(t *testing.T) {
	fields := (&ControlEnvelope{}).ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	if fields.Len() < 20 {
		t.Fatalf("only %d kinds of control message", fields.Len())
	}
	for i := range fields.Len() {
		e := &ControlEnvelope{}
		body := e.ProtoReflect().NewField(fields.Get(i)).Message().Interface()
		wrapped := Envelope("me", body)
		if got := Unwrap(wrapped); got == nil || !Equal(got, body) {
			t.Errorf("%s: unwrapped to %v", fields.Get(i).Name(), got)
		}
		b, err := Marshal(wrapped)
		if err != nil {
			t.Fatal(err)
		}
		var back ControlEnvelope
		if err := Unmarshal(b, &back); err != nil || !Equal(&back, wrapped) {
			t.Errorf("%s: %v after the wire: %v", fields.Get(i).Name(), &back, err)
		}
	}
}

func TestEnvelopeRefusesOthers(t *testing.T) {
	if Unwrap(&ControlEnvelope{}) != nil {
		t.Error("an empty envelope has a body")
	}
	defer func() {
		if recover() == nil {
			t.Error("a KeyRequest is no control message")
		}
	}()
	Envelope("me", &KeyRequest{})
}

func TestControlFrame(t *testing.T) {
	frame, err := ControlFrame("me", &OwnershipAck{Epoch: 7})
	if err != nil {
		t.Fatal(err)
	}
	body, err := ParseControlFrame(frame)
	if ack, ok := body.(*OwnershipAck); err != nil || !ok || ack.GetEpoch() != 7 {
		t.Errorf("%v, %v", body, err)
	}
	for _, bad := range [][]byte{{}, {0x0a, 0x02, 'm'}, {0x0a, 0x01, 'm'}} {
		if body, err := ParseControlFrame(bad); err == nil {
			t.Errorf("%x was taken as %v", bad, body)
		}
	}
	if _, err := ControlFrame("\xff", &OwnershipAck{}); err == nil {
		t.Error("a sender that is no UTF-8 was encoded")
	}
}
