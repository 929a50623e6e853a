package seed

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

const (
	// Label is what cloud-init looks for.
	Label = "cidata"
	// MaxBytes bounds the three files together.
	MaxBytes = 1 << 20

	blockBytes = 2048
	// padBlocks are as many as other programs append.
	padBlocks = 150
)

// ErrTooLarge says that the files are larger than MaxBytes.
var ErrTooLarge = fmt.Errorf("a seed holds at most %d bytes", MaxBytes)

// ErrNoMetaData says that MetaData is empty: it must hold at least the instance-id.
var ErrNoMetaData = errors.New("a seed needs meta-data")

// noUserData stands for none: cloud-init wants the file to exist and to mean something.
const noUserData = "#cloud-config\n{}\n"

// Content is what a machine is told. MetaData is required; an empty NetworkConfig is left out.
type Content struct {
	MetaData, UserData, NetworkConfig string
}

// Write makes the seed at path, whole or not at all, replacing an older one. Scratch is an existing directory on the
// same file system in which temporary files are made and removed again.
func Write(path, scratch string, content Content) error {
	if len(content.MetaData)+len(content.UserData)+len(content.NetworkConfig) > MaxBytes {
		return fmt.Errorf("writing the seed: %w", ErrTooLarge)
	}
	if content.MetaData == "" {
		return fmt.Errorf("writing the seed: %w", ErrNoMetaData)
	}
	work, err := os.MkdirTemp(scratch, "seed-")
	if err != nil {
		return fmt.Errorf("writing the seed: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	tree, image := filepath.Join(work, "tree"), filepath.Join(work, "seed.iso")
	if err := writeTree(tree, content); err != nil {
		return fmt.Errorf("writing the seed: %w", err)
	}
	if err := writeImage(image, tree); err != nil {
		return fmt.Errorf("writing the seed: %w", err)
	}
	if err := os.Rename(image, path); err != nil {
		return fmt.Errorf("writing the seed: %w", err)
	}
	return nil
}

// writeTree lays out the files as they are to appear on the disk.
func writeTree(tree string, content Content) error {
	if err := os.Mkdir(tree, 0o700); err != nil {
		return err
	}
	files := map[string]string{"meta-data": content.MetaData, "user-data": cmp.Or(content.UserData, noUserData)}
	if content.NetworkConfig != "" {
		files["network-config"] = content.NetworkConfig
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeImage makes the file system, with both extensions that keep the names as they are.
func writeImage(path, tree string) (err error) {
	image, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	system, err := iso9660.Create(file.New(image, false), 0, 0, blockBytes, tree)
	if err != nil {
		return err
	}
	options := iso9660.FinalizeOptions{RockRidge: true, Joliet: true, VolumeIdentifier: Label}
	if err := system.Finalize(options); err != nil {
		return err
	}
	if err := pad(image); err != nil {
		return err
	}
	return image.Sync()
}

// pad completes the last block, which the library leaves short, and adds some: drives can't read a part of a block,
// and systems read ahead.
func pad(image *os.File) error {
	info, err := image.Stat()
	if err != nil {
		return err
	}
	blocks := (info.Size() + blockBytes - 1) / blockBytes
	return image.Truncate((blocks + padBlocks) * blockBytes)
}
