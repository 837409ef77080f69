package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"berth.dev/berth/internal/agent/runtime"
)

// registryCredentials finds logins for private registries in a file that the
// operator keeps: a JSON object whose keys are repositoryCredentials
// parameters and whose values are what the secret would hold. It stands in for
// Secrets Manager until Berth has one, and fails as a missing secret does.
type registryCredentials struct{ file string }

func (r registryCredentials) find(parameter string) (*runtime.Auth, error) {
	data, err := os.ReadFile(r.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing(parameter)
	}
	if err != nil {
		return nil, err
	}
	var all map[string]struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("reading %s: %w", r.file, err)
	}
	login, ok := all[parameter]
	if !ok {
		return nil, missing(parameter)
	}
	return &runtime.Auth{Username: login.Username, Password: login.Password}, nil
}

func missing(parameter string) error {
	return fmt.Errorf("execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret %s from secrets manager: ResourceNotFoundException: Secrets Manager can't find the specified secret.", parameter)
}
