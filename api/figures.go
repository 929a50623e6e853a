package api

import (
	"context"
	"net/http"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

type figuresAnswer struct{ Body *resources.DriverFigures }

type calledParams struct {
	TargetParams
	Kind  resources.Kind `query:"kind" doc:"Only resources of this kind."`
	Of    string         `query:"resource" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"an id, such as vol-01j9zq4t8k6m3n5p7r9s2v4w6x" doc:"Only the resource of this id."`
	Limit int            `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Largest number of resources of each instance, those called last."`
}

// calledList is for which resources a driver was called.
type calledList struct {
	Items      []resources.ResourceFigures `json:"items" doc:"Resources it was called for, by the node or agent of the instance, of each the one called last first."`
	Unanswered []resources.Unanswered      `json:"unanswered,omitempty" doc:"Nodes and agents that could not be asked."`
}

type calledAnswer struct{ Body *calledList }

type logsParams struct {
	TargetParams
	Node  string `query:"node" maxLength:"64" doc:"Only this node or agent."`
	Lines int    `query:"lines" minimum:"1" maximum:"10000" default:"100" doc:"Largest number of lines of each instance, the last ones; of 256 KiB at most."`
}

type logsAnswer struct{ Body *resources.DriverLogs }

// driverFigures adds the routes that say how the instances of a driver do.
func (a *API) driverFigures(n noun) {
	register(a, route{
		id: "get-driver-instances", method: http.MethodGet, path: n.target() + "/instances", tag: n.tag,
		summary: "Get the instances of a driver",
		about: "Says how the driver does on each node and agent: its process, its isolation, what it was called, how long " +
			"that took and what went wrong last. Nodes and agents are asked for it; those that do not answer in time are " +
			"named.",
		permission: door.To(door.VerbGet, n.kind),
	}, func(ctx context.Context, g door.Grant, in *TargetParams) (*figuresAnswer, error) {
		f, err := a.figures(ctx, g, in.ID, resources.FiguresQuery{})
		if err != nil {
			return nil, err
		}
		f.Items = append([]resources.InstanceFigures{}, f.Items...)
		return &figuresAnswer{&f}, nil
	})
	register(a, route{
		id: "get-driver-calls", method: http.MethodGet, path: n.target() + "/calls", tag: n.tag,
		summary: "Get the resources that a driver was called for",
		about: "Says for which resources the driver was called, how long that took and what went wrong. Each instance " +
			"remembers the 1024 resources that it was called for last.",
		permission: door.To(door.VerbGet, n.kind),
	}, a.driverCalls)
	register(a, route{
		id: "get-driver-logs", method: http.MethodGet, path: n.target() + "/logs", tag: n.tag,
		summary: "Get what a driver printed",
		about: "Has what the processes of the driver printed last, on each node and agent, whether one runs now or not. " +
			"Nodes and agents are asked for it; those that do not answer in time are named.",
		permission: door.To(door.VerbLog, n.kind),
	}, a.driverLogs)
}

func (a *API) driverLogs(ctx context.Context, g door.Grant, in *logsParams) (*logsAnswer, error) {
	d, err := a.driver(ctx, g, in.ID)
	if err != nil {
		return nil, err
	}
	l, err := a.drivers.DriverLogs(ctx, d, resources.LogsQuery{Node: in.Node, Lines: in.Lines})
	if err != nil {
		return nil, err
	}
	l.Items = append([]resources.InstanceLog{}, l.Items...)
	return &logsAnswer{&l}, nil
}

func (a *API) driverCalls(ctx context.Context, g door.Grant, in *calledParams) (*calledAnswer, error) {
	if in.Of != "" && in.Kind == "" {
		in.Kind = resources.NewVocabulary().KindOf(in.Of)
	}
	if in.Of != "" && in.Kind == "" {
		return nil, invalid(inParameter("query", "resource", "bad-format", "is no id: give its kind too, or the whole id"))
	}
	f, err := a.figures(ctx, g, in.ID, resources.FiguresQuery{Limit: in.Limit, Kind: in.Kind, ID: in.Of})
	if err != nil {
		return nil, err
	}
	out := &calledList{Items: []resources.ResourceFigures{}, Unanswered: f.Unanswered}
	for _, i := range f.Items {
		out.Items = append(out.Items, i.Resources...)
	}
	return &calledAnswer{out}, nil
}

// figures asks how a driver does.
func (a *API) figures(
	ctx context.Context, g door.Grant, id string, q resources.FiguresQuery,
) (resources.DriverFigures, error) {
	d, err := a.driver(ctx, g, id)
	if err != nil {
		return resources.DriverFigures{}, err
	}
	return a.drivers.DriverFigures(ctx, d, q)
}

func (a *API) driver(ctx context.Context, g door.Grant, id string) (*resources.Driver, error) {
	r, err := a.door.Get(ctx, g, id)
	if err != nil {
		return nil, err
	}
	d, ok := r.(*resources.Driver)
	if !ok {
		return nil, wrongKind(r)
	}
	return d, nil
}
