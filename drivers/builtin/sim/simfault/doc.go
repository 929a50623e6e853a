// Package simfault is the language in which the simulator is told to misbehave: rules that say which calls go wrong,
// when, and how, and a plan that counts and decides. It knows words and numbers only: never the simulated world, the
// driver that acts on its decisions, or what a call does.
//
// A rule is a line of key=value words; rules are separated by newlines or semicolons:
//
//	call=CreateVolume nth=2 action=error class=transient code=array-busy
//	call=* resource=vol-* prob=0.05 seed=7 action=lose-answer
//	call=StartMachine times=1 name=first action=crash-after-effect
//
// # Which calls
//
//	call, kind, resource, token   globs (* and ?) on the method, the kind and id of the call's resource, the token;
//	                              default *
//	nth=N                         the Nth match only, and once only
//	every=N                       each Nth match
//	prob=P seed=S                 a match with probability P, decided by a generator started with S
//	times=N                       at most N firings; 0 = without end
//	name=X                        tells two rules of equal text apart: firings are counted per rule, over all
//	                              processes of a world and their restarts
//
// # What goes wrong
//
//	action=error          class=… code=… message=… field=… remedy=…
//	action=delay          for=2s jitter=500ms
//	action=hang           until the call is cancelled; for ever with ignore-cancel=true
//	action=crash-before-effect, crash-after-effect
//	                      the process kills itself
//	action=lose-answer    the effect happens and nobody hears of it before the call's deadline
//	action=lie-success    success without the effect
//	action=lie-size       the effect happens, sizes in the answer are wrong
//	action=slow-start     for=10s: what the process does first takes that long
//	action=flood-log      lines=10000
//	action=leak-memory    bytes=67108864
//
// # On the way of a machine
//
// Points on the way of a machine to another host are named like calls, so that rules can be about them:
// SendMachine.stream (half of it is sent), SendMachine.switch (the guest stands still), SendMachine.verdict (all is
// sent) and ReceiveMachine.arrive (all has come). There an error, a lost answer and a lie all mean that the stream is
// lost.
//
// Error, delay, hang, flood-log and leak-memory take at=before (the effect; default) or at=after.
package simfault
