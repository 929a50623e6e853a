package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// config is the file of contexts.
type config struct {
	Current  string                 `json:"current,omitempty"`
	Contexts map[string]zoneContext `json:"contexts,omitempty"`
}

// zoneContext is how one zone is reached.
type zoneContext struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

const (
	envURL    = "BULKHEAD_URL"
	envToken  = "BULKHEAD_TOKEN"
	envConfig = "BULKHEAD_CONFIG"
	// envPlain, set to 1, lets envURL send the token unencrypted.
	envPlain = "BULKHEAD_PLAIN_HTTP"
)

func configPath() (string, error) {
	if path := os.Getenv(envConfig); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("finding the configuration (set %s): %w", envConfig, err)
	}
	return filepath.Join(dir, "bulkhead", "config.json"), nil
}

func loadConfig() (config, error) {
	c := config{Contexts: map[string]zoneContext{}}
	path, err := configPath()
	if err != nil {
		return c, err
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("reading the configuration: %w", err)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("reading the configuration %s: %w", path, err)
	}
	if c.Contexts == nil {
		c.Contexts = map[string]zoneContext{}
	}
	return c, nil
}

// save writes the configuration for its owner alone: it holds tokens.
func (c config) save() error {
	path, err := configPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	if err := renameio.WriteFile(path, append(raw, '\n'), 0o600, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return nil
}

// find tells how to reach the zone: by the environment, else by a named or the
// current context.
func (c config) find(name string) (zoneContext, error) {
	if u := os.Getenv(envURL); u != "" && name == "" {
		plain := os.Getenv(envPlain) == "1"
		return zoneContext{URL: u, Token: os.Getenv(envToken)}, checkTransport(u, plain, "set "+envPlain+"=1")
	}
	if name == "" {
		name = c.Current
	}
	if name == "" {
		return zoneContext{}, usage("no zone is chosen",
			"run 'bulkhead login <url>', or set "+envURL+" and "+envToken)
	}
	z, ok := c.Contexts[name]
	if !ok {
		return zoneContext{}, usage("there is no context "+name, "run 'bulkhead context list' to see what there is")
	}
	return z, nil
}
