package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

// demo is one node with what runs on it.
type demo struct {
	settings
	report *report
	began  time.Time
	server *server.Server
	client *client.Client
	pool   string
	guests []*guest
	load   *load
	drives []*drive
	pauses map[string][]time.Duration // by driver
}

func run(ctx context.Context, s settings) (*report, error) {
	dir, err := os.MkdirTemp("/var/tmp", "bh-swap-") // short: sockets are in it
	if err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	d := &demo{
		settings: s, report: &report{Guests: s.guests}, began: time.Now(), pauses: map[string][]time.Duration{},
	}
	err = os.Chmod(dir, 0o711)
	if err == nil {
		d.server, err = server.New(dir)
	}
	if err == nil {
		err = d.run(ctx)
	}
	if s.keep {
		fmt.Fprintln(os.Stderr, "swapdemo: everything is kept in", dir)
		return d.report, err
	}
	return d.report, errors.Join(err, os.RemoveAll(dir))
}

func (d *demo) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, d.end()) }()
	if err := d.server.Start(); err != nil {
		return err
	}
	if d.client, err = d.server.Client(ctx); err != nil {
		return err
	}
	d.say("a node runs, in %s", d.server.Dir)
	if err := d.furnish(ctx); err != nil {
		return err
	}
	if err := d.install(ctx); err != nil {
		return err
	}
	if err := d.show(ctx); err != nil {
		return err
	}
	return d.remove(ctx)
}

// show swaps while callers work, and looks what they and the guests noticed.
func (d *demo) show(ctx context.Context) error {
	d.load = startLoad(ctx, d)
	began := time.Now()
	err := d.swapAll(ctx)
	d.load.stop()
	spell := time.Since(began)
	if err != nil {
		return errors.Join(err, d.load.failure())
	}
	d.checkGuests(ctx)
	if err := d.checkSizes(ctx); err != nil {
		return err
	}
	d.report.sum(spell)
	for _, v := range d.drives {
		p := pausesOf(v.product, d.pauses[v.product])
		d.report.Pauses = append(d.report.Pauses, p)
		d.say("%s: resources were handed over %d times; each was held for %.1f ms (median), %.1f ms (99 %%), %.1f ms at "+
			"most", p.Driver, p.HandedOver, p.P50, p.P99, p.Max)
	}
	r := d.report
	d.say("operations: %d asked for, %.1f a second, %d done, %d failed, %d lost, %d out of order; %d ms (median), %d ms "+
		"at most", r.Operations, r.Rate, r.Done, r.Failed, r.Lost, r.Reordered, r.P50, r.Slowest)
	d.say("guests: %d, %d of them started again; disks of another size than was asked for: %d", r.Guests, r.Restarted,
		r.WrongSizes)
	return nil
}

// say prints a step and when it was.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(os.Stdout, "%6.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// work lets the callers work for a while.
func (d *demo) work(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d.spell):
		return nil
	}
}

// done does what is asked for, and returns the operation once it has succeeded.
func (d *demo) done(ctx context.Context, path string, body any) (client.Answer, error) {
	answer, err := d.client.Insist(ctx, http.MethodPost, path+"?wait=60s", body)
	if err == nil && answer.Text("phase") != "succeeded" {
		err = refused("POST "+path, answer, nil)
	}
	return answer, err
}

// refused says what was answered to something that must succeed, if anything was.
func refused(what string, answer client.Answer, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %d %v", what, answer.Status, answer.Body)
}

func targetOf(operation client.Answer) string { return fmt.Sprint(operation.Part("target")["id"]) }

// end leaves nothing behind, whatever happened.
func (d *demo) end() error {
	if d.load != nil {
		d.load.stop()
	}
	errs := []error{d.server.Kill()}
	_, err := d.server.KillDrivers(func(int) bool { return true })
	errs = append(errs, err, d.killGuests())
	return errors.Join(append(errs, d.server.RemoveGroups(context.Background()))...)
}
