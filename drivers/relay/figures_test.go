package relay_test

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// metered is a member with one instance.
type metered struct {
	asked resources.FiguresQuery
	lines int
	err   error
}

func (m *metered) Figures(
	_ context.Context, of, number string, q resources.FiguresQuery,
) (*resources.InstanceFigures, error) {
	m.asked = q
	if m.err != nil || of != product || number != version {
		return nil, m.err
	}
	return &resources.InstanceFigures{
		Instance: resources.Instance{Node: "there", PID: 7}, PerSecond: 2.5,
		Methods: []resources.MethodFigures{{Method: "Storage.CreateVolume", Calls: 3}},
	}, nil
}

func (m *metered) Log(_ context.Context, of, number string, lines int) (*resources.InstanceLog, error) {
	m.lines = lines
	if m.err != nil || of != product || number != version {
		return nil, m.err
	}
	return &resources.InstanceLog{Node: "there", Lines: []string{"one", "not \xff UTF-8"}}, nil
}

func TestFiguresOfAnotherMember(t *testing.T) {
	m := &metered{}
	refusal := errors.New("not you")
	checked := func(context.Context) error { return refusal }
	link := connect(t, serve(t, listen(t), func(s *grpc.Server) { relay.RegisterMeters(s, m, checked) }))
	there := relay.RemoteMeters(link)
	q := resources.FiguresQuery{Limit: 1 << 20, Kind: "volume", ID: "v"}
	if _, err := there.Figures(bounded(t), product, version, q); err == nil {
		t.Error("whoever may not ask is answered")
	}
	refusal = nil
	found, err := there.Figures(bounded(t), product, version, q)
	if err != nil || found == nil || found.PID != 7 || found.PerSecond != 2.5 || found.Methods[0].Calls != 3 {
		t.Fatalf("got %+v, %v", found, err)
	}
	if want := (resources.FiguresQuery{Limit: 200, Kind: "volume", ID: "v"}); m.asked != want {
		t.Errorf("it was asked for %+v, want %+v", m.asked, want)
	}
	if found, err := there.Figures(bounded(t), product, "9", q); err != nil || found != nil {
		t.Errorf("where there is no instance: %+v, %v", found, err)
	}
	m.err = &resources.Error{Class: resources.ClassUnavailable, Code: "not-ready", Message: "the node is starting"}
	_, err = there.Figures(bounded(t), product, version, q)
	if got := resources.AsError(err); got == nil || got.Code != "not-ready" {
		t.Errorf("got %v, want what it says", err)
	}
	link.cut()
	_, err = there.Figures(bounded(t), product, version, q)
	wantFault(t, err, driverpb.Class_CLASS_TRANSIENT, "node-unreachable")
}

func TestAnOlderMemberHasNoFigures(t *testing.T) {
	_, link := pair(t, &backend{})
	_, err := relay.RemoteMeters(link).Figures(bounded(t), product, version, resources.FiguresQuery{})
	if got := resources.AsError(err); got == nil || got.Code != "no-figures" || got.Remedy == "" {
		t.Errorf("got %v", err)
	}
}

func TestLogOfAnotherMember(t *testing.T) {
	m := &metered{}
	refusal := errors.New("not you")
	checked := func(context.Context) error { return refusal }
	link := connect(t, serve(t, listen(t), func(s *grpc.Server) { relay.RegisterMeters(s, m, checked) }))
	there := relay.RemoteMeters(link)
	if _, err := there.Log(bounded(t), product, version, 5); err == nil {
		t.Error("whoever may not ask is answered")
	}
	refusal = nil
	found, err := there.Log(bounded(t), product, version, 1<<20)
	if err != nil || found == nil || found.Node != "there" || len(found.Lines) != 2 || found.Lines[0] != "one" ||
		found.Lines[1] != "not \ufffd UTF-8" {
		t.Fatalf("got %+v, %v", found, err)
	}
	if m.lines != 10_000 {
		t.Errorf("it was asked for %d lines", m.lines)
	}
	if found, err := there.Log(bounded(t), product, "9", 5); err != nil || found != nil {
		t.Errorf("where there is no instance: %+v, %v", found, err)
	}
	m.err = &resources.Error{Class: resources.ClassUnavailable, Code: "not-ready", Message: "the node is starting"}
	if _, err = there.Log(bounded(t), product, version, 5); resources.AsError(err).Code != "not-ready" {
		t.Errorf("got %v, want what it says", err)
	}
	link.cut()
	_, err = there.Log(bounded(t), product, version, 5)
	wantFault(t, err, driverpb.Class_CLASS_TRANSIENT, "node-unreachable")
}

func TestAnOlderMemberHasNoLogs(t *testing.T) {
	_, link := pair(t, &backend{})
	_, err := relay.RemoteMeters(link).Log(bounded(t), product, version, 5)
	if got := resources.AsError(err); got == nil || got.Code != "no-logs" || got.Remedy == "" {
		t.Errorf("got %v", err)
	}
}
