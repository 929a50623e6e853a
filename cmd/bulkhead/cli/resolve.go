package cli

import (
	"context"
	"net/url"
	"strconv"
	"strings"

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

// product is what resources call a driver: its product, vendor/name. Its name and
// id will do as well.
func (a *app) product(ctx context.Context, name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	driver, err := a.find(ctx, "driver", name)
	return text(driver, "spec.product"), err
}

// versionOf is the id of a version of a driver, by its name or id.
func (a *app) versionOf(ctx context.Context, name string) (string, error) {
	if strings.Contains(name, "/") {
		return "", usage(name+" is a product, of which there can be several versions",
			"name one of them: bulkhead driver list --product "+name)
	}
	return a.resolve(ctx, "driver", name)
}

// readRef reads kind/name, or an id, which tells its kind.
func (a *app) readRef(ctx context.Context, text string) (client.Object, error) {
	kindName, name, ok := strings.Cut(text, "/")
	if !ok {
		kindName, name = string(a.vocabulary.KindOf(text)), text
	}
	if name == "" || kindNamed(kindName).name == "" {
		return nil, usage("must be kind/name such as volume/data, or an id, not "+strconv.Quote(text), "")
	}
	id, err := a.resolve(ctx, kindName, name)
	return client.Object{"kind": kindName, "id": id}, err
}

func (a *app) readRefs(ctx context.Context, texts []string) ([]any, error) {
	refs := make([]any, 0, len(texts))
	for _, text := range texts {
		ref, err := a.readRef(ctx, text)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
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
	query := url.Values{"name": {name}, "pageSize": {"1"}}
	if kindName == "driver" && strings.Contains(name, "/") {
		query = url.Values{"product": {name}} // what everything else calls a driver
	}
	var found client.Object
	var versions []string
	err = c.List(ctx, k.path(), query, func(o client.Object) bool {
		found = o
		versions = append(versions, text(o, "name"))
		return true
	})
	if len(versions) > 1 {
		return nil, usage(name+" has several versions: "+strings.Join(versions, ", "), "name one of them")
	}
	if found != nil && text(found, "name") != "" {
		a.names[text(found, "id")] = text(found, "name")
	}
	if err == nil && found == nil {
		err = &client.Problem{
			Class: string(resources.ClassNotFound), Code: "not-found",
			Detail: "there is no " + words(kindName) + " named " + name,
			Help:   "run 'bulkhead " + kindName + " list' to see what there is",
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
