package channel

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/datachannel"
	"berth.dev/berth/internal/wire/nodeapi"
)

// sizeTime is how long a terminal's size is waited for before its program
// starts. All clients send it first; one without a terminal sends none.
const sizeTime = time.Second

// documentShell is what StartSession runs without a document.
const documentShell = "SSM-SessionManagerRunShell"

// killed is the exit code of a program that was killed, as one whose container
// has stopped is.
const killed = 128 + 9

// command carries a program's input and output. Its error is an ending, or what
// kept the program from starting.
func (c *session) command() error {
	request, err := c.streamRequest()
	if err != nil {
		return err
	}
	var first []datachannel.Payload
	if request.TTY {
		first = c.firstSize(&request)
	}
	record, err := c.startTranscript()
	if err != nil {
		return err
	}
	node, err := c.server.cfg.Open(c.ctx, request)
	if err != nil {
		return err
	}
	defer node.Close()
	defer context.AfterFunc(c.ctx, node.Close)()
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	group.Go(func() { c.input(ctx, node, first) })
	exit, err := c.output(node, record)
	if closing := record.close(); closing != nil && err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return c.exited(exit)
}

// streamRequest says what the node is to start.
func (c *session) streamRequest() (model.StreamRequest, error) {
	request := model.StreamRequest{
		ID: ident.UUID(), TaskID: c.record.TaskID, Container: c.record.Container, Kind: model.StreamExec, Command: c.record.Command, TTY: c.tty,
	}
	switch c.record.Document {
	case model.DocumentExec, documentShell:
		return request, nil
	case model.DocumentDebug:
		request.Kind, request.Image = model.StreamDebug, c.parameter("image")
		return request, nil
	case model.DocumentRead:
		request.Kind = model.StreamRead
	case model.DocumentWrite:
		request.Kind = model.StreamWrite
	default:
		return request, fmt.Errorf("document %s is not known", c.record.Document)
	}
	if !c.berth {
		// The plugin would write an archive to the terminal, and type another.
		return request, fmt.Errorf("document %s is for the berth command", c.record.Document)
	}
	request.TTY, request.Path = false, c.parameter("path")
	return request, nil
}

// firstSize waits for the terminal's size, so that the program finds it when it
// starts. What comes instead is returned.
func (c *session) firstSize(request *model.StreamRequest) []datachannel.Payload {
	ctx, cancel := context.WithTimeout(c.ctx, sizeTime)
	defer cancel()
	p, err := c.channel.Recv(ctx)
	if err != nil {
		return nil // too late, or the session has ended, as everybody will notice
	}
	if size, ok := decodeSize(p); ok {
		request.Rows, request.Columns = uint16(size.Rows), uint16(size.Columns)
		return nil
	}
	return []datachannel.Payload{p}
}

func decodeSize(p datachannel.Payload) (datachannel.Size, bool) {
	var size datachannel.Size
	ok := p.Type == datachannel.PayloadSize && json.Unmarshal(p.Data, &size) == nil && size.Rows <= math.MaxUint16 && size.Columns <= math.MaxUint16
	return size, ok
}

// input carries what the client sends until ctx ends or the node takes no more,
// whose end output notices.
func (c *session) input(ctx context.Context, node nodeapi.Stream, first []datachannel.Payload) {
	for {
		var p datachannel.Payload
		if len(first) > 0 {
			p, first = first[0], first[1:]
		} else {
			var err error
			if p, err = c.channel.Recv(ctx); err != nil {
				return
			}
		}
		c.touch()
		var frame *nodeapi.StreamFrame
		switch p.Type {
		case datachannel.PayloadOutput:
			frame = &nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Input{Input: p.Data}}
		case datachannel.PayloadSize:
			if size, ok := decodeSize(p); ok {
				frame = &nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Size{Size: &nodeapi.TerminalSize{Rows: size.Rows, Columns: size.Columns}}}
			}
		case datachannel.PayloadFlag:
			switch flag, _ := datachannel.DecodeFlag(p.Data); flag { // a bad flag is no flag
			case datachannel.FlagTerminateSession:
				c.cancel(errClientLeft)
				return
			case datachannel.FlagInputEnd:
				frame = &nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_InputEnd{InputEnd: true}}
			}
		}
		if frame == nil {
			continue // of a newer client
		}
		if node.Send(frame) != nil {
			return
		}
	}
}

// output carries what the program says to the client and the transcript, until
// it exits.
func (c *session) output(node nodeapi.Stream, record *transcript) (*nodeapi.StreamExit, error) {
	for {
		frame, err := node.Recv()
		if err != nil {
			return nil, c.lost(err)
		}
		kind, data := datachannel.PayloadOutput, []byte(nil)
		switch f := frame.GetFrame().(type) {
		case *nodeapi.StreamFrame_Output:
			data = f.Output
		case *nodeapi.StreamFrame_ErrorOutput:
			data = f.ErrorOutput
			if c.berth {
				kind = datachannel.PayloadStderr
			}
		case *nodeapi.StreamFrame_OutputEnd:
			if c.berth {
				kind, data = datachannel.PayloadFlag, datachannel.EncodeFlag(datachannel.FlagOutputEnd)
			}
		case *nodeapi.StreamFrame_Exit:
			return f.Exit, nil
		}
		if len(data) == 0 {
			continue
		}
		c.touch()
		if kind != datachannel.PayloadFlag {
			if err := record.write(c.ctx, data); err != nil {
				return nil, err
			}
		}
		if err := c.channel.Send(c.ctx, kind, data); err != nil {
			return nil, err
		}
	}
}

// lost explains the end of a stream that is not its program's.
func (c *session) lost(err error) error {
	if !taskRuns(c.server.cfg.Store.Snapshot(), c.record) {
		return errTaskStopped
	}
	c.server.cfg.Log.InfoContext(c.ctx, "the stream of a session was lost", telemetry.Session, c.record.ID, telemetry.Error, err)
	return ending{model.SessionTerminated, "The connection to the task's node was lost."}
}

// exited tells the client how the program has ended, once it has all that the
// program said.
func (c *session) exited(exit *nodeapi.StreamExit) error {
	if (exit.GetError() != "" || exit.GetCode() == killed) && !taskRuns(c.server.cfg.Store.Snapshot(), c.record) {
		return errTaskStopped
	}
	if text := exit.GetError(); text != "" {
		return ended(text)
	}
	if c.berth {
		if err := c.channel.Send(c.ctx, datachannel.PayloadExitCode, strconv.AppendInt(nil, int64(exit.GetCode()), 10)); err != nil {
			return err
		}
	}
	// However long it takes: the clock ends the session with a client that does
	// not read.
	return c.channel.Flush(c.ctx)
}

// errNotLogged ends a session whose output cannot be kept.
var errNotLogged = ending{model.SessionFailed, "The session has ended because its output could not be logged."}

// startTranscript begins the log of the session's output, if it is to be kept.
func (c *session) startTranscript() (*transcript, error) {
	log := c.record.Log
	if log == nil {
		return nil, nil //nolint:nilnil // a nil transcript keeps nothing
	}
	if err := c.server.cfg.Logs.EnsureStream(c.ctx, log.LogGroup, log.LogStream, false); err != nil {
		return nil, ending{model.SessionFailed, "The session's output cannot be logged: " + err.Error()}
	}
	t := newTranscript(c.server.cfg.Logs, *log, func() { c.cancel(errNotLogged) })
	go t.run()
	return t, nil
}
