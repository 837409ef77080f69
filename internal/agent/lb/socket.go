package lb

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// commandTimeout is how long HAProxy may take to answer on its socket.
const commandTimeout = 5 * time.Second

// ask sends commands to the HAProxy at socket and returns what it answers. The commands are done in order, by the newest
// process; nothing that it refuses is an error here: what it knows is read back.
func ask(ctx context.Context, socket string, commands ...string) (string, error) {
	var answer strings.Builder
	for len(commands) > 0 {
		n := min(len(commands), 64) // a line has to fit into its buffer
		part, err := askOnce(ctx, socket, commands[:n])
		if err != nil {
			return "", err
		}
		answer.WriteString(part)
		commands = commands[n:]
	}
	return answer.String(), nil
}

func askOnce(ctx context.Context, socket string, commands []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return "", fmt.Errorf("reach haproxy: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := io.WriteString(conn, strings.Join(commands, "; ")+"\n"); err != nil {
		return "", fmt.Errorf("ask haproxy: %w", err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return "", errors.Join(fmt.Errorf("hear haproxy: %w", err), ctx.Err())
	}
	return string(answer), nil
}

// A server is a slot as HAProxy knows it.
type server struct {
	status   string // UP, DOWN, MAINT, DRAIN, "UP 1/2", "no check"
	endpoint string // address:port
	check    string // check_status, such as L7OK
	code     int    // the status that a check was answered with
}

func (s server) up() bool       { return strings.HasPrefix(s.status, "UP") || s.status == "no check" }
func (s server) inactive() bool { return strings.HasPrefix(s.status, "MAINT") }

// A serverName names a slot: its backend and itself.
type serverName struct{ backend, server string }

// servers reads all slots.
func servers(ctx context.Context, socket string) (map[serverName]server, error) {
	answer, err := ask(ctx, socket, "show stat -1 4 -1")
	if err != nil {
		return nil, err
	}
	return parseServers(answer)
}

func parseServers(answer string) (map[serverName]server, error) {
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(strings.TrimSpace(answer), "# ")))
	r.FieldsPerRecord, r.ReuseRecord, r.LazyQuotes = -1, true, true
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("read haproxy's statistics: %w", err)
	}
	columns := map[string]int{}
	for i, name := range head {
		columns[name] = i
	}
	for _, need := range []string{"pxname", "svname", "status", "addr", "check_status", "check_code"} {
		if _, ok := columns[need]; !ok {
			return nil, fmt.Errorf("haproxy's statistics have no column %s", need)
		}
	}
	all := map[serverName]server{}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read haproxy's statistics: %w", err)
		}
		if len(row) < len(columns)-1 {
			continue
		}
		code, _ := strconv.Atoi(row[columns["check_code"]]) // empty without one
		all[serverName{row[columns["pxname"]], row[columns["svname"]]}] = server{
			status: row[columns["status"]], endpoint: row[columns["addr"]], check: row[columns["check_status"]], code: code,
		}
	}
}
