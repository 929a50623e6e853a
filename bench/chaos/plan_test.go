package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestAPlanFollowsFromTheSeedAndIsReadAsItWasWritten(t *testing.T) {
	kinds := map[string]bool{}
	for seed := range uint64(40) {
		p := newPlan(seed, 5*time.Minute, 3, 1, nil)
		if again := newPlan(seed, 5*time.Minute, 3, 1, nil); !reflect.DeepEqual(p, again) {
			t.Fatalf("seed %d gives two plans", seed)
		}
		path := filepath.Join(t.TempDir(), "plan.json")
		if err := keepPlan(path, p); err != nil {
			t.Fatal(err)
		}
		read, err := readPlan(path)
		if err != nil || !reflect.DeepEqual(p, read) {
			t.Fatalf("seed %d: read %+v, %v, want %+v", seed, read, err, p)
		}
		for _, s := range p.Steps {
			kinds[s.What] = true
			if s.Node == s.Other || s.Node >= 3 || s.Other >= 3 {
				t.Fatalf("seed %d: %+v", seed, s)
			}
		}
	}
	for _, kind := range usual(3, 1) {
		if !kinds[kind] {
			t.Errorf("forty plans have no %s", kind)
		}
	}
}

func TestWhatIsNoPlanIsRefused(t *testing.T) {
	const head = `{"seed":1,"duration":"5m0s","nodes":3}` + "\n"
	for name, text := range map[string]string{
		"nothing":      "",
		"words":        "kill n1",
		"no duration":  head + `{"after":"x","what":"cut","node":"n1","other":"n2","for":"1s","chance":"1"}`,
		"unknown node": head + `{"after":"1s","what":"cut","node":"n4","other":"n2","for":"1s","chance":"1"}`,
		"no agent":     head + `{"after":"1s","what":"kill-agent","node":"n1","other":"n2","for":"1s","chance":"1"}`,
		"no number":    head + `{"after":"1s","what":"cut","node":"one","other":"n2","for":"1s","chance":"1"}`,
	} {
		path := filepath.Join(t.TempDir(), "plan.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if p, err := readPlan(path); err == nil {
			t.Errorf("%s: read %+v", name, p)
		}
	}
}

// TestShrink has plans fail when two certain faults are in them, in this order.
func TestShrink(t *testing.T) {
	whole := newPlan(7, 5*time.Minute, 3, 1, nil)
	first, second := whole.Steps[5], whole.Steps[len(whole.Steps)-3]
	tried := 0
	s := &shrinker{until: time.Now().Add(time.Hour), try: func(_ context.Context, p plan) (bool, error) {
		tried++
		a, b := slices.Index(p.Steps, first), slices.Index(p.Steps, second)
		return a >= 0 && a < b, nil
	}}
	smallest, err := s.reduce(t.Context(), whole)
	if err != nil || !slices.Equal(smallest.Steps, []step{first, second}) {
		t.Errorf("of %d faults %+v are left, %v", len(whole.Steps), smallest.Steps, err)
	}
	if tried > 10*len(whole.Steps) {
		t.Errorf("it took %d runs", tried)
	}
	var text bytes.Buffer
	if err := printPlan(&text, smallest); err != nil || bytes.Count(text.Bytes(), []byte("\n")) != 3 {
		t.Errorf("printed %q, %v", text.String(), err)
	}
	s.until = time.Now()
	if left, err := s.reduce(t.Context(), whole); err != nil || len(left.Steps) != len(whole.Steps) {
		t.Errorf("without time %d of %d faults are left, %v", len(left.Steps), len(whole.Steps), err)
	}
}
