package pki_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

func TestIdentitySaveLoad(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	dir := filepath.Join(t.TempDir(), "pki")
	_, err := pki.LoadIdentity(dir)
	wantError(t, err, pki.ErrNoIdentity, dir)
	for _, i := range []*pki.Identity{member(t, a, host("h1")), issue(t, b, host("h1"), epoch, trust(t, a, b))} {
		// What was left by one that was interrupted.
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, pki.IdentityFile+".tmp"), []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := i.Save(dir); err != nil {
			t.Fatal(err)
		}
		again := must[*pki.Identity](t)(pki.LoadIdentity(dir))
		if !bytes.Equal(again.MarshalPEM(), i.MarshalPEM()) || again.Name() != host("h1") || !again.Key().Equal(i.Key()) {
			t.Errorf("%v became %v", i.Name(), again.Name())
		}
		if got, want := again.Trust().String(), i.Trust().String(); got != want {
			t.Errorf("it trusts the %s, not the %s", got, want)
		}
	}
	files := must[[]os.DirEntry](t)(os.ReadDir(dir))
	info := must[os.FileInfo](t)(os.Stat(filepath.Join(dir, pki.IdentityFile)))
	if len(files) != 1 || info.Mode() != 0o600 {
		t.Errorf("there are %v, of mode %s", files, info.Mode())
	}
}

func TestIdentityIsMadeInASafePlace(t *testing.T) {
	i, dir := member(t, newAuthority(t), node("n1")), filepath.Join(t.TempDir(), "pki")
	if err := i.Save(dir); err != nil {
		t.Fatal(err)
	}
	if info := must[os.FileInfo](t)(os.Stat(dir)); info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %s", info.Mode())
	}
	if err := i.Save(filepath.Join(dir, "a", "b")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("saved where there is nothing: %v", err)
	}
	damaged := append([]byte("x"), i.MarshalPEM()...)
	if err := os.WriteFile(filepath.Join(dir, pki.IdentityFile), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := pki.LoadIdentity(dir)
	wantError(t, err, pki.ErrCorrupt, dir)
}

func TestNewIdentityRefuses(t *testing.T) {
	a := newAuthority(t)
	i, other := member(t, a, node("n1")), must[*ecdsa.PrivateKey](t)(pki.NewKey())
	if _, err := pki.NewIdentity(other, i.Certificate().Raw, i.Trust()); err == nil {
		t.Error("key and certificate of two are an identity")
	}
	_, err := pki.NewIdentity(i.Key(), i.Certificate().Raw[1:], i.Trust())
	wantError(t, err, pki.ErrCorrupt)
	foreign := must[*pki.Authority](t)(pki.NewAuthority("other", epoch))
	_, err = pki.NewIdentity(i.Key(), i.Certificate().Raw, trust(t, foreign))
	wantError(t, err, pki.ErrForeign, "node n1", clusterID, "other")
}

func TestRenewAt(t *testing.T) {
	i := member(t, newAuthority(t), node("n1"))
	want := epoch.Add(-pki.Backdate).Add((pki.DefaultLifetime + pki.Backdate) * 2 / 3)
	if got := i.RenewAt(); !got.Equal(want) {
		t.Errorf("it is renewed at %s, not %s", got, want)
	}
}

func TestIdentityCheck(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	i := member(t, a, node("n1"))
	if err := i.Check(epoch); err != nil {
		t.Error(err)
	}
	wantError(t, i.Check(epoch.Add(-time.Hour)), pki.ErrClock, "node n1", "55m0s earlier")
	wantError(t, i.Check(epoch.Add(pki.DefaultLifetime+time.Hour)), pki.ErrClock, "node n1", "1h0m0s later")
	distrusted := must[*pki.Identity](t)(i.WithTrust(trust(t, b)))
	wantError(t, distrusted.Check(epoch), pki.ErrUntrusted, "node n1", b.Pin())
}

func TestCheckClock(t *testing.T) {
	cert := member(t, newAuthority(t), node("n1")).Certificate()
	for name, test := range map[string]struct {
		off, elapsed time.Duration
		says         string
	}{
		"the same":         {},
		"minutes ahead":    {off: pki.Backdate},
		"minutes behind":   {off: -pki.Backdate},
		"slow answer":      {off: 20 * time.Minute, elapsed: 16 * time.Minute},
		"an hour ahead":    {off: time.Hour, says: "1h0m0s ahead of"},
		"an hour behind":   {off: -time.Hour, says: "1h0m0s behind"},
		"ahead and slow":   {off: time.Hour, elapsed: time.Minute, says: "59m0s ahead of"},
		"a year ahead":     {off: 365 * 24 * time.Hour, says: "8760h0m0s ahead of"},
		"seconds too many": {off: -pki.Backdate - time.Second, says: "5m1s behind"},
	} {
		err := pki.CheckClock(cert, epoch.Add(test.off), test.elapsed)
		if test.says != "" {
			t.Run(name, func(t *testing.T) { wantError(t, err, pki.ErrClock, test.says, "NTP") })
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// saver is a process that saves identities in turn, each of the next number.
type saver struct {
	cmd   *exec.Cmd
	saved chan int // closed when the process has ended
	last  int      // the last of which Save returned
}

func startSaver(t *testing.T, into string, identities []string) *saver {
	t.Helper()
	s := &saver{cmd: exec.Command(must[string](t)(os.Executable())), saved: make(chan int), last: -1}
	s.cmd.Env = append(os.Environ(), saverEnv+"="+
		strings.Join(append([]string{into}, identities...), string(filepath.ListSeparator)))
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() }) // if the test did not come so far
	go func() {
		defer close(s.saved)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				s.saved <- n
			}
		}
	}()
	return s
}

// wait returns when so many were saved.
func (s *saver) wait(t *testing.T, n int) {
	t.Helper()
	for s.last < n {
		saved, ok := <-s.saved
		if !ok {
			t.Fatalf("the process ended by itself after %d", s.last)
		}
		s.last = saved
	}
}

// drain reads what was said until the process ended, which whoever calls sees to.
func (s *saver) drain() {
	for n := range s.saved {
		s.last = n
	}
	_ = s.cmd.Wait()
}

// identities makes directories with an identity each, with keys and authorities of its own.
func identities(t *testing.T) (dirs []string, texts [][]byte) {
	t.Helper()
	for range 3 {
		i, dir := member(t, newAuthority(t), node("n1")), filepath.Join(t.TempDir(), "pki")
		if err := i.Save(dir); err != nil {
			t.Fatal(err)
		}
		dirs, texts = append(dirs, dir), append(texts, i.MarshalPEM())
	}
	return dirs, texts
}

// checkSaved checks that the last of which Save returned is there, or the next.
func (s *saver) checkSaved(t *testing.T, dir string, texts [][]byte) {
	t.Helper()
	i, err := pki.LoadIdentity(dir)
	if err != nil {
		t.Fatalf("after %d was saved: %v", s.last, err)
	}
	for n, text := range texts {
		if bytes.Equal(i.MarshalPEM(), text) {
			if n != s.last%len(texts) && n != (s.last+1)%len(texts) {
				t.Errorf("after %d was saved, the one from before is there", s.last)
			}
			return
		}
	}
	t.Errorf("after %d was saved, an identity is there that nobody saved", s.last)
}

func TestIdentitySurvivesKill(t *testing.T) {
	dirs, texts := identities(t)
	into := filepath.Join(t.TempDir(), "pki")
	for range 20 {
		s := startSaver(t, into, dirs)
		s.wait(t, rand.IntN(20))
		if err := s.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		s.drain()
		s.checkSaved(t, into, texts)
	}
}

func TestIdentitySurvivesPowerLoss(t *testing.T) {
	dirs, texts := identities(t)
	disk := powercut.New(t, 64<<20)
	into := filepath.Join(disk.Dir, "pki")
	for range 8 {
		s := startSaver(t, into, dirs)
		s.wait(t, rand.IntN(20))
		done := make(chan struct{})
		go func() { // The process must be able to speak until it is killed.
			defer close(done)
			s.drain()
		}()
		if err := disk.Cut(func() { _ = s.cmd.Process.Kill() }); err != nil {
			t.Fatal(err)
		}
		<-done
		disk.Restore(t)
		s.checkSaved(t, into, texts)
	}
}
