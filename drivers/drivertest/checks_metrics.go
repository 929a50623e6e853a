package drivertest

import (
	"bytes"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/instrument"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func (e *env) metrics() (*driverpb.MetricsReply, error) {
	ctx, cancel := e.patience()
	defer cancel()
	return e.base().Metrics(ctx, &driverpb.MetricsRequest{})
}

// unserved reports whether a driver says that it does not have a call.
func unserved(err error) bool {
	return sdk.FaultOf(err).GetClass() == driverpb.Class_CLASS_UNSUPPORTED || status.Code(err) == codes.Unimplemented
}

// metricsShown reads the metrics as a host does, by whom what breaks a rule is left out.
func metricsShown(e *env) {
	reply, err := e.metrics()
	if err != nil {
		e.Fatalf("metrics: %v", err)
	}
	read, err := instrument.Read(reply.GetText(), instrument.DefaultLimits())
	if err != nil {
		e.Fatalf("a host can't read them: %v", err)
	}
	for _, refused := range read.Refused {
		e.Errorf("a host leaves out %s", refused)
	}
	for _, f := range read.Families {
		if f.GetHelp() == "" {
			e.Errorf("%s has no HELP", f.GetName())
		}
	}
	for key, secret := range e.harness.Secrets {
		if len(secret) > 0 && bytes.Contains(reply.GetText(), []byte(secret)) {
			e.Errorf("they hold the secret %s", key)
		}
	}
}
