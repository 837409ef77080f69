package session_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/wire/nodeapi"
)

// DialAPI repeats what it gets, after the task's name, until the node is done.
func (s *server) DialAPI(stream grpc.BidiStreamingServer[nodeapi.Chunk, nodeapi.Chunk]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetTaskId() == "" || len(first.GetData()) > 0 {
		return status.Error(codes.InvalidArgument, "the first message names the task and nothing else")
	}
	out := []byte(first.GetTaskId() + " ")
	for {
		if err := stream.Send(&nodeapi.Chunk{Data: out}); err != nil {
			return err
		}
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.Send(&nodeapi.Chunk{Data: []byte(" end")})
		}
		if err != nil {
			return err
		}
		out = in.GetData()
	}
}

func (s *server) TaskCredentials(_ context.Context, in *nodeapi.TaskCredentialsRequest) (*nodeapi.TaskCredentialsResponse, error) {
	switch in.GetTaskId() {
	case "refused":
		return &nodeapi.TaskCredentialsResponse{Refusal: "ECS was unable to assume the role"}, nil
	case "another's":
		return nil, status.Error(codes.PermissionDenied, "the task is not this node's")
	case "away":
		return nil, status.Error(codes.Unavailable, "starting")
	}
	return &nodeapi.TaskCredentialsResponse{AccessKeyId: "ASIA"}, nil
}

// A connection carries bytes of any number in both directions, and its end.
func TestDialAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := run(t, s, newTasks())
		conn, err := c.DialAPI(t.Context(), "t1")
		if err != nil {
			t.Fatal(err)
		}
		sent := bytes.Repeat([]byte("0123456789"), 10_000) // more than a chunk
		wrote := make(chan error, 1)
		go func() {
			_, err := conn.Write(sent)
			wrote <- errors.Join(err, conn.CloseWrite())
		}()
		got, err := io.ReadAll(conn)
		if want := "t1 " + string(sent) + " end"; err != nil || string(got) != want {
			t.Errorf("got %d bytes, %v; want %d", len(got), err, len(want))
		}
		if err := errors.Join(<-wrote, conn.Close()); err != nil {
			t.Error(err)
		}
	})
}

// Closing a connection ends a reader; a control plane that is away is an error
// at once.
func TestDialAPI_Ends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := run(t, s, newTasks())
		conn, err := c.DialAPI(t.Context(), "t1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Minute, func() { conn.Close() })
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("a connection that was closed says %v", err)
		}
		s.die()
		time.Sleep(time.Minute)
		begun := time.Now()
		conn, err = c.DialAPI(t.Context(), "t1")
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
		if err == nil || time.Since(begun) > time.Second {
			t.Errorf("without a control plane: %v after %v", err, time.Since(begun))
		}
	})
}

// A no is told from a control plane that may say yes later.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := run(t, s, newTasks())
		ask := func(ctx context.Context) (*nodeapi.TaskCredentialsResponse, error) {
			return c.TaskCredentials(ctx, "t1")
		}
		if answer, err := session.Insist(t.Context(), ask); err != nil || answer.GetAccessKeyId() != "ASIA" {
			t.Errorf("got %v, %v", answer, err)
		}
		for task, want := range map[string]string{"refused": "ECS was unable to assume the role", "another's": "ResourceInitializationError: the task is not this node's"} {
			_, err := session.Insist(t.Context(), func(ctx context.Context) (*nodeapi.TaskCredentialsResponse, error) {
				return c.TaskCredentials(ctx, task)
			})
			if !session.IsRefused(err) || err.Error() != want {
				t.Errorf("%s: %v", task, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		tries := 0
		_, err := session.Insist(ctx, func(ctx context.Context) (*nodeapi.TaskCredentialsResponse, error) {
			tries++
			return c.TaskCredentials(ctx, "away")
		})
		if err == nil || session.IsRefused(err) || tries < 10 || tries > 100 || !strings.Contains(err.Error(), "starting") {
			t.Errorf("%v after %d tries", err, tries)
		}
	})
}
