package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A handler answers one task's requests.
type handler struct {
	server *Server
	taskID string
}

// route finds the answer to a path. A slash at the end changes nothing, as in amazon-ecs-agent.
func (h *handler) route(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	version, rest, _ := strings.Cut(path, "/")
	rest = strings.TrimSuffix(rest, "/")
	switch version {
	case "v4":
		h.byContainer(w, r, v4, rest)
	case "v3":
		h.byContainer(w, r, v3, rest)
	case "v2":
		h.byTask(w, r, rest)
	case "v1":
		if rest == "credentials" {
			h.credentials(w, "CredentialsV1Request", r.URL.Query().Get("id"))
			return
		}
		http.NotFound(w, r)
	default:
		http.NotFound(w, r)
	}
}

// byContainer answers versions 3 and 4, whose paths begin with a container's id.
func (h *handler) byContainer(w http.ResponseWriter, r *http.Request, v version, path string) {
	id, what, _ := strings.Cut(path, "/")
	task, ok := h.server.cfg.Source.Task(h.taskID)
	container, known := find(task, id)
	known = known && ok
	// The texts are those of amazon-ecs-agent, whose first lookup differs by path.
	noTask := func(handler string) {
		writeJSON(w, http.StatusNotFound, fmt.Sprintf("V%d %s: unable to get task arn from request: unable to get task Arn from v3 endpoint ID: %s", v, handler, id))
	}
	switch what {
	case "":
		if !known {
			writeJSON(w, http.StatusNotFound, fmt.Sprintf("V%d container metadata handler: unable to get container ID from request: unable to get docker ID from v3 endpoint ID: %s", v, id))
			return
		}
		writeJSON(w, http.StatusOK, containerOf(task, container, v))
	case "task", "taskWithTags":
		if !known {
			noTask("task metadata handler")
			return
		}
		writeJSON(w, http.StatusOK, taskOf(task, v, what == "taskWithTags"))
	case "stats":
		if !known {
			noTask("container handler")
			return
		}
		h.stats(w, r, container)
	case "task/stats":
		if !known {
			noTask("task stats handler")
			return
		}
		writeJSON(w, http.StatusOK, h.allStats(r.Context(), task))
	default:
		http.NotFound(w, r)
	}
}

// byTask answers version 2, which needs no id to know the task.
func (h *handler) byTask(w http.ResponseWriter, r *http.Request, path string) {
	what, id, _ := strings.Cut(path, "/")
	if what == "credentials" {
		h.credentials(w, "CredentialsV2Request", id)
		return
	}
	if what != "metadata" && what != "stats" {
		http.NotFound(w, r)
		return
	}
	task, ok := h.server.cfg.Source.Task(h.taskID)
	container, known := find(task, id)
	switch {
	case !ok || id != "" && !known:
		writeJSON(w, http.StatusNotFound, "unable to get "+what+" for the request: not found")
	case what == "metadata" && id == "":
		writeJSON(w, http.StatusOK, taskOf(task, v2, false))
	case what == "metadata":
		writeJSON(w, http.StatusOK, containerOf(task, container, v2))
	case id == "":
		writeJSON(w, http.StatusOK, h.allStats(r.Context(), task))
	default:
		h.stats(w, r, container)
	}
}

func (h *handler) stats(w http.ResponseWriter, r *http.Request, c ContainerView) {
	s, err := h.server.cfg.Source.Stats(r.Context(), c.ID)
	if err != nil {
		h.server.log.DebugContext(r.Context(), "no statistics", "task", h.taskID, "container", c.Name, "error", err)
		writeJSON(w, http.StatusInternalServerError, "failed to get stats")
		return
	}
	writeJSON(w, http.StatusOK, statsOf(c, s))
}

// allStats has null for a container without statistics.
func (h *handler) allStats(ctx context.Context, task TaskView) map[string]*statsResponse {
	all := make(map[string]*statsResponse, len(task.Containers))
	for _, c := range task.Containers {
		all[c.ID] = nil
		if s, err := h.server.cfg.Source.Stats(ctx, c.ID); err == nil {
			all[c.ID] = statsOf(c, s)
		}
	}
	return all
}

func find(task TaskView, id string) (ContainerView, bool) {
	i := slices.IndexFunc(task.Containers, func(c ContainerView) bool { return c.ID == id })
	if i < 0 || id == "" {
		return ContainerView{}, false
	}
	return task.Containers[i], true
}

// credentialsResponse has the members in the order of Amazon's endpoint.
type credentialsResponse struct {
	RoleArn         string `json:"RoleArn"`
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string `json:"SecretAccessKey"`
	Token           string `json:"Token"`
	Expiration      string `json:"Expiration"`
}

// credentials answers for the task's role, under its own id and no other. The errors are Amazon's.
func (h *handler) credentials(w http.ResponseWriter, request, id string) {
	fail := func(status int, code, message string) {
		writeJSON(w, status, struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		}{code, request + ": " + message})
	}
	if id == "" {
		fail(http.StatusBadRequest, "NoIdInRequest", "No Credential ID in the request")
		return
	}
	c, known := h.server.cfg.Source.Credentials(h.taskID, id)
	switch {
	case !known:
		fail(http.StatusBadRequest, "InvalidIdInRequest", "Credentials not found")
	case c == nil:
		fail(http.StatusServiceUnavailable, "CredentialsUninitialized", "Credentials uninitialized for ID")
	default:
		writeJSON(w, http.StatusOK, credentialsResponse{
			RoleArn: c.RoleARN, AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey,
			Token: c.SessionToken, Expiration: c.Expires.UTC().Truncate(time.Second).Format(time.RFC3339),
		})
	}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil { // no value that is passed here can fail; if one does, it must not look like an answer
		http.Error(w, "Internal server error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data) // the client may have gone
}
