package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bulkhead-cloud/bulkhead/api/docs"
	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/api/schema"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Options are what an API is made of.
type Options struct {
	// Version of the server, shown in the document.
	Version  string
	Reader   Reader
	Engine   Engine
	Drivers  Drivers
	Bindings Bindings
	Health   Health
	Uploads  Uploads
	Backups  Backups
	Archives Archives
	// Developing is nil where nothing may be attached.
	Developing Developing
	Cluster    Cluster
	// Metrics is served at /metrics to readers; nil = not at all.
	Metrics http.Handler
	Log     *slog.Logger
	Limits  Limits
	Streams Streams
	// Now is the clock; nil = time.Now.
	Now func() time.Time
}

// API serves a zone over HTTP. It is safe for concurrent use.
type API struct {
	door       *door.Door
	drivers    Drivers
	bindings   Bindings
	health     Health
	uploads    Uploads
	archives   Archives
	developing Developing
	backups    Backups
	metrics    http.Handler
	log        *slog.Logger
	now        func() time.Time
	streams    Streams
	tickets    *tickets
	strangers  *limiter
	principals *limiter

	meanings   map[resources.Class]meaning
	complaints []complaint
	idKinds    map[reflect.Type]resources.Kind
	vocabulary resources.Vocabulary
	fixed      map[string][]string // route id -> what a patch may not name

	huma       huma.API
	registry   *schema.Registry
	handler    http.Handler
	document   []byte
	document30 []byte
}

// New makes an API. It fails only if the API can't be described, which is a
// mistake in the program.
func New(o Options) (*API, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	limits := o.Limits.withDefaults()
	a := &API{
		door:       door.New(o.Reader, o.Engine, o.Cluster, o.Now),
		drivers:    o.Drivers,
		bindings:   o.Bindings,
		health:     o.Health,
		uploads:    o.Uploads,
		archives:   o.Archives,
		developing: o.Developing,
		backups:    o.Backups,
		metrics:    o.Metrics,
		log:        o.Log,
		now:        o.Now,
		streams:    o.Streams.withDefaults(),
		tickets:    &tickets{now: o.Now, issued: map[string]ticket{}},
		strangers:  newLimiter(limits.PerStranger, limits.StrangerBurst),
		principals: newLimiter(limits.PerPrincipal, limits.Burst),
		meanings:   meanings(),
		complaints: complaints(),
		idKinds:    idKinds(),
		vocabulary: resources.NewVocabulary(),
		fixed:      map[string][]string{},
	}
	mux := http.NewServeMux()
	a.describe(mux, o.Version)
	a.routes()
	if err := a.finish(); err != nil {
		return nil, err
	}
	if err := a.plain(mux); err != nil {
		return nil, err
	}
	a.handler = a.observe(a.wellFormed(a.sameOrigin(mux)))
	return a, nil
}

// Handler serves the whole API.
func (a *API) Handler() http.Handler { return a.handler }

// Document is the OpenAPI 3.1 document, as served at /openapi.json.
func (a *API) Document() []byte { return a.document }

// Document30 is the same as OpenAPI 3.0.3, as served at /openapi-3.0.json.
func (a *API) Document30() []byte { return a.document30 }

// describe sets huma up, with all its defaults that would surprise users
// changed.
func (a *API) describe(mux *http.ServeMux, version string) {
	a.registry = schema.NewRegistry(schemaName, specials(resources.NewVocabulary()))
	a.registry.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[Problem]())
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Bulkhead", Version: version, Description: about,
				License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Servers: []*huma.Server{{URL: "/", Description: "This zone."}},
			Tags:    tags(),
			Components: &huma.Components{
				Schemas: a.registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{"bearer": {
					Type: "http", Scheme: "bearer", Description: "A token, as POST /v1/tokens answers it.",
				}},
			},
		},
		Formats: map[string]huma.Format{
			jsonType: huma.DefaultJSONFormat,
			"json":   huma.DefaultJSONFormat,
		},
		DefaultFormat:                jsonType,
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{a.translate},
	}
	a.huma = humago.New(mux, config)
	a.huma.UseMiddleware(a.admit)
}

const about = "Everything a zone can do. Changes are accepted as operations, durably: 202 and the operation, which " +
	"can be waited for, watched and cancelled. Failures are problem+json and name the field and what to do next. " +
	"Any node of the zone answers. What is read holds all that any node answered before, unless consistency=stale asks " +
	"for what the node has; each answer tells its Bulkhead-Revision. " +
	"Lists are paged; every change is an event that can be followed from any revision that is kept."

func tags() []*huma.Tag {
	tag := func(name, about string) *huma.Tag { return &huma.Tag{Name: name, Description: about} }
	return []*huma.Tag{
		tag("Zone", "One failure and upgrade domain, and its settings."),
		tag("Nodes", "What manages the zone together."),
		tag("Join tokens", "What lets nodes and hosts in."),
		tag("Upgrade", "Which programs the nodes run, and what the zone may rely on."),
		tag("Tokens", "Credentials of this API."),
		tag("Policies", "Which roles may use which drivers, for what."),
		tag("Drivers", "What drives hypervisors, storage, images and networks."),
		tag("Swaps", "Another version of a driver acts, resource by resource, while they are used."),
		tag("Clusters", "Hosts that share storage and stand in for each other."),
		tag("Hosts", "What runs machines."),
		tag("Pools", "Where volumes live."),
		tag("Image stores", "Where templates live."),
		tag("Templates", "What volumes begin as a copy of."),
		tag("Networks", "What connects machines."),
		tag("Addresses", "IP addresses taken in a network."),
		tag("Rules", "Firewall rules and port forwards."),
		tag("Volumes", "Disks."),
		tag("Snapshots", "Volumes as they were at one moment."),
		tag("Nics", "What connects a machine to a network."),
		tag("Machines", "Guests."),
		tag("Operations", "Durable requests and how they go."),
		tag("Events", "Every change, in order."),
		tag("Audit", "Who asked for what."),
	}
}

func (a *API) routes() {
	a.zone()
	a.nodes()
	a.joinTokens()
	a.upgrades()
	a.rotation()
	a.tokens()
	a.policies()
	a.driverRoutes()
	a.swaps()
	a.clusters()
	a.hosts()
	a.pools()
	a.imageStores()
	a.templates()
	a.networks()
	a.addresses()
	a.rules()
	a.volumes()
	a.snapshots()
	a.nics()
	a.machines()
	a.operations()
	a.events()
	a.backup()
	a.audit()
}

// finish closes the document.
func (a *API) finish() error {
	doc := a.huma.OpenAPI()
	a.tellRevisions()
	if err := a.registry.Finish(doc); err != nil {
		return fmt.Errorf("describing the API: %w", err)
	}
	a.exampleIDs()
	var err error
	if a.document, err = schema.Render(doc); err != nil {
		return err
	}
	a.document30, err = schema.Downgrade(a.document)
	return err
}

// exampleIDs gives the ids of resources and in paths an example of their kind.
func (a *API) exampleIDs() {
	components := a.registry.Map()
	for _, d := range resources.Definitions() {
		example := []any{d.Prefix + exampleTail}
		if s := components[reflect.TypeOf(d.New()).Elem().Name()]; s != nil {
			s.Properties["id"].Examples = example
		}
		item := a.huma.OpenAPI().Paths
		for path := range item {
			for _, op := range schema.Operations(item[path]) {
				for _, p := range op.Parameters {
					if p.In == "path" && op.Metadata[permissionKey].(door.Permission).Kind == d.Kind {
						p.Schema.Examples = example
					}
				}
			}
		}
	}
}

// plain adds the routes outside of the document.
func (a *API) plain(mux *http.ServeMux) error {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", a.ready)
	mux.HandleFunc("GET /openapi.json", serveDocument(a.document))
	mux.HandleFunc("GET /openapi-3.0.json", serveDocument(a.document30))
	mux.HandleFunc("GET "+consolePath, a.console)
	mux.HandleFunc("GET "+attachPath, a.attached)
	mux.HandleFunc("GET /problems/{class}", a.explain)
	pages, err := docs.Handler()
	if err != nil {
		return fmt.Errorf("preparing the documentation: %w", err)
	}
	mux.Handle("GET /docs", pages)
	mux.Handle("GET /docs/", pages)
	if a.metrics != nil {
		mux.HandleFunc("GET /metrics", a.serveMetrics)
	}
	mux.HandleFunc("/", a.unmatched(mux))
	return nil
}
