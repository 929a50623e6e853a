package script

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// script is a program that speaks our documents. Between calls it remembers the driver-wide settings and nothing else.
type script struct {
	program  *program
	actions  []string
	category string
	exits    map[int]driverpb.Class
	filler   filler
	configured
}

func (s *script) serves(action string) bool { return slices.Contains(s.actions, action) }

// configured are the driver-wide settings.
type configured struct {
	mutex      sync.Mutex
	properties map[string]any
	secrets    map[string]string
}

func (c *configured) set(properties map[string]any, secrets map[string]string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.properties, c.secrets = maps.Clone(properties), maps.Clone(secrets)
}

// settings are the driver-wide ones and those of a call, which win.
func (c *configured) settings(call *driverpb.Call) (map[string]any, map[string]string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	properties, secrets := map[string]any{}, map[string]string{}
	maps.Copy(properties, c.properties)
	maps.Copy(properties, call.GetProperties().AsMap())
	maps.Copy(secrets, c.secrets)
	maps.Copy(secrets, call.GetSecrets())
	return properties, secrets
}

// document is what the script is given of a call.
func (s *script) document(category, action string, in sdk.Request, until time.Time) *Call {
	call := in.GetCall()
	made := &Call{
		APIVersion: APIVersion, Category: category, Action: action, Token: call.GetToken(), Repeat: call.GetRepeat(),
		Epoch: call.GetEpoch(), Deadline: until.UTC(), HandleVersion: call.GetHandle().GetVersion(),
		Handle: handleValue(call.GetHandle()), Request: object(in.ProtoReflect()),
	}
	if ref := call.GetResource(); ref != nil {
		made.Resource = &Resource{Kind: ref.GetKind(), ID: ref.GetId()}
	}
	made.Properties, made.Secrets = s.settings(call)
	return made
}

// ask has the script do an action and fills reply with its answer.
func (s *script) ask(ctx context.Context, category, method string, in sdk.Request, reply proto.Message) error {
	answer, err := s.exchange(ctx, category, archive.ActionOf(method), in)
	if err != nil {
		return err
	}
	if err := s.filler.fill(reply, answer.Reply); err != nil {
		return badReply(err)
	}
	setHandle(reply, s.handle(answer, in.GetCall()))
	return nil
}

// exchange runs the script for an action and reads its answer.
func (s *script) exchange(ctx context.Context, category, action string, in sdk.Request) (*Reply, error) {
	if !s.serves(action) {
		return nil, sdk.Unsupported("not-served", "this driver does not do "+action)
	}
	ctx, until, cancel := s.program.within(ctx)
	defer cancel()
	document := s.document(category, action, in, until)
	text, err := json.Marshal(document)
	if err != nil {
		return nil, sdk.Internal("encoding-call", err)
	}
	ended, err := s.program.execute(ctx, action, input{stdin: text}, document.Secrets)
	if err != nil {
		return nil, err
	}
	return s.judge(ctx, action, ended, document.Secrets)
}

// handle is the resource's handle after an answer.
func (s *script) handle(answer *Reply, call *driverpb.Call) *driverpb.Handle {
	switch {
	case !answer.HasHandle:
		return call.GetHandle()
	case string(answer.Handle) == "null":
		return &driverpb.Handle{}
	}
	return &driverpb.Handle{Version: s.filler.version, Data: answer.Handle}
}

// setHandle puts a handle into a reply that has a place for it.
func setHandle(reply proto.Message, handle *driverpb.Handle) {
	message := reply.ProtoReflect()
	field := message.Descriptor().Fields().ByName(handleField)
	if field != nil && handle != nil {
		message.Set(field, protoreflect.ValueOfMessage(handle.ProtoReflect()))
	}
}

// Configure implements sdk.Resources.
func (s *script) Configure(ctx context.Context, properties map[string]any, secrets map[string]string) error {
	s.set(properties, secrets)
	if !s.serves("configure") {
		return nil
	}
	return s.ask(ctx, s.category, "Configure", &driverpb.ProbeRequest{}, &driverpb.ConfigureReply{})
}

// Probe implements sdk.Resources. A script that does not serve it is ready when it can be executed.
func (s *script) Probe(ctx context.Context, call *driverpb.Call) (*driverpb.ProbeReply, error) {
	reply := s.program.ready()
	if !s.serves("probe") || reply.GetHealth() != driverpb.ProbeReply_HEALTH_READY {
		return reply, nil
	}
	err := s.ask(ctx, s.category, "Probe", &driverpb.ProbeRequest{Call: call}, reply)
	return reply, err
}

// Adopt implements sdk.Resources. A script that does not serve it takes every handle as it is.
func (s *script) Adopt(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	if !s.serves("adopt") {
		return call.GetHandle(), nil
	}
	reply := &driverpb.OutcomeReply{}
	err := s.ask(ctx, s.category, "Adopt", &driverpb.AdoptRequest{Call: call}, reply)
	return reply.GetHandle(), err
}

// Release implements sdk.Resources. A script that does not serve it has nothing to let go of.
func (s *script) Release(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	if !s.serves("release") {
		return call.GetHandle(), nil
	}
	reply := &driverpb.OutcomeReply{}
	err := s.ask(ctx, s.category, "Release", &driverpb.ReleaseRequest{Call: call}, reply)
	return reply.GetHandle(), err
}

// Observe implements sdk.Resources.
func (s *script) Observe(ctx context.Context, call *driverpb.Call, found func(*driverpb.Observed) error) error {
	answer, err := s.exchange(ctx, s.category, "observe", &driverpb.ObserveRequest{Call: call})
	if err != nil {
		return err
	}
	list, ok := answer.Reply["observed"].([]any)
	if !ok || len(answer.Reply) != 1 {
		return badReply(errors.New(`the reply must have a list "observed" and nothing else`))
	}
	for i, item := range list {
		one := &driverpb.Observed{}
		object, ok := item.(map[string]any)
		if !ok {
			return badReply(fmt.Errorf("reply.observed[%d] must be an object", i))
		}
		if err := s.filler.fill(one, object); err != nil {
			return badReply(fmt.Errorf("reply.observed[%d]: %w", i, err))
		}
		if err := found(one); err != nil {
			return err
		}
	}
	return nil
}
