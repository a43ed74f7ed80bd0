package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// checkQuery refuses a query parameter that the request has no field for, or that its
// path or body has already, where the runtime would pass over it. It fails closed: a
// filter that is spelled wrongly must not filter nothing.
func checkQuery(ctx context.Context, query url.Values, request protoreflect.MessageDescriptor) error {
	pattern, _ := runtime.HTTPPathPattern(ctx)
	for name, values := range query {
		field := fieldOf(request, name)
		if field == nil || strings.Contains(pattern, "{"+string(field.Name())+"}") || strings.Contains(pattern, "{"+string(field.Name())+"=") {
			return status.Errorf(codes.InvalidArgument, "there is no query parameter %q; /openapi.json has those that there are", name)
		}
		if err := checkEnum(field, values); err != nil {
			return status.Errorf(codes.InvalidArgument, "query parameter %q: %v", name, err)
		}
	}
	return nil
}

// The runtime has one parser for all of the process: it is set once, before anybody asks.
var _ = runtime.NewServeMux(runtime.SetQueryParameterParser(&queryParser{}))

// queryParser is the runtime's, after that check: its own errors name no values. It is
// not asked where the path has all fields; Conn is, always.
type queryParser struct{ runtime.DefaultQueryParser }

func (q *queryParser) Parse(message proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	if err := checkQuery(context.Background(), values, message.ProtoReflect().Descriptor()); err != nil {
		return errors.New(status.Convert(err).Message()) // the runtime makes a status of it
	}
	return q.DefaultQueryParser.Parse(message, values, filter)
}

// fieldOf returns the field of a message that a query parameter names ("force",
// "resources.cpu", "labels[team]"), or nil.
func fieldOf(message protoreflect.MessageDescriptor, parameter string) protoreflect.FieldDescriptor {
	name, rest, nested := strings.Cut(parameter, ".")
	if key := strings.IndexByte(name, '['); key >= 0 { // of a map, which may have dots
		name, nested = name[:key], false
	}
	field := message.Fields().ByTextName(name)
	if field == nil {
		field = message.Fields().ByJSONName(name)
	}
	if field == nil || !nested {
		return field
	}
	if field.Message() == nil || field.IsList() || field.IsMap() {
		return nil
	}
	return fieldOf(field.Message(), rest)
}

// checkEnum names the values that there are where one is none of them.
func checkEnum(field protoreflect.FieldDescriptor, values []string) error {
	if field.Enum() == nil {
		return nil
	}
	known := field.Enum().Values()
	var names []string
	for i := range known.Len() {
		names = append(names, string(known.Get(i).Name()))
	}
	for _, value := range values {
		if _, err := strconv.ParseInt(value, 10, 32); err != nil && !slices.Contains(names, value) {
			return fmt.Errorf("%q is none of %s", value, strings.Join(names[1:], ", "))
		}
	}
	return nil
}
