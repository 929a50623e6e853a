package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"time"
)

// probeSocket, in the data directory, is where a workload looks into the process.
const probeSocket = "probe.sock"

// probe serves what a workload may ask of the process beside the node: profiles.
func probe(dataDir string, log *slog.Logger) error {
	path := filepath.Join(dataDir, probeSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing an old socket: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	if err != nil {
		return fmt.Errorf("listening for questions: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cpu", cpuProfile)
	mux.HandleFunc("GET /heap", func(w http.ResponseWriter, _ *http.Request) {
		runtime.GC()
		answer(w, pprof.Lookup("heap").WriteTo(w, 0))
	})
	s := &http.Server{
		Handler: mux, ReadHeaderTimeout: time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go s.Serve(listener) //nolint:errcheck // it ends with the process
	return nil
}

// cpuProfile profiles the processor for some seconds.
func cpuProfile(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.ParseFloat(r.FormValue("seconds"), 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var profile bytes.Buffer
	if err := pprof.StartCPUProfile(&profile); err != nil {
		answer(w, err)
		return
	}
	select {
	case <-r.Context().Done():
	case <-time.After(time.Duration(seconds * float64(time.Second))):
	}
	pprof.StopCPUProfile()
	_, err = profile.WriteTo(w)
	answer(w, err)
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// Probe asks the process for what is under a path: "/cpu?seconds=3" and "/heap"
// are profiles.
func (s *Server) Probe(ctx context.Context, path string) ([]byte, error) {
	socket := filepath.Join(s.Dir, probeSocket)
	c := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://server"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("asking the server for %s: %w", path, err)
	}
	reply, err := c.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the server for %s: %w", path, err)
	}
	defer reply.Body.Close()
	data, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d %s", reply.StatusCode, data)
	}
	if err != nil {
		return nil, fmt.Errorf("asking the server for %s: %w", path, err)
	}
	return data, nil
}
