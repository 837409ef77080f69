package logdriver

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/docker/go-units"
)

// Mode says what happens when output comes faster than it is delivered.
type Mode string

// The modes of the log option "mode".
const (
	Blocking    Mode = "blocking"     // the container's writes wait
	NonBlocking Mode = "non-blocking" // lines are dropped
)

// defaultMaxBufferBytes is the default of max-buffer-size since 2025-06-25.
const defaultMaxBufferBytes = 10 << 20

// Options are the validated options of the awslogs driver.
type Options struct {
	Group        string
	Region       string
	StreamPrefix string // empty: the stream's name is the container's id
	CreateGroup  bool
	Mode         Mode
	// MaxBufferBytes bounds the unread backlog in NonBlocking mode. In Blocking mode it is 0.
	MaxBufferBytes int64
	// Multiline matches the first line of an event; empty for one event per line. It compiles. A datetime-format has been
	// translated.
	Multiline string
}

// ParseOptions validates the options of a container's logConfiguration. defaultMode is the account's defaultLogDriverMode
// and may be empty. The errors are Docker's where Docker has them.
func ParseOptions(options map[string]string, defaultMode Mode) (Options, error) {
	var o Options
	datetime, multiline, bufferSize := "", "", ""
	for _, key := range slices.Sorted(maps.Keys(options)) {
		value := options[key]
		switch key {
		case "awslogs-group":
			o.Group = value
		case "awslogs-region":
			o.Region = value
		case "awslogs-stream-prefix":
			o.StreamPrefix = value
		case "awslogs-create-group":
			if value == "" {
				continue
			}
			create, err := strconv.ParseBool(value)
			if err != nil {
				return Options{}, fmt.Errorf("must specify valid value for log opt '%s': %w", key, err)
			}
			o.CreateGroup = create
		case "awslogs-datetime-format":
			datetime = value
		case "awslogs-multiline-pattern":
			multiline = value
		case "mode":
			o.Mode = Mode(value)
		case "max-buffer-size":
			bufferSize = value
		case "awslogs-stream", "awslogs-endpoint", "awslogs-format", "awslogs-create-stream", "awslogs-credentials-endpoint",
			"awslogs-force-flush-interval-seconds", "awslogs-max-buffered-events", "tag":
			// Real options of Docker's driver: better refused than ignored.
			return Options{}, fmt.Errorf("log opt '%s' is not supported for awslogs log driver by Berth yet", key)
		default:
			return Options{}, fmt.Errorf("unknown log opt '%s' for awslogs log driver", key)
		}
	}
	if o.Group == "" {
		return Options{}, errors.New("must specify a value for log opt 'awslogs-group'")
	}
	if o.Region == "" {
		return Options{}, errors.New("unable to get awslogs driver arguments: awslogs-region is required")
	}
	if err := o.setMode(defaultMode, bufferSize); err != nil {
		return Options{}, err
	}
	return o, o.setMultiline(datetime, multiline)
}

func (o *Options) setMode(defaultMode Mode, bufferSize string) error {
	if o.Mode == "" {
		o.Mode = defaultMode
	}
	switch o.Mode {
	case "":
		o.Mode = NonBlocking
	case Blocking, NonBlocking:
	default:
		return fmt.Errorf("logger: log mode not supported: %s", o.Mode)
	}
	if o.Mode == Blocking {
		if bufferSize != "" {
			return fmt.Errorf("logger: max-buffer-size option is only supported with 'mode=%s'", NonBlocking)
		}
		return nil
	}
	o.MaxBufferBytes = defaultMaxBufferBytes
	if bufferSize == "" {
		return nil
	}
	size, err := units.RAMInBytes(bufferSize)
	if err != nil || size <= 0 {
		return fmt.Errorf("error parsing option max-buffer-size: %q is not a positive size such as 10m", bufferSize)
	}
	o.MaxBufferBytes = size
	return nil
}

// setMultiline lets a datetime-format take precedence over a pattern, as ECS documents (Docker refuses both together).
func (o *Options) setMultiline(datetime, multiline string) error {
	o.Multiline = multiline
	if datetime != "" {
		pattern, err := datetimePattern(datetime)
		if err != nil {
			return err
		}
		o.Multiline = pattern
	}
	if _, err := regexp.Compile(o.Multiline); err != nil {
		return fmt.Errorf("awslogs could not parse multiline pattern key %q: %w", o.Multiline, err)
	}
	return nil
}

// StreamName is the log stream of a container: prefix/container/task, or the container's id when there is no prefix.
func (o Options) StreamName(container, taskID, containerID string) string {
	if o.StreamPrefix == "" {
		return containerID
	}
	return o.StreamPrefix + "/" + container + "/" + taskID
}
