package cli

import (
	"context"
	"net/url"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// resolve finds the id of a resource by its name or id.
func (a *app) resolve(ctx context.Context, kindName, name string) (string, error) {
	if a.vocabulary.CheckID(resources.Kind(kindName), name) == nil {
		return name, nil
	}
	o, err := a.find(ctx, kindName, name)
	if err != nil {
		return "", err
	}
	return text(o, "id"), nil
}

func (a *app) resolveAll(ctx context.Context, kindName string, names []string) ([]any, error) {
	ids := make([]any, 0, len(names))
	for _, n := range names {
		id, err := a.resolve(ctx, kindName, n)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// find reads a resource by its name or id.
func (a *app) find(ctx context.Context, kindName, name string) (client.Object, error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	k := kindNamed(kindName)
	if a.vocabulary.CheckID(resources.Kind(kindName), name) == nil {
		return c.Get(ctx, k.path()+"/"+name, nil)
	}
	var found client.Object
	err = c.List(ctx, k.path(), url.Values{"name": {name}, "pageSize": {"1"}}, func(o client.Object) bool {
		found = o
		return false
	})
	if err == nil && found == nil {
		err = &client.Problem{
			Class: string(resources.ClassNotFound), Code: "not-found", Detail: "there is no " + kindName + " named " + name,
			Help: "run 'bulkhead " + kindName + " list' to see what there is",
		}
	}
	return found, err
}

// mostNames bounds how many names are looked up to make one list readable.
const mostNames = 64

// nameOf is the name of a resource by its id, to show to people; the id where it
// has no name or too many were asked for.
func (a *app) nameOf(ctx context.Context, kindName, id string) string {
	if id == "" {
		return ""
	}
	if name, known := a.names[id]; known {
		return name
	}
	if len(a.names) >= mostNames {
		return id
	}
	a.names[id] = id
	c, err := a.connect()
	if err != nil {
		return id
	}
	o, err := c.Get(ctx, kindNamed(kindName).path()+"/"+url.PathEscape(id), nil)
	if err != nil {
		return id
	}
	if name := text(o, "name"); name != "" {
		a.names[id] = name
	}
	return a.names[id]
}
