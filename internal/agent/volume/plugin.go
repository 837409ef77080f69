package volume

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// pluginPatience is how long a volume operation may take, as on the ECS
	// agent (behaviour/task-lifecycle.md §13).
	pluginPatience = 5 * time.Minute
	// maxAnswer bounds what is read of a plugin's answer.
	maxAnswer = 1 << 20

	pluginMedia = "application/vnd.docker.plugins.v1.1+json"
)

// plugin speaks Docker's volume plugin protocol, version 1.1.
type plugin struct {
	name   string
	base   string
	client *http.Client
}

// findPlugin looks for a plugin as Docker does: a socket with its name, or a
// file that says where it answers. It then makes sure that it is one for
// volumes.
func findPlugin(ctx context.Context, dirs []string, name string) (*plugin, error) {
	address, err := pluginAddress(dirs, name)
	if err != nil {
		return nil, err
	}
	if address == "" {
		return nil, fmt.Errorf("error looking up volume plugin %s: plugin %q not found: this node has no such socket in %s", name, name, strings.Join(dirs, ", "))
	}
	where, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("volume plugin %s: %w", name, err)
	}
	p := &plugin{name: name}
	transport := &http.Transport{DisableKeepAlives: true}
	switch where.Scheme {
	case "unix":
		path := where.Path
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
		p.base = "http://plugin"
	case "tcp", "http":
		p.base = "http://" + where.Host
	default:
		return nil, fmt.Errorf("volume plugin %s: Berth cannot speak to plugins by %q", name, where.Scheme)
	}
	p.client = &http.Client{Transport: transport, Timeout: pluginPatience}
	var manifest struct{ Implements []string }
	if err := p.call(ctx, "Plugin.Activate", nil, &manifest); err != nil {
		return nil, fmt.Errorf("error looking up volume plugin %s: %w", name, err)
	}
	for _, what := range manifest.Implements {
		if what == "VolumeDriver" {
			return p, nil
		}
	}
	return nil, fmt.Errorf("error looking up volume plugin %s: plugin does not implement the requested driver", name)
}

// pluginAddress is where a plugin answers; empty: there is none of the name.
func pluginAddress(dirs []string, name string) (string, error) {
	// "vieux/sshfs:latest" is how Docker names a plugin that it manages itself:
	// such a one is only there for Docker.
	if strings.ContainsAny(name, "/:\x00") || strings.HasPrefix(name, ".") {
		return "", nil
	}
	for _, dir := range dirs {
		for _, socket := range []string{filepath.Join(dir, name+".sock"), filepath.Join(dir, name, name+".sock")} {
			if info, err := os.Stat(socket); err == nil && info.Mode()&fs.ModeSocket != 0 {
				return "unix://" + socket, nil
			}
		}
		for _, base := range []string{filepath.Join(dir, name), filepath.Join(dir, name, name)} {
			data, err := os.ReadFile(base + ".spec")
			if err == nil {
				return strings.TrimSpace(string(data)), nil
			}
			if data, err = os.ReadFile(base + ".json"); err != nil {
				continue
			}
			var spec struct {
				Addr      string
				TLSConfig json.RawMessage
			}
			if err := json.Unmarshal(data, &spec); err != nil {
				return "", fmt.Errorf("volume plugin %s: %s.json: %w", name, base, err)
			}
			if len(spec.TLSConfig) > 0 && string(spec.TLSConfig) != "null" {
				return "", fmt.Errorf("volume plugin %s: Berth cannot speak to plugins with TLS", name)
			}
			return spec.Addr, nil
		}
	}
	return "", nil
}

func (p *plugin) close() { p.client.CloseIdleConnections() }

// errPlugin is what a plugin said.
type errPlugin struct{ text string }

func (e errPlugin) Error() string { return e.text }

// call makes one call. An answer with an error in it is an errPlugin.
func (p *plugin) call(ctx context.Context, method string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+"/"+method, &body)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", pluginMedia)
	req.Header.Set("Content-Type", pluginMedia)
	resp, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("volume plugin %s: %w", p.name, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("volume plugin %s: %w", p.name, err)
	}
	var failure struct{ Err string }
	if err := json.Unmarshal(data, &failure); err == nil && failure.Err != "" {
		return errPlugin{failure.Err}
	}
	if resp.StatusCode != http.StatusOK {
		return errPlugin{strings.TrimSpace(string(data[:min(len(data), 500)])) + " (" + resp.Status + ")"}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("volume plugin %s: %s: %w", p.name, method, err)
	}
	return nil
}

// has asks for a volume. A plugin that says no says it as an error.
func (p *plugin) has(ctx context.Context, name string) (bool, error) {
	var out struct{ Volume *struct{ Name string } }
	err := p.call(ctx, "VolumeDriver.Get", map[string]string{"Name": name}, &out)
	if _, said := errors.AsType[errPlugin](err); said {
		return false, nil
	}
	return err == nil && out.Volume != nil, err
}

func (p *plugin) create(ctx context.Context, name string, opts map[string]string) error {
	return p.call(ctx, "VolumeDriver.Create", map[string]any{"Name": name, "Opts": opts}, nil)
}

func (p *plugin) mount(ctx context.Context, name, id string) (string, error) {
	var out struct{ Mountpoint string }
	err := p.call(ctx, "VolumeDriver.Mount", map[string]string{"Name": name, "ID": id}, &out)
	return out.Mountpoint, err
}

func (p *plugin) unmount(ctx context.Context, name, id string) error {
	return p.call(ctx, "VolumeDriver.Unmount", map[string]string{"Name": name, "ID": id}, nil)
}

func (p *plugin) remove(ctx context.Context, name string) error {
	return p.call(ctx, "VolumeDriver.Remove", map[string]string{"Name": name}, nil)
}
