package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// checker compares what was promised with what there is.
type checker struct {
	report *report
	client *client.Client
	ledger *ledger
	dir    string
	real   bool
	spaces []string // network namespaces that were there before
	homes  []home

	phases map[string]map[string]string // kind, id -> phase
	rules  map[string][]string          // network -> rule and ports, of those in force
	nics   map[string][]string          // network -> nic
	places map[string]string            // id -> node, or id of what it is in or on
	facts  map[string]fact              // by id, what the state says of hardware
}

// home is where a node has its things.
type home struct{ name, dir string }

const (
	// maxFindings is how many of a kind are told.
	maxFindings = 8
	// restTimes is how many times as long as it took to look at all operations they are left alone: they wait for that.
	restTimes = 9
)

func (c *checker) find(counter *int, format string, args ...any) {
	if *counter++; *counter <= maxFindings {
		c.report.Findings = append(c.report.Findings, fmt.Sprintf(format, args...))
	}
}

func (c *checker) run(ctx context.Context, patience time.Duration) error {
	operations, err := c.settle(ctx, patience)
	if err != nil {
		return err
	}
	if err := c.read(ctx); err != nil {
		return err
	}
	c.promises(operations)
	c.reasons(operations)
	c.limbo()
	for _, twice := range c.ledger.twice {
		c.find(&c.report.Duplicated, "%s", twice)
	}
	for _, mistake := range c.ledger.mistakes {
		c.find(&c.report.Unexplained, "%s", mistake)
	}
	if c.real {
		return errors.Join(c.disks(), c.networks(ctx))
	}
	return c.truth(operations)
}

// settle waits until every operation has ended.
func (c *checker) settle(ctx context.Context, patience time.Duration) (map[string]map[string]any, error) {
	deadline := time.Now().Add(patience)
	for {
		began := time.Now()
		list, err := c.client.All(ctx, "/v1/operations")
		if err != nil {
			return nil, err
		}
		byID, open := map[string]map[string]any{}, []string{}
		for _, op := range list {
			byID[fmt.Sprint(op["id"])] = op
			if phase := fmt.Sprint(op["phase"]); !slices.Contains([]string{"succeeded", "failed", "cancelled"}, phase) {
				open = append(open, fmt.Sprintf("%v of %v is %s: %v", op["action"], op["target"], phase, op["message"]))
			}
		}
		if len(open) == 0 {
			return byID, nil
		}
		if time.Now().After(deadline) {
			for _, o := range open {
				c.find(&c.report.Stuck, "%s", o)
			}
			return byID, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the operations to end: %w", ctx.Err())
		case <-time.After(max(200*time.Millisecond, restTimes*time.Since(began))):
		}
	}
}

// read reads all resources.
func (c *checker) read(ctx context.Context) error {
	c.phases, c.rules, c.nics = map[string]map[string]string{}, map[string][]string{}, map[string][]string{}
	c.places, c.facts = map[string]string{}, map[string]fact{}
	uncounted := []resources.Kind{
		resources.KindOperation, resources.KindZone, resources.KindToken, resources.KindDriver,
	}
	for _, d := range resources.Definitions() {
		if slices.Contains(uncounted, d.Kind) {
			continue
		}
		list, err := c.client.All(ctx, "/v1/"+d.Plural)
		if err != nil {
			return err
		}
		byID := map[string]string{}
		for _, r := range list {
			byID[fmt.Sprint(r["id"])] = fmt.Sprint(r["phase"])
			c.noteNetwork(d.Kind, r)
			c.notePlace(r)
			c.noteFact(d.Kind, r)
		}
		c.phases[string(d.Kind)] = byID
	}
	return nil
}

// noteNetwork notes what a network's hardware must have of a rule or a nic.
func (c *checker) noteNetwork(kind resources.Kind, r map[string]any) {
	spec, _ := r["spec"].(map[string]any)
	status, _ := r["status"].(map[string]any)
	network := fmt.Sprint(spec["networkId"])
	switch {
	case kind == resources.KindNic:
		c.nics[network] = append(c.nics[network], fmt.Sprint(r["id"]))
	case kind == resources.KindRule && status["inForce"] == true:
		c.rules[network] = append(c.rules[network], fmt.Sprint(r["id"], " ", spec["ports"]))
	}
}

// promises looks that every operation that was accepted is known, and that what
// was created and not deleted is there.
func (c *checker) promises(operations map[string]map[string]any) {
	deleted := map[string]bool{}
	for _, op := range operations {
		if op["action"] == "delete" && op["phase"] == "succeeded" {
			target, _ := op["target"].(map[string]any)
			deleted[fmt.Sprint(target["id"])] = true
		}
	}
	for _, a := range c.ledger.accepted {
		op, known := operations[a.id]
		if !known {
			c.find(&c.report.Lost, "operation %s (%s of %s %s) was accepted and is not known", a.id, a.action, a.kind, a.target)
			continue
		}
		switch op["phase"] {
		case "succeeded":
			c.report.Succeeded++
		default:
			c.report.Failed++
		}
		_, there := c.phases[a.kind][a.target]
		if a.action == "create" && op["phase"] == "succeeded" && !there && !deleted[a.target] {
			c.find(&c.report.Lost, "%s %s was created and is not there", a.kind, a.target)
		}
	}
}

// reasons looks that no operation failed for a reason that lies in the server: the workload asks for more than there is
// and for what is in the way of something else, and all else is tried again until it is done.
func (c *checker) reasons(operations map[string]map[string]any) {
	explained := []string{"invalid", "not-found", "conflict", "exhausted"}
	for id, op := range operations {
		why, failed := op["error"].(map[string]any)
		if !failed {
			continue
		}
		if why["class"] == "cancelled" && op["cancel"] == true || ranOut(op, why) && followed(op, operations) {
			continue
		}
		if why["code"] == "token-reused" || !slices.Contains(explained, fmt.Sprint(why["class"])) {
			c.find(&c.report.Unexplained, "operation %s, %v of %v, failed: %v", id, op["action"], op["target"], why)
		}
	}
}

// ranOut reports whether a hand-over was given up because its time was over while its driver was away: it was taken
// back, and its swap asks for it again or is taken back, too.
func ranOut(op, why map[string]any) bool {
	deadline, err := time.Parse(time.RFC3339Nano, fmt.Sprint(op["deadline"]))
	ended, err2 := time.Parse(time.RFC3339Nano, fmt.Sprint(op["endedAt"]))
	return err == nil && err2 == nil && op["action"] == "rebind" && ended.After(deadline) &&
		slices.Contains([]string{"unknown", "unavailable"}, fmt.Sprint(why["class"]))
}

// followed reports whether its swap did not take a hand-over that failed for one that succeeded: another one did, or
// what it was for is gone, or the swap was taken back.
func followed(op map[string]any, operations map[string]map[string]any) bool {
	swap, known := operations[fmt.Sprint(op["parentId"])]
	if known && swap["phase"] != "succeeded" {
		return true
	}
	for _, other := range operations {
		if other["phase"] != "succeeded" || fmt.Sprint(other["target"]) != fmt.Sprint(op["target"]) {
			continue
		}
		again := other["action"] == "rebind" &&
			fmt.Sprint(other["arguments"]) == fmt.Sprint(op["arguments"]) && other["parentId"] == op["parentId"]
		if again || other["action"] == "delete" {
			return true
		}
	}
	return false
}

// limbo looks for resources that are on the way with nobody on it.
func (c *checker) limbo() {
	for kind, byID := range c.phases {
		for id, phase := range byID {
			if strings.HasSuffix(phase, "ing") && phase != "running" {
				c.find(&c.report.Stuck, "%s %s is %s and no operation runs", kind, id, phase)
			}
		}
	}
}

func physical(kind string) bool {
	return slices.Contains([]string{
		"pool", "volume", "snapshot", "image-store", "template", "host", "network", "nic", "machine",
	}, kind)
}

// isReal reports whether the hardware must have a resource.
func (c *checker) isReal(kind, id string) bool {
	phase := c.phases[kind][id]
	if kind == "machine" {
		return phase == "running" || phase == "paused"
	}
	return phase == "ready" || phase == "degraded"
}

// clean deletes what real guests and disks there are, and looks that nothing is left.
func (c *checker) clean(ctx context.Context) error {
	if !c.real {
		return nil
	}
	for _, plural := range []string{"snapshots", "machines", "volumes", "templates", "rules", "networks"} {
		list, err := c.client.All(ctx, "/v1/"+plural)
		if err != nil {
			return err
		}
		for _, r := range list {
			path := fmt.Sprintf("/v1/%s/%s?wait=60s", plural, r["id"])
			if _, err := c.client.Insist(ctx, http.MethodDelete, path, nil); err != nil {
				return err
			}
		}
	}
	return c.leftovers()
}
