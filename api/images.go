package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

type imageStoreList struct {
	ListParams
	Driver string `query:"driver" maxLength:"65" doc:"Only image stores of this driver, vendor/name."`
}

func (l *imageStoreList) facets() map[string]string { return given("driver", l.Driver) }

type imageStorePatch struct {
	MetaPatch
	Spec *imageStoreSpecPatch `json:"spec,omitempty" doc:"Changes of what is asked for."`
}

type imageStoreSpecPatch struct {
	Properties map[string]any `json:"properties,omitempty" doc:"Settings to set; null removes one, others stay, secret ones too."`
}

func (p imageStorePatch) apply(s *resources.ImageStore) {
	p.meta(&s.Meta)
	if p.Spec != nil {
		s.Spec.Properties = merged(s.Spec.Properties, p.Spec.Properties)
	}
}

func (a *API) imageStores() {
	n := noun{resources.KindImageStore, "image store", "image stores", "image-store", "image-stores", "Image stores"}
	addList[resources.ImageStore, imageStoreList](a, n)
	addGet[resources.ImageStore](a, n)
	addCreate(a, n, func(c *creation[resources.ImageStoreSpec]) resources.Resource {
		return &resources.ImageStore{Meta: c.meta(n.kind), Spec: c.Spec}
	})
	addPatch[imageStorePatch](a, n)
	addDelete(a, n)
	addForget(a, n, "the directory or whatever it is on")
	addSuspend[resources.ImageStore](a, n)
}

type templateList struct {
	ListParams
	ImageStoreID resources.ImageStoreID `query:"imageStoreId" doc:"Only templates in this image store."`
	Format       string                 `query:"format" enum:"raw,qcow2,iso" doc:"Only templates of this format."`
}

func (l *templateList) facets() map[string]string {
	return given("image-store", string(l.ImageStoreID), "format", l.Format)
}

type templatePatch struct{ MetaPatch }

func (p templatePatch) apply(t *resources.Template) { p.meta(&t.Meta) }

func (a *API) templates() {
	n := noun{resources.KindTemplate, "template", "templates", "template", "templates", "Templates"}
	addList[resources.Template, templateList](a, n)
	addGet[resources.Template](a, n)
	addCreate(a, n, func(c *creation[resources.TemplateSpec]) resources.Resource {
		return &resources.Template{Meta: c.meta(n.kind), Spec: c.Spec}
	})
	addPatch[templatePatch](a, n)
	addDelete(a, n)
	addForget(a, n, "its content")
	addSuspend[resources.Template](a, n)
	a.upload(n)
}

const (
	contentType = "application/octet-stream"
	// defaultMaxContent is the largest content of a template that sets no limit.
	defaultMaxContent = 64 << 30
	// stalled is how long an upload may bring nothing.
	stalled = time.Minute
)

// upload adds the route that brings a template's content.
func (a *API) upload(n noun) {
	r := route{
		id: "upload-template", method: http.MethodPut, path: n.target() + "/content", tag: n.tag,
		status: http.StatusAccepted, summary: "Upload the content of a template",
		about: "Brings the content of a template that was created with upload, and starts the work on it. " +
			"An upload that broke off is begun again from its start.",
		permission: door.To("upload", n.kind),
	}
	registerOperation(a, r.operation(), a.receive)
	a.operation(r).RequestBody = &huma.RequestBody{
		Required: true, Content: map[string]*huma.MediaType{
			contentType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		},
	}
}

// uploadParams are what an upload takes.
type uploadParams struct {
	TargetParams
	WriteParams
}

func (a *API) receive(ctx context.Context, g door.Grant, in *uploadParams) (*accepted, error) {
	if err := a.checkMediaType(ctx, contentType); err != nil {
		return nil, err
	}
	if o, err := a.repeated(ctx, g, in.WriteParams); err != nil {
		return nil, err
	} else if o != nil {
		return a.accept(ctx, g, o)
	}
	limit, err := a.expected(ctx, g, in.ID)
	if err != nil {
		return nil, err
	}
	c := callFrom(ctx)
	if c.request.ContentLength > limit {
		return nil, tooLarge()
	}
	from := &patient{call: c, body: c.request.Body}
	path, _, err := a.uploads.Spool(ctx, resources.TemplateID(in.ID), from, limit)
	if from.err != nil {
		return nil, readFailure(from.err)
	}
	if err != nil {
		return nil, err
	}
	c.allow(ordinary, ordinary)
	o, err := a.submitUpload(ctx, g, in, path)
	if err != nil {
		return nil, err
	}
	return a.accept(ctx, g, o)
}

// submitUpload submits what was spooled, and discards it when no operation will
// take it: the submission was refused, or is the repetition of another that brought
// its own content. Whether one of unknown outcome was taken in nobody can say here,
// so that its content stays.
func (a *API) submitUpload(
	ctx context.Context, g door.Grant, in *uploadParams, path string,
) (*resources.Operation, error) {
	patience, err := in.duration()
	if err != nil {
		return nil, errors.Join(err, a.uploads.Discard(context.WithoutCancel(ctx), path))
	}
	submission := in.WriteParams
	submission.Wait = "" // an error of waiting says nothing about what was submitted
	o, err := a.submit(ctx, g, resources.Submission{
		Action: "create", Target: resources.Ref{Kind: resources.KindTemplate, ID: in.ID},
		Arguments: resources.Arguments{Upload: path},
	}, submission)
	taken := err == nil && o.Arguments.Upload == path
	class := resources.ClassOf(err)
	if !taken && class != resources.ClassUnknown && class != resources.ClassInternal {
		// The request may be over; what it left behind must still go.
		if gone := a.uploads.Discard(context.WithoutCancel(ctx), path); gone != nil {
			a.log.WarnContext(ctx, "discarding an upload failed",
				slog.String("template", in.ID), slog.Any("error", gone))
		}
	}
	if err != nil || patience == 0 || o.Ended() {
		return o, err
	}
	return a.wait(ctx, g, resources.OperationID(o.ID), patience)
}

// expected tells how much content a template takes, if it waits for any.
func (a *API) expected(ctx context.Context, g door.Grant, id string) (int64, error) {
	r, err := a.door.Get(ctx, g, id)
	if err != nil {
		return 0, err
	}
	t, ok := r.(*resources.Template)
	if !ok {
		return 0, wrongKind(r)
	}
	if !t.Spec.Upload || t.Phase != resources.PhasePending {
		ref := t.Ref()
		return 0, &resources.Error{
			Class: resources.ClassConflict, Code: "no-upload-expected", Message: "this template does not wait for content",
			Remedy: "create a template with spec.upload and upload to that", Resource: &ref,
		}
	}
	if t.Spec.MaxBytes == 0 || t.Spec.MaxBytes > defaultMaxContent {
		return defaultMaxContent, nil
	}
	return int64(t.Spec.MaxBytes), nil
}

func tooLarge() error {
	return &resources.Error{
		Class: resources.ClassTooLarge, Code: "content-too-large", Message: "the content is larger than the template allows",
		Remedy: "create the template with a larger spec.maxBytes",
	}
}

// patient reads as long as something arrives, and remembers why nothing more
// did.
type patient struct {
	call *call
	body io.Reader
	err  error
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	p.call.allow(stalled, 0)
	n, err := p.body.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		p.err = err
	}
	return n, err
}
