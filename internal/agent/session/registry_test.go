package session_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/wire/nodeapi"
)

// DialRegistry refuses as it is told to, else repeats what it gets after the names of task and container.
func (s *server) DialRegistry(stream grpc.BidiStreamingServer[nodeapi.Chunk, nodeapi.Chunk]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	switch first.GetTaskId() {
	case "refused":
		return status.Error(codes.PermissionDenied, "CannotPullContainerError: the role may not")
	case "foreign":
		return status.Error(codes.NotFound, "no such repository")
	case "away":
		return status.Error(codes.Unavailable, "starting")
	}
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	out := []byte(first.GetTaskId() + " " + first.GetContainer() + " ")
	for {
		if err := stream.Send(&nodeapi.Chunk{Data: out}); err != nil {
			return err
		}
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out = in.GetData()
	}
}

func TestDialRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := run(t, newServer(t), newTasks())
		conn, err := c.DialRegistry(t.Context(), "t1", "app")
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Repeat("layer", 100_000)
		wrote := make(chan error, 1)
		go func() {
			_, err := io.WriteString(conn, text)
			wrote <- errors.Join(err, conn.CloseWrite())
		}()
		got, err := io.ReadAll(conn)
		if string(got) != "t1 app "+text || err != nil {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		if err := errors.Join(<-wrote, conn.Close()); err != nil {
			t.Error(err)
		}
		for task, want := range map[string]session.Refused{
			"refused": {Text: "CannotPullContainerError: the role may not"},
			"foreign": {Text: "no such repository", NotFound: true},
		} {
			_, err := c.DialRegistry(t.Context(), task, "app")
			if no, ok := errors.AsType[*session.Refused](err); !ok || *no != want {
				t.Errorf("%s: %v", task, err)
			}
		}
		if _, err := c.DialRegistry(t.Context(), "away", "app"); err == nil || session.IsRefused(err) {
			t.Errorf("a control plane that is away: %v", err)
		}
	})
}
