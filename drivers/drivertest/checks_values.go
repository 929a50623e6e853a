package drivertest

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// allowed are the values of a property at the edges of what its description allows. What is free text, a path or a
// secret means something outside, and is not tried.
func allowed(p *driverpb.Property) []*structpb.Value {
	if p.GetSecret() || p.GetPathAccess() != driverpb.Property_ACCESS_NONE {
		return nil
	}
	all := slices.Clone(p.GetEnum())
	switch {
	case len(all) > 0:
	case p.GetType() == driverpb.Property_TYPE_BOOLEAN:
		all = append(all, structpb.NewBoolValue(true), structpb.NewBoolValue(false))
	case p.GetType() == driverpb.Property_TYPE_NUMBER:
		if p.Min != nil {
			all = append(all, structpb.NewNumberValue(p.GetMin()))
		}
		if p.Max != nil {
			all = append(all, structpb.NewNumberValue(p.GetMax()))
		}
	}
	if p.GetDefault() != nil {
		all = append(all, p.GetDefault())
	}
	return all
}

// sensible holds the answer to a value that the description allows to what the contract leaves open: it is taken, or it
// is refused so that a user knows which setting to change.
func (e *env) sensible(p *driverpb.Property, value *structpb.Value, err error) {
	e.Helper()
	fault := faultOf(err)
	switch class := fault.GetClass(); {
	case err == nil:
	case class == driverpb.Class_CLASS_INTERNAL, class == driverpb.Class_CLASS_UNKNOWN, class == 0:
		e.Errorf("%s = %v is allowed by its description, and answered with %v", p.GetKey(), value.AsInterface(), err)
	case class == driverpb.Class_CLASS_INVALID && fault.GetField() != "/properties/"+p.GetKey():
		e.Errorf("%s = %v is allowed by its description, and refused naming the field %q", p.GetKey(),
			value.AsInterface(), fault.GetField())
	}
}

func valuesTaken(e *env, k kind) {
	for _, p := range e.harness.about.properties {
		for _, value := range allowed(p) {
			switch p.GetScope() {
			case scopeOf(k):
				e.openedWith(k, p, value)
			case resourceOf(k):
				e.madeWith(k, p, value)
			}
		}
	}
}

// madeWith makes a resource with one property changed.
func (e *env) madeWith(k kind, p *driverpb.Property, value *structpb.Value) {
	e.Helper()
	s := k.setUp(e)
	request := s.create(e)
	callOf(request).Properties.Fields[p.GetKey()] = value
	_, err := e.try(s.makes, request)
	e.sensible(p, value, err)
	if err == nil {
		s.gone(e)
	}
}

// openedWith opens a scope with one property changed.
func (e *env) openedWith(k kind, p *driverpb.Property, value *structpb.Value) {
	e.Helper()
	in := e.newScope(scopeOf(k))
	in.properties = Properties{}
	maps.Copy(in.properties, e.newScope(scopeOf(k)).properties)
	in.properties[p.GetKey()] = value.AsInterface()
	method, request := openMethod(in.ref.GetKind()), proto.Message(nil)
	if method == "" {
		w := wire{scope: in, spec: e.harness.Networks.Spec(e.T)}
		method, request = driverpb.Networks_DesignNetwork_FullMethodName, e.networkRequest(w)
	} else {
		request = e.openRequest(in)
	}
	_, err := e.try(method, request)
	e.sensible(p, value, err)
	if closing := closeMethod(in.ref.GetKind()); err == nil && closing != "" {
		if _, err := e.try(closing, e.closeRequest(in)); err != nil {
			e.Errorf("closing what was opened with %s = %v: %v", p.GetKey(), value.AsInterface(), err)
		}
	}
}

// configured configures the driver with one property changed, and then as before.
func (e *env) configured(p *driverpb.Property, value *structpb.Value) {
	e.Helper()
	changed := Properties{}
	maps.Copy(changed, e.harness.Properties)
	changed[p.GetKey()] = value.AsInterface()
	for _, properties := range []Properties{changed, e.harness.Properties} {
		ctx, cancel := e.patience()
		_, err := e.base().Configure(ctx,
			&driverpb.ConfigureRequest{Properties: e.structOf(properties), Secrets: e.harness.Secrets})
		cancel()
		if err != nil {
			e.checkFault(driverpb.Base_Configure_FullMethodName, err)
		}
		e.sensible(p, value, err)
	}
}
