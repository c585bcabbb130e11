package messages

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// files are the .proto files of this package; a function, because generated code sets them only after variables are.
func files() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{
		File_messages_request_proto, File_messages_payload_proto, File_messages_metadata_proto, File_messages_control_proto,
	}
}

// TestSchema compares every enum and message of Anna and Dinomo with testdata/schema, which is written in the notation of
// the protocol's description so that the two can be read side by side. What is there never has reason to change (WIRE-1).
func TestSchema(t *testing.T) { runSchema(t, "testdata/schema") }

// TestControlSchema is the same for the messages that are ours; generate.sh rewrites its file, for review.
func TestControlSchema(t *testing.T) { runSchema(t, "testdata/control-schema") }

func runSchema(t *testing.T, path string) {
	datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		for _, file := range files() {
			if string(file.Path()) != "messages/"+d.Cmd+".proto" {
				continue
			}
			for i := range file.Enums().Len() {
				writeEnum(&out, file.Enums().Get(i))
			}
			for i := range file.Messages().Len() {
				writeMessage(&out, file.Messages().Get(i))
			}
		}
		return out.String()
	})
}

func writeEnum(out *strings.Builder, e protoreflect.EnumDescriptor) {
	var values []string
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		values = append(values, fmt.Sprintf("%s %d", v.Name(), v.Number()))
	}
	fmt.Fprintf(out, "%s: %s\n", e.Name(), strings.Join(values, ", "))
}

func writeMessage(out *strings.Builder, m protoreflect.MessageDescriptor) {
	var fields []string
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		fields = append(fields, fmt.Sprintf("%d %s: %s", f.Number(), f.Name(), typeName(f)))
	}
	fmt.Fprintf(out, "%s: %s\n", m.Name(), strings.Join(fields, ", "))
}

func typeName(f protoreflect.FieldDescriptor) string {
	name := f.Kind().String()
	switch {
	case f.IsMap():
		return fmt.Sprintf("map<%s,%s>", f.MapKey().Kind(), f.MapValue().Kind())
	case f.Message() != nil:
		name = string(f.Message().Name())
	case f.Enum() != nil:
		name = string(f.Enum().Name())
	}
	if f.IsList() {
		name = "repeated " + name
	}
	return name
}

// TestGoldenBytes compares every message of Anna and Dinomo, with every field set, with testdata/golden, whose bytes
// another implementation of protobuf (Debian's for Python) has read and written back the same.
func TestGoldenBytes(t *testing.T) { runGolden(t, "testdata/golden") }

// TestControlGoldenBytes is the same for the messages that are ours; generate.sh rewrites its file, for review.
func TestControlGoldenBytes(t *testing.T) { runGolden(t, "testdata/control-golden") }

func runGolden(t *testing.T, path string) {
	datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		for _, sample := range fileSamples(d.Cmd) {
			wire, err := Marshal(sample)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			fmt.Fprintf(&out, "%s %x\n", nameOf(sample), wire)
			if fast, ok := sample.(interface{ MarshalVT() ([]byte, error) }); ok {
				if b, err := fast.MarshalVT(); err != nil || !bytes.Equal(b, wire) {
					t.Errorf("%s: the fast code writes %x, %v", nameOf(sample), b, err)
				}
			}
		}
		return out.String()
	})
}

// TestDecodeGoldenBytes reads the golden bytes back from the files themselves: lines and samples are in one order.
func TestDecodeGoldenBytes(t *testing.T) {
	for _, path := range []string{"testdata/golden", "testdata/control-golden"} {
		decodeGolden(t, path)
	}
}

func decodeGolden(t *testing.T, path string) {
	datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
		lines, all := strings.Split(strings.TrimSpace(d.Expected), "\n"), fileSamples(d.Cmd)
		if len(lines) != len(all) {
			t.Fatalf("%s.proto has %d samples, the file %d: run messages/generate.sh", d.Cmd, len(all), len(lines))
		}
		for i, sample := range all {
			name, wire, _ := strings.Cut(lines[i], " ")
			got := sample.ProtoReflect().New().Interface()
			if err := Unmarshal(mustHex(t, wire), got); err != nil || !Equal(got, sample) {
				t.Errorf("%s: the golden bytes decode to %s, %v", name, Text(got), err)
			}
		}
		return d.Expected
	})
}

// fileSamples returns the samples of all messages of one .proto file.
func fileSamples(name string) []Message {
	var out []Message
	for _, file := range files() {
		if string(file.Path()) != "messages/"+name+".proto" {
			continue
		}
		for i := range file.Messages().Len() {
			out = append(out, samples(newMessage(file.Messages().Get(i).FullName()))...)
		}
	}
	return out
}

// newMessage returns an empty message of a name that is known to exist.
func newMessage(name protoreflect.FullName) Message {
	typ, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		panic(err)
	}
	return typ.New().Interface()
}

// samples returns m with every field set; of a message with a oneof, once for each of its arms.
func samples(m Message) []Message {
	oneofs := m.ProtoReflect().Descriptor().Oneofs()
	if oneofs.Len() == 0 {
		return []Message{fill(proto.Clone(m), 1)}
	}
	var out []Message
	for i := range oneofs.Get(0).Fields().Len() {
		one := fill(proto.Clone(m), 1).ProtoReflect()
		field := oneofs.Get(0).Fields().Get(i)
		one.Set(field, protoreflect.ValueOfMessage(fill(one.NewField(field).Message().Interface(), 2).ProtoReflect()))
		out = append(out, one.Interface())
	}
	return out
}

// fill sets every field of m to a value that follows from the field's number and salt alone; lists and maps get two
// elements, and oneofs are left alone.
func fill(m Message, salt int) Message {
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.ContainingOneof() != nil:
		case f.IsMap():
			entries := r.Mutable(f).Map()
			for n := range 2 {
				entries.Set(scalar(f.MapKey(), salt+n).MapKey(), scalar(f.MapValue(), salt+n))
			}
		case f.IsList():
			list := r.Mutable(f).List()
			for n := range 2 {
				if f.Message() != nil {
					list.Append(protoreflect.ValueOfMessage(fill(list.NewElement().Message().Interface(), salt+n).ProtoReflect()))
				} else {
					list.Append(scalar(f, salt+n))
				}
			}
		case f.Message() != nil:
			fill(r.Mutable(f).Message().Interface(), salt)
		default:
			r.Set(f, scalar(f, salt))
		}
	}
	return m
}

func scalar(f protoreflect.FieldDescriptor, salt int) protoreflect.Value {
	n := int(f.Number())*1000 + salt
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(fmt.Sprintf("%s %d", f.Name(), salt))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{0, 0xff, byte(salt)})
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(math.MaxUint32 - uint32(n))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(math.MaxUint64 - uint64(n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n) + 0.5)
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(1 + salt%(values.Len()-1)).Number())
	}
	panic("no sample of kind " + f.Kind().String())
}

// TestMarshalIsDeterministic: maps are written sorted, so equal messages have equal bytes.
func TestMarshalIsDeterministic(t *testing.T) {
	m := &KnStatistics{Errors: make(map[string]uint64)}
	for i := range 50 {
		m.Errors[fmt.Sprint("error", i)] = uint64(i)
	}
	first, err := Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if b, err := Marshal(Clone(m)); err != nil || !bytes.Equal(b, first) {
			t.Fatalf("marshalled differently: %v", err)
		}
	}
}

func TestUnmarshalDropsWhatItDoesNotKnow(t *testing.T) {
	wire := slices.Concat(mustHex(t, "0a0161"), mustHex(t, "c83e07")) // key "a", and field 1001.
	var m KeyCount
	if err := Unmarshal(wire, &m); err != nil || !Equal(&m, &KeyCount{Key: "a"}) {
		t.Errorf("%v, %v", &m, err)
	}
	if len(m.ProtoReflect().GetUnknown()) != 0 {
		t.Error("an unknown field is kept")
	}
}

func TestUnmarshalIsBounded(t *testing.T) {
	if err := Unmarshal(make([]byte, MaxMessageBytes+1), &KeyCount{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a message above the limit: %v", err)
	}
}
