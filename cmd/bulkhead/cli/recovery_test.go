package cli_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestLostHostsAreShownAndReleased: what is released is what went by the zone's clock, whatever this computer's says.
func TestLostHostsAreShownAndReleased(t *testing.T) {
	s := newSite(t, false)
	s.zone.Add(&resources.Zone{Meta: resources.Meta{Kind: resources.KindZone, Name: "zone", Phase: resources.PhaseReady}})
	s.zone.Add(&resources.Host{Meta: resources.Meta{Kind: resources.KindHost, Name: "well", Phase: resources.PhaseReady}})
	for args, want := range map[string]string{
		"status": "All hosts answer.\n", "release": "All hosts answer: there is nothing to release.\n",
	} {
		if r := s.run("ha", args); r.code != 0 || r.out != want {
			t.Errorf("ha %s: exit %d %q %s", args, r.code, r.out, r.err)
		}
	}
	went := time.Now().Add(time.Hour).UTC() // the zone's clock is ahead
	for i, name := range []string{"h1", "h2"} {
		since := went.Add(time.Duration(i) * time.Millisecond)
		h := &resources.Host{
			Meta:   resources.Meta{Kind: resources.KindHost, Name: name, Phase: resources.PhaseDegraded},
			Status: resources.HostStatus{Suspicion: &resources.Suspicion{Since: since}},
		}
		if name == "h2" {
			h.Status.Fence = &resources.Fence{Proof: resources.ProofAttested, By: "mary", Suspicion: since}
			h.Status.Alarm = &resources.Alarm{Message: "machine web can't be started elsewhere"}
		}
		s.zone.Add(h)
	}
	r := s.run("ha", "status")
	for _, words := range []string{"h1", "h2", "attested by mary", "machine web can't be started elsewhere"} {
		if !strings.Contains(r.out, words) || strings.Contains(r.out, "well") {
			t.Errorf("it shows\n%s", r.out)
		}
	}
	if r := s.run("ha", "release"); r.code != 0 {
		t.Fatalf("exit %d %s", r.code, r.err)
	}
	done := s.zone.Submissions()
	zone, _ := done[len(done)-1].Resource.(*resources.Zone)
	if got := zone.Spec.Recovery.ReleasedAt; !got.Equal(went.Add(time.Millisecond)) {
		t.Errorf("released is what went until %v, want %v", got, went.Add(time.Millisecond))
	}
	h := s.zone.Add(&resources.Host{
		Meta:   resources.Meta{Kind: resources.KindHost, Name: "h3", Phase: resources.PhaseReady},
		Spec:   resources.HostSpec{OutOfBand: &resources.OutOfBand{Driver: "bulkhead/sim"}},
		Status: resources.HostStatus{Power: "off"},
	})
	want := "host h3: its controller says that its power is off\n"
	if r := s.run("host", "power-status", h); r.code != 0 || !strings.HasSuffix(r.out, want) {
		t.Errorf("the power: exit %d %q %s", r.code, r.out, r.err)
	}
	s.settings()
}

// settings changes those of the recovery.
func (s *site) settings() {
	s.t.Helper()
	r := s.run("zone", "update", "--recovery-suspect", "5", "--recovery-fraction", "0.5", "--recovery-window", "60",
		"--recovery-at-once", "8")
	done := s.zone.Submissions()
	zone, _ := done[len(done)-1].Resource.(*resources.Zone)
	want := resources.RecoverySettings{SuspectSeconds: 5, Fraction: 0.5, WindowSeconds: 60, AtOnce: 8}
	if zone.Spec.Recovery.ReleasedAt = (time.Time{}); r.code != 0 || zone.Spec.Recovery != want {
		s.t.Errorf("exit %d %s: the settings are %+v", r.code, r.err, zone.Spec.Recovery)
	}
}
