package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Save replaces the document at path, durably, readable by the owner only. Its directory must exist.
func Save(path string, document any) error {
	data, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding record %s: %w", path, err)
	}
	if err := write(path+".new", append(data, '\n')); err != nil {
		return fmt.Errorf("writing record %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("replacing record %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// Load reads the document at path. It wraps os.ErrNotExist when there is none.
func Load(path string, document any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading record: %w", err)
	}
	if err := json.Unmarshal(data, document); err != nil {
		return fmt.Errorf("decoding record %s: %w", path, err)
	}
	return nil
}

// Remove deletes the document at path, durably. A missing one is no error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing record: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func write(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Sync(), file.Close())
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("syncing directory %s: %w", path, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("syncing directory %s: %w", path, err)
	}
	return nil
}
