// Command sample-app is what `make demo` runs: a small web server that says
// who it is, as task metadata tells it, and that logs what it is asked.
//
//	/             which version it is, and which task
//	/health       200 as long as it serves
//	/version      the version alone
//	/lookup/NAME  the addresses that NAME has inside the task
//	/whoami       who AWS says that it is, asked with the AWS SDK
//	/tasks        the tasks of the cluster, or why its role may not list them
//	/secret/NAME  the SHA-256 of an environment variable, never its value
//
// The SDK is as it comes: it finds the task role's credentials and the AWS API
// in the environment that ECS, and Berth, give to containers.
//
// Called as migrate.sh it is the task's init container: it pretends to migrate
// a database and ends. With the argument rotate it is the task that gives a
// secret a new password (rotate.go).
//
// The environment, mostly that of the image, makes it different: VERSION is
// what it says that it is, and with BROKEN it ends at once, as programs do that
// miss something.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetOutput(os.Stdout)
	if filepath.Base(os.Args[0]) == "migrate.sh" {
		migrate()
		return
	}
	if what := os.Getenv("BROKEN"); what != "" {
		log.Fatalf("Error: %s", what)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "env" { // the image has no env(1) to look around with
		fmt.Println(strings.Join(os.Environ(), "\n"))
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "rotate" {
		said, err := rotate(ctx)
		if err != nil {
			log.Fatal(err)
		}
		log.Print(said)
		return
	}
	if err := serve(ctx, ":3000"); err != nil {
		log.Fatal(err)
	}
}

func migrate() {
	for i, step := range []string{"create table visitors", "add index on visitors"} {
		log.Printf("migration %d of 2: %s", i+1, step)
	}
	log.Print("migrations are done")
}

func serve(ctx context.Context, address string) error {
	begun := time.Now()
	var served atomic.Int64
	version := os.Getenv("VERSION")
	page := func(w http.ResponseWriter, r *http.Request) {
		n := served.Add(1)
		log.Printf("%s %s from %s", r.Method, r.URL.Path, r.RemoteAddr)
		if version != "" {
			fmt.Fprintf(w, "Version %s. ", version) //nolint:errcheck // the client may have gone
		}
		fmt.Fprintf(w, "Hello from %s!\n", identity(r.Context())) //nolint:errcheck // the client may have gone
		fmt.Fprintf(w, "I have run as process %d since %s, and this is request %d. NODE_ENV=%s\n",
			os.Getpid(), begun.UTC().Format("15:04:05.000"), n, os.Getenv("NODE_ENV"))
	}
	routes := http.NewServeMux()
	routes.HandleFunc("/", page)
	routes.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })     //nolint:errcheck // the client may have gone
	routes.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, version) }) //nolint:errcheck // the client may have gone
	routes.HandleFunc("/lookup/{name}", lookup)
	routes.HandleFunc("/whoami", answer(whoami))
	routes.HandleFunc("/tasks", answer(tasks))
	routes.HandleFunc("/secret/{name}", secret)
	server := &http.Server{Addr: address, Handler: routes, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() {
		log.Print("told to end; finishing what is being answered")
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		server.Shutdown(grace) //nolint:errcheck,gosec // the process ends either way
	})
	log.Printf("listening on %s as %s", address, identity(ctx))
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func lookup(w http.ResponseWriter, r *http.Request) {
	addresses, err := net.DefaultResolver.LookupHost(r.Context(), r.PathValue("name"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	fmt.Fprintln(w, strings.Join(addresses, " ")) //nolint:errcheck // the client may have gone
}

// identity is who the task metadata endpoint says that this task is.
func identity(ctx context.Context) string {
	host, _ := os.Hostname() //nolint:errcheck // an empty name will do
	uri := os.Getenv("ECS_CONTAINER_METADATA_URI_V4")
	if uri == "" {
		return host
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	task, err := metadata(ctx, uri+"/task")
	if err != nil {
		return fmt.Sprintf("%s (no task metadata: %v)", host, err)
	}
	return fmt.Sprintf("%s:%s, task %s in %s", task.Family, task.Revision, task.TaskARN, task.AvailabilityZone)
}

type taskMetadata struct{ TaskARN, Family, Revision, AvailabilityZone string }

func metadata(ctx context.Context, uri string) (t taskMetadata, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return t, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return t, err
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	if answer.StatusCode != http.StatusOK {
		return t, errors.New(answer.Status)
	}
	return t, json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&t)
}
