package resources

import (
	"net/url"
	"regexp"
	"time"
)

// ImageStore is a place that templates live in.
type ImageStore struct {
	Meta
	Spec   ImageStoreSpec   `json:"spec"`
	Status ImageStoreStatus `json:"status"`
}

// ImageStoreSpec is what is asked of an image store.
type ImageStoreSpec struct {
	// Node whose driver host acts for it; empty = the one that accepts.
	Node       string         `json:"node,omitempty" doc:"Node or agent that drives it; absent means the one that accepts."`
	Driver     string         `json:"driver" doc:"Image driver, vendor/name." example:"bulkhead/directoryimages"`
	Properties map[string]any `json:"properties,omitempty" doc:"Settings of the driver for this store."`
}

// ImageStoreStatus is what was observed of an image store.
type ImageStoreStatus struct {
	TotalBytes uint64 `json:"totalBytes" doc:"Size in bytes."`
	UsedBytes  uint64 `json:"usedBytes" doc:"Bytes in use."`
}

// Validate implements Resource.
func (s *ImageStore) Validate(p *Problems) {
	ValidateMeta(&s.Meta, p)
	RequireName(&s.Meta, p)
	validateDriver(p.In("spec"), s.Spec.Driver)
}

// References implements Resource.
func (s *ImageStore) References() []Ref { return nil }

// Facets implements Resource.
func (s *ImageStore) Facets() map[string]string {
	m := map[string]string{"driver": s.Spec.Driver}
	facet(m, "node", s.Spec.Node)
	return m
}

func imageStoreDefinition() Definition {
	return Definition{
		Kind: KindImageStore, Prefix: "store", Plural: "image-stores",
		New:     func() Resource { return &ImageStore{Meta: Meta{Kind: KindImageStore}} },
		Phases:  simpleTable(),
		Actions: actions(createAction(5*time.Minute), updateAction(), deleteAction(5*time.Minute), rebindIn(simpleTable())),
		Mutable: []string{"properties"},
	}
}

// Template is what volumes begin as a copy of: a disk image or an ISO.
type Template struct {
	Meta
	Spec   TemplateSpec   `json:"spec"`
	Status TemplateStatus `json:"status"`
}

// TemplateSpec is what is asked of a template.
type TemplateSpec struct {
	ImageStoreID ImageStoreID `json:"imageStoreId,omitempty" doc:"Image store; absent means the only one there is."`
	// Format is declared, never guessed.
	Format   string `json:"format" doc:"What the content is: raw, qcow2 or iso." enum:"raw,qcow2,iso"`
	Checksum string `json:"checksum,omitempty" doc:"sha256:<hex> or sha512:<hex> of the content. Required for a url."`
	// Exactly one of the sources.
	URL    string `json:"url,omitempty" doc:"Where to download it from (http or https)." maxLength:"2048"`
	File   string `json:"file,omitempty" doc:"Path on the host to copy it from; under a path the store's driver allows." maxLength:"4096"`
	Upload bool   `json:"upload,omitempty" doc:"Whether the content is uploaded after this request."`
	// MaxBytes bounds the content; 0 = 64 GiB.
	MaxBytes uint64 `json:"maxBytes,omitempty" doc:"Largest content accepted, in bytes; 0 means 64 GiB."`
}

// TemplateStatus is what was observed of a template.
type TemplateStatus struct {
	FileBytes    uint64 `json:"fileBytes,omitempty" doc:"Size of the content in bytes."`
	VirtualBytes uint64 `json:"virtualBytes,omitempty" doc:"Size of the disk in it, in bytes."`
	Checksum     string `json:"checksum,omitempty" doc:"Checksum of the content as it was verified."`
	Path         string `json:"path,omitempty" doc:"Where drivers on the host read it."`
}

var checksumPattern = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)

// Validate implements Resource.
func (t *Template) Validate(p *Problems) {
	ValidateMeta(&t.Meta, p)
	RequireName(&t.Meta, p)
	s := p.In("spec")
	s.OneOf("format", t.Spec.Format, "raw", "qcow2", "iso")
	if t.Spec.Checksum != "" && !checksumPattern.MatchString(t.Spec.Checksum) {
		s.In("checksum").Add("bad-checksum", "must be sha256: or sha512: and lower-case hex")
	}
	t.validateSource(s)
}

func (t *Template) validateSource(s *Problems) {
	given := 0
	for _, is := range []bool{t.Spec.URL != "", t.Spec.File != "", t.Spec.Upload} {
		if is {
			given++
		}
	}
	if given != 1 {
		s.Add("one-source", "exactly one of url, file and upload must be given")
		return
	}
	if t.Spec.URL == "" {
		return
	}
	u, err := url.Parse(t.Spec.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		s.In("url").Add("bad-url", "must be an http or https address without user and password")
	}
	if t.Spec.Checksum == "" {
		s.In("checksum").Add("required", "is required for a download")
	}
}

// References implements Resource.
func (t *Template) References() []Ref { return add(nil, KindImageStore, string(t.Spec.ImageStoreID)) }

// Facets implements Resource.
func (t *Template) Facets() map[string]string {
	m := map[string]string{"format": t.Spec.Format}
	facet(m, "image-store", string(t.Spec.ImageStoreID))
	return m
}

func templateDefinition() Definition {
	return Definition{
		Kind: KindTemplate, Prefix: "tpl", Plural: "templates",
		New:     func() Resource { return &Template{Meta: Meta{Kind: KindTemplate}} },
		Phases:  simpleTable(),
		Actions: actions(createAction(6*time.Hour), updateAction(), deleteAction(30*time.Minute), rebindIn(simpleTable())),
	}
}
