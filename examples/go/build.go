package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jhump/protoreflect/grpcreflect"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// What BuildImage answers, in protobuf's JSON mapping.
type buildImageResponse struct {
	Event struct {
		Output   struct{ Data []byte }
		Progress struct{ Message string }
	}
	Result struct{ Reference string }
}

// Builds the image of a directory with build arguments, NAME=VALUE, and prints its reference by digest. The
// log goes to standard error.
func build(ctx context.Context, connection *grpc.ClientConn, reflection *grpcreflect.Client, directory string, arguments []string) error {
	absolute, err := filepath.Abs(directory)
	if err != nil {
		return err
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	values := map[string]string{}
	for _, argument := range arguments {
		name, value, _ := strings.Cut(argument, "=")
		values[name] = value
	}
	start, err := json.Marshal(map[string]any{"start": map[string]any{
		"step_id":    "build-" + hex.EncodeToString(id),
		"context":    absolute,
		"build_args": values,
		"auto_ack":   true,
	}})
	if err != nil {
		return err
	}
	const name = "hookd.v1.HookService/BuildImage"
	method, request, err := prepare(reflection, name, string(start))
	if err != nil {
		return err
	}
	reference := ""
	err = stream(ctx, connection, "/"+name, method, request, func(message proto.Message) error {
		text, err := protojson.Marshal(message)
		if err != nil {
			return err
		}
		var response buildImageResponse
		if err := json.Unmarshal(text, &response); err != nil {
			return err
		}
		reference = response.Result.Reference
		if message := response.Event.Progress.Message; message != "" {
			fmt.Fprintln(os.Stderr, message)
		}
		_, err = os.Stderr.Write(response.Event.Output.Data)
		return err
	})
	if err != nil {
		return err
	}
	if reference == "" {
		return errors.New("the call ended without a result")
	}
	fmt.Println(reference)
	return nil
}
