package script_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/script"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// TestMain is also the stage that drivers are confined in, and what runs scripts.
func TestMain(m *testing.M) {
	sandbox.RunStageIfAsked()
	if dir, ok := script.Asked(); ok {
		os.Exit(script.Main(dir))
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests start drivers as users of their own: run them as root")
		os.Exit(1)
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		code = 1
	}
	os.Exit(code)
}

// declared is a driver.yaml with more lines.
func declared(categories, actions string, more ...string) string {
	return `apiVersion: bulkhead.dev/v1
kind: driver
name: example/shelf
version: 1.0.0
description: Volumes on a shelf.
categories: [` + categories + `]
license: MIT
author: Example
contract: {min: 1, max: 1}
entry: {any: {command: code/driver}}
handles: {reads: [1, 2], writes: 2}
script:
  protocol: json
  actions: [` + actions + `]
` + strings.Join(more, "\n")
}

// written writes an archive as it is unpacked. The program is written by a child: a file that this process writes is
// open in what other tests start meanwhile, and can't be executed then.
func written(t *testing.T, declaration, program string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "driver.yaml"), []byte(declaration), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "code"), 0o700); err != nil {
		t.Fatal(err)
	}
	write := exec.Command("/bin/sh", "-c", `cat > "$1" && chmod 755 "$1"`, "sh", filepath.Join(dir, "code", "driver"))
	write.Stdin = strings.NewReader(program)
	if err := write.Run(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// served is a driver that is served in this process, and what it logged.
type served struct {
	conn grpc.ClientConnInterface
	work string
	log  *lines
}

type lines struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (l *lines) Write(text []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(text)
}

func (l *lines) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.String()
}

// serve serves the driver of an unpacked archive.
func serve(t *testing.T, dir string) served {
	t.Helper()
	s := served{work: t.TempDir(), log: &lines{}}
	driver, err := script.New(sdk.Environment{
		Instance: "example.shelf@1.0.0", WorkDir: s.work, Log: slog.New(slog.NewTextHandler(s.log, nil)),
	}, dir)
	if err != nil {
		t.Fatal(err)
	}
	short, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(short, "s")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sdk.ServeListener(ctx, listener, driver, nil) }()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	s.conn = conn
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(conn.Close(), <-done, os.RemoveAll(short)); err != nil {
			t.Error(err)
		}
		if left, err := filepath.Glob(filepath.Join(s.work, "calls", "*", "*")); err != nil || len(left) > 0 {
			t.Errorf("calls left %v, %v", left, err)
		}
	})
	return s
}

// script serves a shell script that serves actions.
func shell(t *testing.T, actions, text string, more ...string) served {
	t.Helper()
	return serve(t, written(t, declared("storage", actions, more...), "#!/bin/sh\n"+text))
}

// soon is a context for one call.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func call(t *testing.T, token string) *driverpb.Call {
	t.Helper()
	properties, err := structpb.NewStruct(map[string]any{"path": "/srv", "tier": 2, "thin": true})
	if err != nil {
		t.Fatal(err)
	}
	return &driverpb.Call{
		Token: token, Epoch: 3, Resource: &driverpb.Ref{Kind: "pool", Id: "pool-1"}, Properties: properties,
		Secrets: map[string]string{"password": "open sesame"},
	}
}

// openPool asks for one.
func (s served) openPool(t *testing.T, token string) (*driverpb.PoolReply, error) {
	t.Helper()
	return driverpb.NewStorageClient(s.conn).OpenPool(soon(t), &driverpb.OpenPoolRequest{Call: call(t, token)})
}
