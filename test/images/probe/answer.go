package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// answer serves HTTP on a port, so that a test can look at a task from inside and tell it what to do, and echoes lines
// on the next port. At SIGTERM it ends with the code.
func answer(port, code int) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		fmt.Println("caught", <-ended)
		os.Exit(code)
	}()
	echo, err := net.Listen("tcp", fmt.Sprintf(":%d", port+1))
	check(err)
	go accept(echo)

	mux := http.NewServeMux()
	for path, do := range map[string]func(query func(string) string) (string, error){
		"/{$}": func(func(string) string) (string, error) { return "hello from " + os.Getenv("HOSTNAME"), nil },
		"/env": func(q func(string) string) (string, error) { return os.Getenv(q("name")), nil },
		"/cwd": func(func(string) string) (string, error) { return os.Getwd() },
		"/id":  identity,
		"/file": func(q func(string) string) (string, error) {
			data, err := os.ReadFile(q("path"))
			return string(data), err
		},
		"/write": func(q func(string) string) (string, error) {
			return "", os.WriteFile(q("path"), []byte(q("data")), 0o644)
		},
		"/remove": func(q func(string) string) (string, error) { return "", os.Remove(q("path")) },
		"/size":   size,
		"/allocate": func(q func(string) string) (string, error) {
			f, err := os.Create(q("path"))
			if err != nil {
				return "", err
			}
			defer f.Close()
			return "", syscall.Fallocate(int(f.Fd()), 0, 0, int64(number(q("bytes"))))
		},
		"/lookup": func(q func(string) string) (string, error) {
			found, err := net.LookupHost(q("name"))
			return strings.Join(found, " "), err
		},
		"/fetch": func(q func(string) string) (string, error) { return fetch(q("url")) },
		"/say":   func(q func(string) string) (string, error) { fmt.Println(q("line")); return "", nil },
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			text, err := do(r.URL.Query().Get)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			io.WriteString(w, text)
		})
	}
	mux.HandleFunc("/websocket", webSocket)
	mux.HandleFunc("/exit", func(w http.ResponseWriter, r *http.Request) {
		code := number(r.URL.Query().Get("code"))
		w.Header().Set("Connection", "close")
		http.NewResponseController(w).Flush()
		os.Exit(code)
	})
	fmt.Println("answering on", port)
	check(http.ListenAndServe(fmt.Sprintf(":%d", port), mux))
}

// webSocket upgrades the connection and echoes what comes, whatever it is: to those in between it is a WebSocket.
func webSocket(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	check(err)
	fmt.Fprintf(buffered, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\nX-Address: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]), host)
	if buffered.Flush() == nil {
		io.Copy(conn, buffered)
	}
}

func accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		check(err)
		go func() {
			io.Copy(conn, conn)
			conn.Close()
		}()
	}
}

func identity(func(string) string) (string, error) {
	groups, err := os.Getgroups()
	return fmt.Sprint(os.Getuid(), os.Getgid(), groups), err
}

// size is the type and the size in bytes of the file system at a path.
func size(q func(string) string) (string, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(q("path"), &s)
	return fmt.Sprintf("%x %d", s.Type, int64(s.Blocks)*s.Bsize), err
}

func fetch(url string) (string, error) {
	// A new connection each time: old ones outlive the rules that let them in.
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = errors.New(reply.Status + ": " + string(body))
	}
	return string(body), err
}

// count says a numbered line each period until SIGTERM, and then how many it said.
func count(period time.Duration) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	out := bufio.NewWriter(os.Stdout)
	for n := 0; ; n++ {
		select {
		case <-ended:
			fmt.Fprintln(out, "end", n)
			check(out.Flush())
			os.Exit(0)
		case <-time.After(period):
			fmt.Fprintln(out, "line", n)
			check(out.Flush())
		}
	}
}

// mark adds a line to the file in dir that is named after this container, and sleeps until SIGTERM.
func mark(dir string) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	name := filepath.Base(os.Getenv("ECS_CONTAINER_METADATA_URI_V4"))
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	check(err)
	_, err = f.WriteString("started\n")
	check(err)
	check(f.Close())
	fmt.Println("started")
	<-ended
	os.Exit(0)
}

// farewell waits for SIGTERM; then it ends with 9 if the file it needs is not there, and else makes its own and ends
// with 0. "-" is no file.
func farewell(need, leave string) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	fmt.Println("waiting")
	<-ended
	if _, err := os.Stat(need); need != "-" && err != nil {
		os.Exit(9)
	}
	if leave != "-" {
		check(os.WriteFile(leave, nil, 0o644))
	}
}
