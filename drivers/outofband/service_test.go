package outofband_test

import (
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/outofband"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

var errLost = errors.New("the cable is out")

// chassis is a host whose power falls a while after it was told to.
type chassis struct {
	power      driverpb.Power
	delay      time.Duration
	identity   outofband.Identity
	refuse     error // of an order, which then has no effect
	lose       error // of an order, which has its effect
	mute       error // of questions, once an order came
	orders     []outofband.Action
	cuts, open int
	settle     func()
}

func (c *chassis) Identify(context.Context, outofband.Wanted) (outofband.Identity, error) {
	return c.identity, nil
}

func (c *chassis) Power(context.Context) (driverpb.Power, error) {
	if len(c.orders) > 0 && c.mute != nil {
		return driverpb.Power_POWER_OFF, c.mute
	}
	if c.settle != nil {
		c.settle()
	}
	return c.power, nil
}

func (c *chassis) Order(_ context.Context, action outofband.Action) error {
	c.orders = append(c.orders, action)
	if c.refuse != nil {
		return c.refuse
	}
	due := time.Now().Add(c.delay)
	c.settle = func() {
		if time.Now().Before(due) {
			return
		}
		c.settle = nil
		after := driverpb.Power_POWER_OFF
		if action == outofband.On {
			after = driverpb.Power_POWER_ON
		} else if c.power != after {
			c.cuts++
		}
		c.power = after
	}
	return c.lose
}

func (c *chassis) Close() { c.open-- }

func serve(c *chassis, workDir string) *outofband.Service {
	return outofband.Serve(outofband.Driver{
		Limits: outofband.Limits{DefaultPort: 1}, WorkDir: workDir,
		Dial: func(context.Context, *driverpb.Call, outofband.Settings) (outofband.Controller, error) {
			c.open++
			return c, nil
		},
	})
}

func request(token string, properties map[string]any) *driverpb.PowerRequest {
	all := map[string]any{"address": "controller.example", "user": "root"}
	maps.Copy(all, properties)
	made, _ := structpb.NewStruct(all)
	return &driverpb.PowerRequest{Call: &driverpb.Call{
		Token: token, Resource: &driverpb.Ref{Kind: "host", Id: "host-1"}, Properties: made,
		Secrets: map[string]string{"password": "secret"},
	}}
}

func TestOffIsWhatTheControllerSaysAfterTheOrder(t *testing.T) {
	const unknown, denied = driverpb.Class_CLASS_UNKNOWN, driverpb.Class_CLASS_DENIED
	for _, test := range []struct {
		name    string
		host    chassis
		class   driverpb.Class // of the fault; none for success
		orders  int
		least   time.Duration // how long it takes
		patient map[string]any
	}{
		{name: "off already", host: chassis{power: driverpb.Power_POWER_OFF}},
		{name: "at once", host: chassis{power: driverpb.Power_POWER_ON}, orders: 1},
		{
			name: "late", orders: 1, least: 50 * time.Second,
			host: chassis{power: driverpb.Power_POWER_ON, delay: 50 * time.Second},
		},
		{name: "nobody can tell before", host: chassis{power: driverpb.Power_POWER_UNKNOWN}, orders: 1},
		{
			name: "too late", class: unknown, orders: 1, least: time.Minute,
			host: chassis{power: driverpb.Power_POWER_ON, delay: 2 * time.Minute},
		},
		{name: "the answer to the order is lost", host: chassis{power: driverpb.Power_POWER_ON, lose: errLost}, orders: 1},
		{
			name: "lost after the order", class: unknown, orders: 1,
			host: chassis{power: driverpb.Power_POWER_ON, mute: errLost},
		},
		{
			name: "busy", class: unknown, orders: 1,
			host: chassis{power: driverpb.Power_POWER_ON, refuse: sdk.Transient("busy", "busy")},
		},
		{
			name: "refused", class: denied, orders: 1,
			host: chassis{power: driverpb.Power_POWER_ON, refuse: sdk.Denied("no", "no", "ask")},
		},
		{
			name: "another host", class: driverpb.Class_CLASS_INVALID,
			host:    chassis{power: driverpb.Power_POWER_ON, identity: outofband.Identity{Serials: []string{"b", "c"}}},
			patient: map[string]any{"expectedSerial": "a"},
		},
		{
			name: "a host that says nothing of itself", class: driverpb.Class_CLASS_INVALID,
			host: chassis{power: driverpb.Power_POWER_ON}, patient: map[string]any{"expectedSerial": "a"},
		},
		{
			name: "the right host", orders: 1, patient: map[string]any{"expectedSerial": "A"},
			host: chassis{power: driverpb.Power_POWER_ON, identity: outofband.Identity{Serials: []string{" a "}}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				reply, err := serve(&test.host, t.TempDir()).PowerOff(t.Context(), request("t", test.patient))
				if got := sdk.FaultOf(err).GetClass(); got != test.class {
					t.Errorf("the outcome is %v, %v; want the class %s", reply, err, test.class)
				}
				if test.class == 0 && (reply.GetPower() != driverpb.Power_POWER_OFF || test.host.power != reply.GetPower()) {
					t.Errorf("the answer is %s, the host is %s", reply.GetPower(), test.host.power)
				}
				if len(test.host.orders) != test.orders || test.host.open != 0 {
					t.Errorf("%d orders, %d controllers left open", len(test.host.orders), test.host.open)
				}
				if took := time.Since(began); took < test.least || took > test.least+5*time.Second && test.least > 0 {
					t.Errorf("took %s, want %s or little more", took, test.least)
				}
			})
		})
	}
}

// TestADeadlineIsUnknown: what is under way when nobody waits any more is no success and no failure.
func TestADeadlineIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		host := &chassis{power: driverpb.Power_POWER_ON, delay: 20 * time.Second}
		_, err := serve(host, t.TempDir()).PowerOff(ctx, request("t", nil))
		if !errors.Is(err, context.DeadlineExceeded) { // which the SDK calls UNKNOWN
			t.Errorf("got %v", err)
		}
	})
}

func TestAnIgnoredShutdownIsAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := &chassis{power: driverpb.Power_POWER_ON, delay: time.Hour}
		ask := &driverpb.ShutDownHostRequest{Call: request("t", nil).GetCall(), GraceMs: 5000}
		_, err := serve(host, t.TempDir()).ShutDownHost(t.Context(), ask)
		if sdk.FaultOf(err).GetCode() != "shutdown-ignored" {
			t.Errorf("got %v", err)
		}
		host = &chassis{power: driverpb.Power_POWER_ON, mute: errLost}
		_, err = serve(host, t.TempDir()).ShutDownHost(t.Context(), ask)
		if sdk.FaultOf(err).GetClass() != driverpb.Class_CLASS_UNKNOWN {
			t.Errorf("of a controller that is lost: got %v", err)
		}
	})
}

// TestACycleGoesOnWhereItWas: wherever the process ends, the next one with its work directory cuts the power no second
// time.
func TestACycleGoesOnWhereItWas(t *testing.T) {
	for _, after := range []time.Duration{5 * time.Second, 15 * time.Second, 25 * time.Second, 35 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			host, dir := &chassis{power: driverpb.Power_POWER_ON, delay: 10 * time.Second}, t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			_, _ = serve(host, dir).CyclePower(ctx, request("t", nil)) // cut short, or not
			for range 2 {
				reply, err := serve(host, dir).CyclePower(t.Context(), request("t", nil))
				if err != nil || reply.GetPower() != driverpb.Power_POWER_ON || host.cuts != 1 {
					t.Errorf("after %s: %v, %v and %d cuts", after, reply, err, host.cuts)
				}
			}
			host.power, host.orders = driverpb.Power_POWER_OFF, nil // somebody else turned it off since
			reply, err := serve(host, dir).CyclePower(t.Context(), request("t", nil))
			if err != nil || reply.GetPower() != driverpb.Power_POWER_OFF || len(host.orders) > 0 {
				t.Errorf("asked once more: %v, %v and the orders %v", reply, err, host.orders)
			}
			host.power = driverpb.Power_POWER_ON
			if _, err := serve(host, dir).CyclePower(t.Context(), request("another", nil)); err != nil || host.cuts != 2 {
				t.Errorf("another token: %v and %d cuts", err, host.cuts)
			}
		})
	}
}

func TestAProbeSaysWhatIsWrong(t *testing.T) {
	missing := sdk.Denied("tool-missing", "the tool is missing", "install the tool")
	service := outofband.Serve(outofband.Driver{Ready: func() error { return missing }})
	reply, err := service.Probe(t.Context(), nil)
	if err != nil || reply.GetHealth() != driverpb.ProbeReply_HEALTH_UNREADY ||
		reply.GetReason() != "the tool is missing: install the tool" {
		t.Errorf("got %v, %v", reply, err)
	}
	host := &chassis{power: driverpb.Power_POWER_OFF}
	reply, err = serve(host, t.TempDir()).Probe(t.Context(), request("", nil).GetCall())
	if err != nil || reply.GetHealth() != driverpb.ProbeReply_HEALTH_READY {
		t.Errorf("of a controller that answers: %v, %v", reply, err)
	}
}
