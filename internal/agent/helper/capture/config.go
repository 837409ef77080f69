package capture

import (
	"errors"
	"strconv"
)

// The keys of the query of the logger's URI.
const (
	KeySpool   = "spool"   // directory of the spool, which must exist
	KeyMode    = "mode"    // "blocking" (the default) or "non-blocking"
	KeyLimit   = "limit"   // unread backlog in bytes at which a mode takes its effect
	KeySegment = "segment" // bytes at which a segment is ended
)

// The values of KeyMode.
const (
	ModeBlocking    = "blocking"
	ModeNonBlocking = "non-blocking"
)

// The limits that hold when the arguments name none.
const (
	DefaultLimitBytes   = 64 << 20
	DefaultSegmentBytes = 1 << 20
)

// Config is what the logger is told.
type Config struct {
	Dir          string
	NonBlocking  bool
	LimitBytes   uint64
	SegmentBytes int64
}

// ParseArgs reads key value pairs in any order.
func ParseArgs(args []string) (Config, error) {
	cfg := Config{LimitBytes: DefaultLimitBytes, SegmentBytes: DefaultSegmentBytes}
	if len(args)%2 != 0 {
		return cfg, errors.New("arguments are not pairs of key and value")
	}
	for i := 0; i < len(args); i += 2 {
		key, value := args[i], args[i+1]
		switch key {
		case KeySpool:
			cfg.Dir = value
		case KeyMode:
			if value != ModeBlocking && value != ModeNonBlocking {
				return cfg, errors.New("mode " + strconv.Quote(value) + " is neither blocking nor non-blocking")
			}
			cfg.NonBlocking = value == ModeNonBlocking
		case KeyLimit, KeySegment:
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n <= 0 {
				return cfg, errors.New(key + " " + strconv.Quote(value) + " is not a positive number of bytes")
			}
			if key == KeyLimit {
				cfg.LimitBytes = uint64(n)
			} else {
				cfg.SegmentBytes = n
			}
		default:
			return cfg, errors.New("unknown argument " + strconv.Quote(key))
		}
	}
	if cfg.Dir == "" {
		return cfg, errors.New("argument spool is missing")
	}
	return cfg, nil
}
