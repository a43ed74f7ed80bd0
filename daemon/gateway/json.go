package gateway

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// The media types of answers.
const (
	typeJSON   = "application/json"
	typeNDJSON = "application/x-ndjson"      // a stream: a JSON document in each line
	typeEvents = "text/event-stream"         // a stream, for who asks for it
	typeText   = "text/plain; charset=utf-8" // for people
)

// marshaler writes and reads JSON as the command line does: every field is there but
// messages and optional fields that are not set. One document ends with a line feed.
type marshaler struct {
	protojson.MarshalOptions
	lists *encoded
}

var asJSON = marshaler{protojson.MarshalOptions{EmitDefaultValues: true}, new(encoded)}

func (marshaler) ContentType(any) string       { return typeJSON }
func (marshaler) StreamContentType(any) string { return typeNDJSON }

// Delimiter implements runtime.Delimited: chunk has the line feed already.
func (marshaler) Delimiter() []byte { return nil }

func (m marshaler) Marshal(v any) ([]byte, error) {
	name, message, err := chunk(v)
	if err != nil {
		return nil, err
	}
	return m.line(name, message)
}

// line is a message as a line, within an object of one field where it has a name.
func (m marshaler) line(name string, message proto.Message) ([]byte, error) {
	if _, failed := message.(*status.Status); failed {
		m.EmitDefaultValues = false // its details have fields that mean nothing to anybody
	}
	if list, ok := message.(*pb.ListContainersResponse); ok {
		data, err := m.lists.list(nil, m.MarshalOptions, list)
		return append(data, '\n'), err
	}
	if name == "" {
		data, err := m.MarshalAppend(nil, message)
		return append(data, '\n'), err
	}
	data, err := m.MarshalAppend([]byte(`{"`+name+`":`), message)
	return append(data, '}', '\n'), err
}

// chunk takes apart what the runtime has marshaled: a message or, in a stream, a map
// with the one entry "result" or "error".
func chunk(v any) (name string, message proto.Message, err error) {
	switch v := v.(type) {
	case proto.Message:
		return "", v, nil
	case map[string]any:
		for name, value := range v {
			if message, ok := value.(proto.Message); ok {
				return name, message, nil
			}
		}
	case map[string]proto.Message:
		for name, message := range v {
			return name, message, nil
		}
	}
	return "", nil, fmt.Errorf("%T is not a message", v)
}

func (m marshaler) NewEncoder(w io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v any) error {
		data, err := m.Marshal(v)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	})
}

func (m marshaler) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(data)) == 0 {
			return io.EOF // no body: a request without fields
		}
		return m.Unmarshal(data, v)
	})
}

// Unmarshal reads a message, or a field that is one. It fails closed: a field that the
// message does not have is an error. Errors say where, as line:column.
func (marshaler) Unmarshal(data []byte, v any) error {
	message, ok := v.(proto.Message)
	if !ok {
		field := reflect.ValueOf(v).Elem()
		field.Set(reflect.New(field.Type().Elem()))
		if message, ok = field.Interface().(proto.Message); !ok {
			return fmt.Errorf("%T is not a message", v)
		}
	}
	if err := protojson.Unmarshal(data, message); err != nil {
		// Its errors begin with "proto:" and a blank of either of two kinds.
		text := strings.TrimLeft(strings.TrimPrefix(err.Error(), "proto:"), " \u00a0")
		if !strings.Contains(text, "(line ") { // it ended too early
			last := data[bytes.LastIndexByte(data, '\n')+1:]
			text = fmt.Sprintf("(line %d:%d): %s", bytes.Count(data, []byte("\n"))+1, utf8.RuneCount(last)+1, text)
		}
		return fmt.Errorf("the body is no %s: %s", message.ProtoReflect().Descriptor().Name(), text)
	}
	return nil
}

// events writes a stream as Server-Sent Events; what is no stream it leaves as it is.
type events struct{ marshaler }

func (events) StreamContentType(any) string { return typeEvents }

// Marshal writes one event: "data" is the line that an NDJSON stream would have, "id"
// is what a watch can be resumed from.
func (e events) Marshal(v any) ([]byte, error) {
	name, message, err := chunk(v)
	if err != nil {
		return nil, err
	}
	data, err := e.line(name, message)
	if err != nil || name == "" {
		return data, err
	}
	var event []byte
	if id := versionOf(message); id != "" {
		event = append(event, "id: "+id+"\n"...)
	}
	event = append(append(event, "data: "...), data...)
	return append(event, '\n'), nil
}

// versionOf is the field "version" of a message that has one, of one line.
func versionOf(message proto.Message) string {
	field := message.ProtoReflect().Descriptor().Fields().ByName("version")
	if field == nil || field.Kind() != protoreflect.StringKind {
		return ""
	}
	return message.ProtoReflect().Get(field).String()
}
