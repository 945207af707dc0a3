// A gRPC client of hookd without generated code: it gets all types by reflection.
//
//	client [-socket PATH] services
//	client [-socket PATH] call METHOD JSON
//	client [-socket PATH] stream METHOD JSON
//	client [-socket PATH] build DIRECTORY [NAME=VALUE ...]
//
// METHOD is a full name, such as hookd.v1.HookService/GetStatus. JSON is the message, in protobuf's
// JSON mapping. Each message of hookd is printed as JSON, on a line of its own. A status other than
// OK is printed with its reason and remedy, and the exit code is 1.
//
// hookd accepts clients of its own uid only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jhump/protoreflect/grpcreflect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// For a whole call; a build may take long.
const timeout = time.Hour

func main() {
	socket := os.Getenv("HOOKD_SOCKET")
	if socket == "" {
		socket = "/run/hookd/hookd.sock"
	}
	flag.StringVar(&socket, "socket", socket, "path of hookd's socket")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := run(ctx, socket, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, describe(err))
		os.Exit(1)
	}
}

func run(ctx context.Context, socket string, arguments []string) error {
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	reflection := grpcreflect.NewClientAuto(ctx, connection)
	defer reflection.Reset()

	switch {
	case len(arguments) == 1 && arguments[0] == "services":
		services, err := reflection.ListServices()
		fmt.Println(strings.Join(services, "\n"))
		return err
	case len(arguments) == 3 && arguments[0] == "call":
		method, request, err := prepare(reflection, arguments[1], arguments[2])
		if err != nil {
			return err
		}
		response := dynamicpb.NewMessage(method.Output())
		if err := connection.Invoke(ctx, "/"+arguments[1], request, response); err != nil {
			return err
		}
		return show(response)
	case len(arguments) == 3 && arguments[0] == "stream":
		method, request, err := prepare(reflection, arguments[1], arguments[2])
		if err != nil {
			return err
		}
		return stream(ctx, connection, "/"+arguments[1], method, request, show)
	case len(arguments) >= 2 && arguments[0] == "build":
		return build(ctx, connection, reflection, arguments[1], arguments[2:])
	}
	return errors.New("usage: client [-socket PATH] services | call METHOD JSON | stream METHOD JSON | build DIRECTORY [NAME=VALUE ...]")
}

// Finds a method by reflection, and makes its request.
func prepare(reflection *grpcreflect.Client, name, text string) (protoreflect.MethodDescriptor, proto.Message, error) {
	service, method, _ := strings.Cut(name, "/")
	resolved, err := reflection.ResolveService(service)
	if err != nil {
		return nil, nil, err
	}
	found := resolved.FindMethodByName(method)
	if found == nil {
		return nil, nil, fmt.Errorf("%s has no method %q", service, method)
	}
	request := dynamicpb.NewMessage(found.UnwrapMethod().Input())
	if err := protojson.Unmarshal([]byte(text), request); err != nil {
		return nil, nil, fmt.Errorf("the request: %w", err)
	}
	return found.UnwrapMethod(), request, nil
}

// A streaming call with one message. A client that sends no acknowledgements sets `auto_ack` in it.
func stream(ctx context.Context, connection *grpc.ClientConn, name string, method protoreflect.MethodDescriptor, request proto.Message, show func(proto.Message) error) error {
	call, err := connection.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, name)
	if err != nil {
		return err
	}
	// An error of SendMsg is io.EOF; RecvMsg returns its status.
	if err := call.SendMsg(request); err != nil && err != io.EOF {
		return err
	}
	if err := call.CloseSend(); err != nil {
		return err
	}
	for {
		response := dynamicpb.NewMessage(method.Output())
		if err := call.RecvMsg(response); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := show(response); err != nil {
			return err
		}
	}
}

func show(message proto.Message) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	fmt.Println(string(text))
	return err
}

// The status, with the reason and the remedy that hookd adds (docs/errors.md).
func describe(err error) string {
	text := err.Error()
	for _, detail := range status.Convert(err).Details() {
		if info, is := detail.(*errdetails.ErrorInfo); is && info.Domain == "hookd" {
			text += fmt.Sprintf("\nreason: %s\nremedy: %s", info.Reason, info.Metadata["remedy"])
		}
	}
	return text
}
