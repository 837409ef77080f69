package volume

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
)

// FileSystems are what the operator says that EFS file systems and access
// points are on this node. The zero value is none.
type FileSystems struct {
	byID   map[string]fileSystem
	points map[string]accessPoint
}

// fileSystem is a directory, or an NFS export when server is set.
type fileSystem struct {
	id      string
	dir     string // of the node; with a server the export's path
	server  string // host, or host:port
	options []string
}

// accessPoint is a directory of a file system.
type accessPoint struct {
	id, fileSystem string
	root           string
	uid, gid       int // owner of the directory when it has to be made
	mode           uint32
}

// ParseFileSystems reads the values of --efs, such as
//
//	fs-0123456789abcdef0=/srv/shared
//	fs-0123456789abcdef0=nfs://10.0.0.5/export?vers=4.2&nconnect=4
//
// and of --efs-access-point, such as
//
//	fsap-0123456789abcdef0=fs-0123456789abcdef0:/app,uid=1000,gid=1000,mode=0750
//
// Options of nfs are mount options; uid, gid and mode are the owner and the
// permissions of the access point's directory when Berth makes it, which are
// EFS's creationInfo, and root, root and 0755 without.
func ParseFileSystems(systems, points []string) (FileSystems, error) {
	f := FileSystems{byID: map[string]fileSystem{}, points: map[string]accessPoint{}}
	for _, s := range systems {
		fs, err := parseFileSystem(s)
		if err == nil && f.byID[fs.id].id != "" {
			err = errors.New("it is given twice")
		}
		if err != nil {
			return f, fmt.Errorf("file system %q: %w", s, err)
		}
		f.byID[fs.id] = fs
	}
	for _, s := range points {
		ap, err := parseAccessPoint(s)
		switch {
		case err != nil:
		case f.points[ap.id].id != "":
			err = errors.New("it is given twice")
		case f.byID[ap.fileSystem].id == "":
			err = fmt.Errorf("its file system %s is not given", ap.fileSystem)
		}
		if err != nil {
			return f, fmt.Errorf("access point %q: %w", s, err)
		}
		f.points[ap.id] = ap
	}
	return f, nil
}

func parseFileSystem(s string) (fileSystem, error) {
	id, what, found := strings.Cut(s, "=")
	fs := fileSystem{id: id}
	switch {
	case !found:
		return fs, errors.New("it has no '=': say fs-0123456789abcdef0=/directory or fs-0123456789abcdef0=nfs://server/export")
	case !taskspec.ValidFileSystem(id):
		return fs, fmt.Errorf("%q is not the id of a file system, such as fs-0123456789abcdef0", id)
	case filepath.IsAbs(what):
		fs.dir = filepath.Clean(what)
		return fs, nil
	}
	u, err := url.Parse(what)
	if err != nil {
		return fs, err
	}
	if u.Scheme != "nfs" || u.Hostname() == "" || !path.IsAbs(u.Path) || u.User != nil {
		return fs, fmt.Errorf("%q is neither a directory nor nfs://server/export", what)
	}
	fs.server, fs.dir = u.Host, path.Clean(u.Path)
	for _, name := range slices.Sorted(maps.Keys(u.Query())) {
		value := u.Query().Get(name)
		if strings.ContainsAny(name+value, ",\x00") {
			return fs, fmt.Errorf("option %q is not one", name)
		}
		if value == "" {
			fs.options = append(fs.options, name)
			continue
		}
		fs.options = append(fs.options, name+"="+value)
	}
	return fs, nil
}

func parseAccessPoint(s string) (accessPoint, error) {
	id, what, found := strings.Cut(s, "=")
	ap := accessPoint{id: id, mode: 0o755}
	if !found || !taskspec.ValidAccessPoint(id) {
		return ap, errors.New("it is not like fsap-0123456789abcdef0=fs-0123456789abcdef0:/directory")
	}
	where, options, _ := strings.Cut(what, ",")
	fs, root, found := strings.Cut(where, ":")
	if !found || !taskspec.ValidFileSystem(fs) || !path.IsAbs(root) || path.Clean(root) != strings.TrimRight(root, "/") && root != "/" {
		return ap, errors.New("it does not say fs-0123456789abcdef0:/directory")
	}
	ap.fileSystem, ap.root = fs, path.Clean(root)
	if options == "" {
		return ap, nil
	}
	for option := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(option, "=")
		var err error
		switch name {
		case "uid":
			ap.uid, err = owner(value)
		case "gid":
			ap.gid, err = owner(value)
		case "mode":
			var mode uint64
			mode, err = strconv.ParseUint(value, 8, 12)
			ap.mode = uint32(mode)
		default:
			err = fmt.Errorf("option %q is none of uid, gid and mode", name)
		}
		if err != nil {
			return ap, err
		}
	}
	return ap, nil
}

func owner(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err
}

// Attributes are what a node says of itself so that tasks find it: the
// attributes model.AttributeFileSystem of what it can mount.
func (f FileSystems) Attributes() map[string]string {
	out := map[string]string{}
	for id, fs := range f.byID {
		out[model.AttributeFileSystem(id)] = fs.kind()
	}
	for id, ap := range f.points {
		out[model.AttributeFileSystem(id)] = f.byID[ap.fileSystem].kind()
	}
	return out
}

func (fs fileSystem) kind() string {
	if fs.server != "" {
		return "nfs"
	}
	return "directory"
}

// encrypted reports whether the mount options of an NFS export encrypt what is
// on its way.
func (fs fileSystem) encrypted() bool {
	return slices.ContainsFunc(fs.options, func(o string) bool {
		return o == "sec=krb5p" || o == "xprtsec=tls" || o == "xprtsec=mtls"
	})
}

// nfsDefaults are the options that EFS recommends.
var nfsDefaults = [...]string{"vers=4.1", "rsize=1048576", "wsize=1048576", "hard", "timeo=600", "retrans=2", "noresvport"}

// source is the export as the kernel mounts it: it wants the server's address,
// because it has no resolver.
func (fs fileSystem) source(resolve func(string) ([]string, error)) (source string, options []string, err error) {
	host, port, err := net.SplitHostPort(fs.server)
	if err != nil {
		host, port = strings.Trim(fs.server, "[]"), ""
	}
	addresses, err := resolve(host)
	if err != nil {
		return "", nil, err
	}
	if len(addresses) == 0 {
		return "", nil, fmt.Errorf("%s has no address", host)
	}
	given := map[string]bool{"soft": slices.Contains(fs.options, "soft")}
	for _, o := range fs.options {
		name, _, _ := strings.Cut(o, "=")
		given[name] = true
	}
	for _, o := range nfsDefaults {
		if name, _, _ := strings.Cut(o, "="); !given[name] && !(name == "hard" && given["soft"]) {
			options = append(options, o)
		}
	}
	options = append(options, fs.options...)
	if port != "" {
		options = append(options, "port="+port)
	}
	return host + ":" + fs.dir, append(options, "addr="+addresses[0]), nil
}
