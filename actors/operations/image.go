package operations

import (
	"context"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	importTimeout    = 5 * time.Hour
	maxTemplateBytes = 64 << 30
	maxRedirects     = 3
)

func imageStoreOperations() []Definition {
	return []Definition{
		{Kind: resources.KindImageStore, Action: "create", Steps: steps(
			Step{Name: "check", Do: checkPlace},
			Step{Name: "open", Do: openStore, Undo: closeStore},
		)},
		{Kind: resources.KindImageStore, Action: "delete", Steps: forgettable(
			Step{Name: "close", Do: closeStore}, (*Context).unbind,
		)},
	}
}

func templateOperations() []Definition {
	return []Definition{
		{Kind: resources.KindTemplate, Action: "create", Steps: steps(
			Step{Name: "import", Do: importTemplate, Undo: deleteTemplate, Timeout: importTimeout},
		)},
		{Kind: resources.KindTemplate, Action: "delete", Steps: forgettable(
			Step{Name: "delete", Do: deleteTemplate}, (*Context).unbind,
		)},
	}
}

func openStore(ctx context.Context, c *Context) error {
	s, err := Target[*resources.ImageStore](c)
	if err != nil {
		return err
	}
	d, err := c.driver(ctx, s, s.Ref())
	if err != nil {
		return err
	}
	reply, err := driverpb.NewImagesClient(d.conn).OpenStore(ctx, &driverpb.StoreRequest{Call: d.call})
	if err != nil {
		return FromFault(err)
	}
	c.bind(d, reply.GetHandle())
	Change(c, func(s *resources.ImageStore) {
		s.Status.TotalBytes, s.Status.UsedBytes = reply.GetTotalBytes(), reply.GetUsedBytes()
	})
	return nil
}

func closeStore(ctx context.Context, c *Context) error {
	s, err := Target[*resources.ImageStore](c)
	if err != nil {
		return err
	}
	d, err := c.driver(ctx, s, s.Ref())
	if err != nil {
		return unreached(err)
	}
	_, err = driverpb.NewImagesClient(d.conn).CloseStore(ctx, &driverpb.StoreRequest{Call: d.call})
	c.unbind()
	return gone(err)
}

// inStore connects to the driver of a template's store.
func (c *Context) inStore(ctx context.Context, t *resources.Template) (driver, *driverpb.StoreRef, error) {
	s, err := Find[*resources.ImageStore](c, resources.KindImageStore, string(t.Spec.ImageStoreID))
	if err != nil {
		return driver{}, nil, err
	}
	handle, err := c.handle(s.Ref())
	if err != nil {
		return driver{}, nil, err
	}
	d, err := c.driver(ctx, s, t.Ref())
	return d, &driverpb.StoreRef{Resource: protoRef(s.Ref()), Handle: handle}, err
}

func importTemplate(ctx context.Context, c *Context) error {
	t, err := Target[*resources.Template](c)
	if err != nil {
		return err
	}
	d, store, err := c.inStore(ctx, t)
	if err != nil {
		return err
	}
	request, err := c.importRequest(t)
	if err != nil {
		return err
	}
	request.Call, request.Store = d.call, store
	reply, err := driverpb.NewImagesClient(d.conn).ImportTemplate(ctx, request)
	if err != nil {
		return FromFault(err)
	}
	c.bind(d, reply.GetHandle())
	Change(c, func(t *resources.Template) {
		t.Status = resources.TemplateStatus{
			FileBytes: reply.GetFileBytes(), VirtualBytes: reply.GetVirtualBytes(),
			Checksum: reply.GetChecksum(), Path: reply.GetPath(),
		}
	})
	return nil
}

func (c *Context) importRequest(t *resources.Template) (*driverpb.ImportTemplateRequest, error) {
	r := &driverpb.ImportTemplateRequest{
		Format: t.Spec.Format, Checksum: t.Spec.Checksum, MaxBytes: t.Spec.MaxBytes,
		Egress: &driverpb.EgressPolicy{MaxRedirects: maxRedirects},
	}
	if r.MaxBytes == 0 {
		r.MaxBytes = maxTemplateBytes
	}
	switch {
	case t.Spec.URL != "":
		r.Source = &driverpb.ImportTemplateRequest_Url{Url: t.Spec.URL}
	case t.Spec.File != "":
		r.Source = &driverpb.ImportTemplateRequest_File{File: t.Spec.File}
	default:
		r.Source = &driverpb.ImportTemplateRequest_Upload{Upload: c.Operation.Arguments.Upload}
	}
	return r, c.Engine.View(func(v *persistence.View) error {
		zone, err := v.Zone()
		if err != nil {
			return err
		}
		r.Egress.AllowCidrs = zone.Spec.EgressAllow
		return nil
	})
}

func deleteTemplate(ctx context.Context, c *Context) error {
	t, err := Target[*resources.Template](c)
	if err != nil {
		return err
	}
	d, store, err := c.inStore(ctx, t)
	if err != nil {
		return err
	}
	_, err = driverpb.NewImagesClient(d.conn).DeleteTemplate(ctx, &driverpb.TemplateRequest{Call: d.call, Store: store})
	c.unbind()
	return gone(err)
}
