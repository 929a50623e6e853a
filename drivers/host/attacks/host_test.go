package attacks_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// asking is an attack by a request to the host, which refuses at every level.
func asking(name string, try func(*hostile) error) attack {
	return attack{name: name, stops: []string{byHost}, try: try, needsHost: true}
}

func launching(name string, launch *driverpb.Launch) attack {
	return asking(name, func(h *hostile) error { return h.launch(launch) })
}

func launchAttacks() []attack {
	sleep := []string{sleepProgram, "1000"}
	return []attack{
		launching("launch a program that is not declared", &driverpb.Launch{Unit: "u", Argv: []string{"/bin/sh"}}),
		launching("launch one by another path to it", &driverpb.Launch{Unit: "u", Argv: []string{"/bin/../bin/sh"}}),
		launching("launch with a capability that is not declared",
			&driverpb.Launch{Unit: "u", Argv: sleep, Capabilities: []string{"sys_admin"}}),
		launching("launch with a device that is not declared",
			&driverpb.Launch{Unit: "u", Argv: sleep, Devices: []string{"/dev/kmsg"}}),
		launching("launch under a name that leads elsewhere", &driverpb.Launch{Unit: "../../sibling/u", Argv: sleep}),
		launching("launch in the network of any process",
			&driverpb.Launch{Unit: "u", Argv: sleep, NetNamespace: "/proc/1/ns/net"}),
		launching("launch in it by another path",
			&driverpb.Launch{Unit: "u", Argv: sleep, NetNamespace: "/run/netns/../../proc/1/ns/net"}),
		asking("launch more units than it may", launchMany),
		asking("look at a unit of a sibling", func(h *hostile) error {
			_, err := h.ask(&driverpb.HostRequest{Request: &driverpb.HostRequest_Inspect{
				Inspect: &driverpb.Inspect{Unit: h.at.SiblingUnit},
			}})
			return err
		}),
		asking("end a unit of a sibling", func(h *hostile) error {
			unit, err := h.terminate(h.at.SiblingUnit)
			if err == nil && unit.GetPid() == 0 {
				err = errors.New("it is taken for a unit of the driver's own")
			}
			return err
		}),
	}
}

func launchMany(h *hostile) error {
	for n := range mostUnits + 1 {
		unit := fmt.Sprintf("many-%d", n)
		if err := h.launch(&driverpb.Launch{Unit: unit, Argv: []string{sleepProgram, "1000"}}); err != nil {
			return err
		}
		defer func() { _, _ = h.terminate(unit) }()
	}
	return nil
}

// placeAttacks ask for places that the driver itself may not reach.
func placeAttacks() []attack {
	at := func(change func(h *hostile, launch *driverpb.Launch) error) func(*hostile) error {
		return func(h *hostile) error {
			launch := &driverpb.Launch{Unit: "u", Argv: []string{sleepProgram, "1000"}}
			if err := change(h, launch); err != nil {
				return err
			}
			return h.launch(launch)
		}
	}
	return []attack{
		asking("launch with a file of the server to read", at(func(h *hostile, launch *driverpb.Launch) error {
			launch.ReadPaths = []string{h.at.Secret}
			return nil
		})),
		asking("launch with it through a link of its own", at(func(h *hostile, launch *driverpb.Launch) error {
			link := filepath.Join(os.Getenv("HOME"), "way")
			launch.ReadPaths = []string{link}
			return os.Symlink(h.at.Secret, link)
		})),
		asking("launch with a sibling's directory to write", at(func(h *hostile, launch *driverpb.Launch) error {
			launch.WritePaths = []string{h.at.Sibling}
			return nil
		})),
		asking("launch in a sibling's directory", at(func(h *hostile, launch *driverpb.Launch) error {
			launch.WorkDir = filepath.Join(h.at.Sibling, "x")
			return nil
		})),
		asking("launch in it through a link of its own", at(func(h *hostile, launch *driverpb.Launch) error {
			link := filepath.Join(os.Getenv("HOME"), "place")
			launch.WorkDir = filepath.Join(link, "x")
			return os.Symlink(h.at.Sibling, link)
		})),
		{name: "have the server connect to others", stops: []string{byHost}, tryAtHost: connectForIt},
		{name: "be granted the server's directory through a link", stops: []string{byHost}, tryAtHost: grantLink},
		{name: "declare the server's directory", stops: []string{byHost}, tryAtHost: declareState},
	}
}

// connectForIt has the server connect to a console that is a link to a socket of others.
func connectForIt(ctx context.Context, s *server) error {
	if _, err := s.order(ctx, s.hostile, orderLink); err != nil {
		return err
	}
	conn, err := s.host.Dial(ctx, s.hostile.Name(), filepath.Join(s.workDir("test.hostile"), "console"))
	if err != nil {
		return err
	}
	return conn.Close()
}

// grantLink puts a link where a grant of a pool below is to be.
func grantLink(ctx context.Context, s *server) error {
	pool := filepath.Join(s.dir, "pool")
	if err := s.host.EnsureGrants(ctx, s.hostile.Name(), []host.Grant{{Path: pool, ReadWrite: true}}); err != nil {
		return fmt.Errorf("granting the pool: %w", err)
	}
	link := filepath.Join(pool, "link")
	at := s.world
	at.Dir, at.Code = s.stateDir(), link
	if _, err := s.call(ctx, s.hostile, orderPlant, at); err != nil {
		return fmt.Errorf("planting the link: %w", err)
	}
	return s.host.EnsureGrants(ctx, s.hostile.Name(), []host.Grant{{Path: link, ReadWrite: true}})
}

func declareState(ctx context.Context, s *server) error {
	m := s.manifest("test/greedy")
	m.Permissions.Write = []string{filepath.Join(s.stateDir(), "drivers")}
	return s.runs(ctx, m)
}

// lieAttacks are drivers that say they are others.
func lieAttacks() []attack {
	lie := func(what, behaviour string) attack {
		return attack{name: what, stops: []string{byHost}, tryAtHost: func(ctx context.Context, s *server) error {
			m := s.manifest("test/liar-"+behaviour, behaviour)
			m.Timeouts.Start = 300 * time.Millisecond
			return s.runs(ctx, m)
		}}
	}
	return []attack{
		lie("say that it is another driver", liesAboutName),
		lie("say that it is another version", liesAboutVersion),
		lie("say that it serves something else", liesAboutCategory),
		lie("choose a contract that was not offered", liesAboutAPI),
		lie("say nothing", saysNothing),
	}
}

// floodAttacks are to make the server use more than it has.
func floodAttacks() []attack {
	return []attack{
		asking("ask the host with a huge request", func(h *hostile) error {
			return h.launch(&driverpb.Launch{Unit: "u", Argv: []string{sleepProgram, string(make([]byte, 3<<20))}})
		}),
		{
			name: "answer with 8 MiB", stops: []string{byHost},
			tryAtHost: func(ctx context.Context, s *server) error {
				_, err := s.order(ctx, s.hostile, orderHuge)
				return err
			},
		},
		{
			name: "have a handle of 1 MiB kept", stops: []string{byHost},
			tryAtHost: func(ctx context.Context, s *server) error {
				_, err := s.order(ctx, s.hostile, orderHandle)
				return err
			},
		},
		{name: "list things without end", stops: []string{byHost}, tryAtHost: observeWithoutEnd},
		{name: "ask the host without end, and do not listen", stops: []string{byHost}, tryAtHost: askWithoutEnd},
		{name: "fill the log", stops: []string{byHost}, tryAtHost: fillLog},
	}
}

// observeWithoutEnd listens as the engine does.
func observeWithoutEnd(ctx context.Context, s *server) error {
	stream, err := driverpb.NewBaseClient(s.hostile.Conn()).Observe(ctx, &driverpb.ObserveRequest{})
	if err != nil {
		return err
	}
	const bearable = 128 << 20
	for heard := 0; heard <= bearable; {
		found, err := stream.Recv()
		if err != nil {
			return limited(heard, bearable, err)
		}
		heard += len(found.GetName())
	}
	return nil
}

// askWithoutEnd counts what the server is kept busy with.
func askWithoutEnd(ctx context.Context, s *server) error {
	flooder, err := s.start(ctx, s.manifest("test/flooder"))
	if err != nil {
		return fmt.Errorf("starting the flooder: %w", err)
	}
	defer func() { _ = s.host.Stop(ctx, flooder.Name()) }()
	before, most := runtime.NumGoroutine(), 0
	if _, err := s.order(ctx, flooder, orderFlood); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < floodTime; time.Sleep(pollTime) {
		most = max(most, runtime.NumGoroutine()-before)
	}
	const bearable = 400
	return limited(most, bearable, errors.New("requests wait"))
}

const (
	floodTime = 500 * time.Millisecond
	pollTime  = 5 * time.Millisecond
)

// fillLog looks at how much of what a driver prints is kept.
func fillLog(ctx context.Context, s *server) error {
	filler, err := s.start(ctx, s.manifest("test/filler"))
	if err != nil {
		return fmt.Errorf("starting the filler: %w", err)
	}
	defer func() { _ = s.host.Stop(ctx, filler.Name()) }()
	if _, err := s.order(ctx, filler, orderLog); err != nil {
		return err
	}
	time.Sleep(floodTime) // of printing as fast as it can
	files, err := filepath.Glob(filepath.Join(s.stateDir(), "drivers", "test.filler", "1.0.0", "driver.log*"))
	if err != nil {
		return err
	}
	kept := 0
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			continue // rotated meanwhile
		}
		kept += int(info.Size())
	}
	const bearable = 4 << 20
	return limited(kept, bearable, errors.New("bytes are kept"))
}
