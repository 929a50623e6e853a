package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// index is what the list of files beside an unpacked archive says.
type index struct {
	Digest string `json:"digest"`
	Files  []File `json:"files"`
}

// Tree is a digest of what the archive unpacks to: names, modes and content of all files. Archives that differ only in
// how they were compressed have the same.
func (a *Archive) Tree() string { return treeDigest(a.Files) }

func treeDigest(files []File) string {
	sum := sha256.New()
	for _, file := range files {
		// Names hold no newlines.
		_, _ = fmt.Fprintf(sum, "%s\n%d %t %s\n", file.Path, file.Bytes, file.Executable, file.Digest)
	}
	return digestPrefix + hex.EncodeToString(sum.Sum(nil))
}

// Verify reads an unpacked archive again and compares names, modes and content with what was unpacked. tree is its
// Tree as somebody else remembers it; empty trusts the list of files beside it. The error is ErrCorrupt when something
// is not as it was, fs.ErrNotExist when it is not there.
func (s *Store) Verify(ctx context.Context, digest, tree string) error {
	name, err := folder(digest)
	if err != nil {
		return err
	}
	root, err := s.root.OpenRoot(name)
	if err != nil {
		return fmt.Errorf("verifying %s: %w", digest, err)
	}
	defer func() { _ = root.Close() }()
	if err := verifyTree(ctx, root, digest, tree); err != nil {
		return fmt.Errorf("verifying %s: %w", digest, err)
	}
	return nil
}

// Load reads what an unpacked archive is, without verifying it.
func (s *Store) Load(digest string) (*Archive, error) {
	name, err := folder(digest)
	if err != nil {
		return nil, err
	}
	root, err := s.root.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", digest, err)
	}
	defer func() { _ = root.Close() }()
	list, err := readIndex(root, digest)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", digest, err)
	}
	r := &reader{files: list.Files, held: map[string][]byte{}}
	for _, file := range list.Files {
		if !holds(file.Path) {
			continue
		}
		if r.held[file.Path], err = root.ReadFile(file.Path); err != nil {
			return nil, fmt.Errorf("loading %s: %w", digest, err)
		}
	}
	archive, err := r.finish()
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", digest, err)
	}
	archive.Digest = digest
	return archive, nil
}

func readIndex(root *os.Root, digest string) (*index, error) {
	text, err := root.ReadFile(indexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: its list of files is gone", ErrCorrupt)
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the file
	}
	var list index
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%w: its list of files can't be read: %w", ErrCorrupt, err)
	}
	if list.Digest != digest {
		return nil, fmt.Errorf("%w: its list of files is of %s", ErrCorrupt, list.Digest)
	}
	return &list, nil
}

func verifyTree(ctx context.Context, root *os.Root, digest, tree string) error {
	list, err := readIndex(root, digest)
	if err != nil {
		return err
	}
	if tree != "" && treeDigest(list.Files) != tree {
		return fmt.Errorf("%w: its list of files is another", ErrCorrupt)
	}
	expected := map[string]File{}
	for _, file := range list.Files {
		expected[file.Path] = file
	}
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || name == indexFile {
			return err
		}
		return verifyEntry(root, name, entry, expected)
	})
	if err != nil {
		return err //nolint:wrapcheck // the caller says what was done
	}
	for name := range expected {
		return fmt.Errorf("%w: %s is gone", ErrCorrupt, name)
	}
	return nil
}

// verifyEntry compares one file or directory, and takes it from those that are expected.
func verifyEntry(root *os.Root, name string, entry fs.DirEntry, expected map[string]File) error {
	info, err := entry.Info()
	if err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	if entry.IsDir() {
		if info.Mode().Perm() != dirMode {
			return fmt.Errorf("%w: directory %s has mode %s", ErrCorrupt, name, info.Mode())
		}
		return nil
	}
	file, known := expected[name]
	if !known {
		return fmt.Errorf("%w: %s was added", ErrCorrupt, name)
	}
	delete(expected, name)
	mode := fs.FileMode(fileMode)
	if file.Executable {
		mode = programMode
	}
	if info.Mode() != mode {
		return fmt.Errorf("%w: %s has mode %s", ErrCorrupt, name, info.Mode())
	}
	digest, err := digestOf(root, name)
	if err != nil {
		return err
	}
	if info.Size() != file.Bytes || digest != file.Digest {
		return fmt.Errorf("%w: the content of %s is another", ErrCorrupt, name)
	}
	return nil
}

func digestOf(root *os.Root, name string) (string, error) {
	content, err := root.Open(name)
	if err != nil {
		return "", err //nolint:wrapcheck // it names the file
	}
	defer func() { _ = content.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	return digestPrefix + hex.EncodeToString(sum.Sum(nil)), nil
}

// sortFiles puts files in the order that an archive has them.
func sortFiles(files []File) {
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
}
