package node

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// resealPage is how many resources are read at once to have their secrets sealed anew.
	resealPage = 200
	// resealBytes bounds what is proposed at once.
	resealBytes = 256 << 10
)

// sealNew seals what lies in clear, of kinds of which a driver calls something secret.
func (n *Node) sealNew(ctx context.Context) error {
	var kinds []resources.Kind
	for _, kind := range resources.Configurable() {
		keys, err := n.system.Engine().Secret("", kind)
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			kinds = append(kinds, kind)
		}
	}
	return n.reseal(ctx, kinds, false)
}

// reseal seals what lies in clear, and has data keys sealed with the key that seals now. What is sealed with a key that
// nobody has is given up, if forsake is set.
func (n *Node) reseal(ctx context.Context, kinds []resources.Kind, forsake bool) error {
	for _, kind := range kinds {
		for after := ""; ; {
			var page resources.Page
			err := n.machine.View(func(v *persistence.View) (err error) {
				page, err = v.List(resources.Query{Kind: kind, After: after, Limit: resealPage})
				return err
			})
			if err != nil {
				return err
			}
			if err := n.resealPage(ctx, page.Items, forsake); err != nil {
				return err
			}
			if after = page.Next; after == "" {
				break
			}
		}
	}
	return nil
}

func (n *Node) resealPage(ctx context.Context, list []resources.Resource, forsake bool) error {
	cmd, size := &persistence.Reseal{}, 0
	propose := func() error {
		if len(cmd.Documents) == 0 {
			return nil
		}
		_, err := n.log.Propose(ctx, cmd)
		cmd, size = &persistence.Reseal{}, 0
		return err
	}
	for _, r := range list {
		doc, err := n.resealed(r, forsake)
		if err != nil {
			return err
		}
		if doc == nil {
			continue
		}
		if size += len(doc.Data); size > resealBytes {
			if err := propose(); err != nil {
				return err
			}
			size = len(doc.Data)
		}
		cmd.Documents = append(cmd.Documents, doc)
	}
	return propose()
}

// resealed is a resource with its secrets sealed as they are to be; nil = they are.
func (n *Node) resealed(r resources.Resource, forsake bool) (*persistence.Document, error) {
	if len(resources.SettingsOf(r)) == 0 {
		return nil, nil
	}
	next, err := n.machine.Codec().Clone(r)
	if err != nil {
		return nil, err
	}
	given := forsake && n.secrets.Forsake(next)
	changed, err := n.secrets.Protect(next, nil, n.system.Engine().Secret)
	if err != nil || !changed && !given {
		return nil, err
	}
	if given {
		n.config.Log.Warn("secrets of a resource can't be opened any more and must be given again",
			slog.String("resource", r.Metadata().Ref().String()), slog.Any("secrets", resources.Lost(next)))
	}
	return n.machine.Codec().Seal(next)
}

// sealedOtherwise says what keeps the old key from being given up.
func (n *Node) sealedOtherwise(id string) error {
	var found resources.Ref
	err := n.machine.View(func(v *persistence.View) (err error) {
		found, err = v.SealedOtherwise(id)
		return err
	})
	switch {
	case err != nil || found == resources.Ref{}:
		return err
	case found.Kind == resources.KindOperation:
		return fmt.Errorf("%s carries secrets that are sealed with the old key: it must end first", found)
	}
	return fmt.Errorf("secrets of %s are not sealed with the new key yet", found)
}
