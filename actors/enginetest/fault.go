package enginetest

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// What goes wrong at a call of the driver.
type What string

// What can go wrong.
const (
	// Refuse answers with an error; the driver does not hear of the call.
	Refuse What = "refuse"
	// RefuseAfter has the driver do it, and answers with an error.
	RefuseAfter What = "refuse-after"
	// Busy answers that it may work later; the driver does not hear of the call.
	Busy What = "busy"
	// LoseRequest breaks the connection before the driver hears of the call.
	LoseRequest What = "lose-request"
	// LoseAnswer has the driver do it, and nobody hears of it.
	LoseAnswer What = "lose-answer"
	// Delay holds the call back for a while.
	Delay What = "delay"
	// Hang has the driver do it and answer never: the caller waits for as long as it will.
	Hang What = "hang"
	// CrashBefore kills the driver before it hears of the call; it is started again after a while.
	CrashBefore What = "crash-before"
	// CrashAfter has the driver do it, and kills it before it can answer.
	CrashAfter What = "crash-after"
	// EngineCrashBefore kills the engine before the driver hears of the call; another one takes its state up.
	EngineCrashBefore What = "engine-crash-before"
	// EngineCrashAfter has the driver do it, and kills the engine before it hears of that.
	EngineCrashAfter What = "engine-crash-after"
	// Cancel asks for the operation to stop while the call hangs. The driver does not hear of the call. It is for
	// EveryFault; elsewhere call Zone.Cancel.
	Cancel What = "cancel"
)

// All is everything that can go wrong.
func All() []What {
	return []What{
		Refuse, RefuseAfter, Busy, LoseRequest, LoseAnswer, Delay, Hang, CrashBefore, CrashAfter, EngineCrashBefore,
		EngineCrashAfter, Cancel,
	}
}

// Fault is one thing that goes wrong at the border between engine and driver.
type Fault struct {
	// Product is the driver that it is for; "" = the one under test.
	Product string
	// Method of the contract ("CreateVolume"); "" = all that change something.
	Method string
	// Call counts those calls from when the fault was scripted, from 1; 0 = each of them.
	Call int
	What What
	// Err is what Refuse and RefuseAfter answer, as the sdk makes it; nil = a request that is wrong (CLASS_INVALID), so
	// that it is not tried again.
	Err error
	// For is how long Delay holds a call back, and how long a driver that crashed is down; 0 = one second.
	For time.Duration
}

// codeScripted is the code of errors that nobody but a script made.
const codeScripted = "scripted"

func (f Fault) err() error {
	if f.Err != nil {
		return f.Err
	}
	return sdk.Invalid(codeScripted, "", "refused by the test's script", "")
}

func (f Fault) span() time.Duration {
	if f.For == 0 {
		return time.Second
	}
	return f.For
}

// lost is what a caller sees of a connection that broke.
func lost() error {
	return status.Error(codes.Unavailable, "the connection was broken by the test's script")
}

func busy() error { return sdk.Transient(codeScripted, "busy, by the test's script") }
