package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/internal/metrics"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TokenReset is what ResetToken made.
type TokenReset struct {
	// Name of the new token.
	Name string
	// Path of the file with its text.
	Path string
}

// ResetToken makes another administrator's token in a data directory that no
// server uses, for when all others are lost. Its text replaces that in the file
// of the first token; the tokens there are stay as they are. Who may do it is who
// may write to the directory as the server's own user: it needs no token.
func ResetToken(ctx context.Context, c Config) (made TokenReset, err error) {
	if c, err = c.withDefaults(); err != nil {
		return made, err
	}
	if err := ownedZone(c.DataDir); err != nil {
		return made, err
	}
	n := &Node{config: c, metrics: metrics.New(c.Version)}
	defer func() { err = errors.Join(err, n.Close(context.WithoutCancel(ctx))) }()
	if err := n.openState(ctx); err != nil {
		return made, whoUses(c.DataDir, err)
	}
	if err := n.openLog(ctx); err != nil {
		return made, err
	}
	return n.resetToken(ctx)
}

// ownedZone makes sure that dir has a zone and that what is written into it will
// be the server's own.
func ownedZone(dir string) error {
	info, err := os.Stat(filepath.Join(dir, raftDir))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no zone: is it the --data-dir of the server?", dir)
	}
	if err != nil {
		return fmt.Errorf("looking at the data directory: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, you are user %d: run this as the user of the server, "+
			"or it could not read what is written now", dir, owner.Uid, os.Geteuid())
	}
	return nil
}

func whoUses(dir string, err error) error {
	if errors.Is(err, persistence.ErrLocked) {
		return fmt.Errorf("a server uses %s: stop it first (drivers and guests run on): %w", dir, err)
	}
	return err
}

func (n *Node) resetToken(ctx context.Context) (TokenReset, error) {
	vocabulary, now, secret := resources.NewVocabulary(), time.Now().UTC(), door.NewSecret()
	token := &resources.Token{
		Meta: resources.Meta{
			Kind: resources.KindToken, ID: newID(vocabulary, resources.KindToken, now),
			Name: "admin-" + now.Format("20060102-150405"),
		},
		Spec:   resources.TokenSpec{Role: resources.RoleAdmin},
		Status: resources.TokenStatus{Digest: secret.Digest()},
	}
	made := TokenReset{Name: token.Name, Path: filepath.Join(n.config.DataDir, tokenFile)}
	// The text is kept before the token is made, beside the old one: that one may
	// still be good if this fails.
	fresh := made.Path + ".new"
	if err := writeSecret(fresh, secret.Bearer(token.ID)); err != nil {
		return made, err
	}
	cmd, err := n.creating(token, newID(vocabulary, resources.KindOperation, now))
	if err == nil {
		_, err = n.log.Propose(ctx, cmd)
	}
	if err != nil {
		os.Remove(fresh) //nolint:errcheck // it opens nothing
		return made, fmt.Errorf("making token %s: %w", token.Name, err)
	}
	if err := os.Rename(fresh, made.Path); err != nil {
		return made, fmt.Errorf("keeping the token, which is in %s: %w", fresh, err)
	}
	return made, nil
}

// creating is the command that makes a token, with its line in the audit log.
func (n *Node) creating(token *resources.Token, operation string) (*persistence.Submit, error) {
	doc, err := n.machine.Codec().Seal(token)
	if err != nil {
		return nil, err
	}
	op, err := n.machine.Codec().Seal(&resources.Operation{
		Meta:   resources.Meta{Kind: resources.KindOperation, ID: operation},
		Action: "create", Target: token.Ref(), Principal: localPrincipal(),
	})
	return &persistence.Submit{Operation: op, Resource: doc, Instant: true, Source: "local"}, err
}

// localPrincipal is who changes something in the data directory: it needs no token.
func localPrincipal() string { return "data-directory/uid-" + strconv.Itoa(os.Geteuid()) }

// writeSecret writes a file that only its owner can read, durably.
func writeSecret(path, text string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keeping a token: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("keeping a token: %w", err)
	}
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("keeping a token: %w", err)
	}
	return nil
}
