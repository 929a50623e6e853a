package sealing_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"filippo.io/age"

	"github.com/bulkhead-cloud/bulkhead/internal/node/sealing"
)

// pair is a public key and the file of its secret one.
type pair struct{ public, secret string }

func native(t *testing.T) pair {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{i.Recipient().String(), "# created: today\n\n" + i.String() + "\n"}
}

func postQuantum(t *testing.T) pair {
	t.Helper()
	i, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{i.Recipient().String(), i.String()}
}

// program runs a program of the distribution.
func program(t *testing.T, stdin []byte, name, packaged string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &errs
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("there is no %s: install %s (scripts/setup.sh does)", name, packaged)
	}
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, errs.String())
	}
	return out
}

func secureShell(t *testing.T, kind string, more ...string) pair {
	t.Helper()
	path := filepath.Join(t.TempDir(), "id")
	program(t, nil, "ssh-keygen", "openssh-client",
		append([]string{"-q", "-t", kind, "-N", "", "-C", "somebody, somewhere", "-f", path}, more...)...)
	return pair{strings.TrimSpace(string(read(t, path+".pub"))), string(read(t, path))}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func kept(t *testing.T, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func noPassphrase() (string, error) { return "", errors.New("a passphrase was asked for") }

func identities(t *testing.T, pairs ...pair) (all sealing.Identities) {
	t.Helper()
	for _, p := range pairs {
		i, err := sealing.ParseIdentities(strings.NewReader(p.secret), noPassphrase)
		if err != nil {
			t.Fatal(err)
		}
		all = all.And(i)
	}
	return all
}

func seal(t *testing.T, content []byte, recipients ...string) []byte {
	t.Helper()
	to, err := sealing.ParseRecipients(recipients)
	if err != nil {
		t.Fatal(err)
	}
	var w bytes.Buffer
	if err := sealing.Write(&w, to, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

func open(data []byte, i sealing.Identities) ([]byte, error) {
	r, _, err := sealing.Open(bytes.NewReader(data), i)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func TestEveryRecipientOpensWhatWasSealed(t *testing.T) {
	for name, all := range map[string][]pair{
		"native":       {native(t)},
		"two":          {native(t), native(t)},
		"post-quantum": {postQuantum(t), postQuantum(t)},
		"ssh":          {secureShell(t, "ed25519"), native(t)},
		"ssh rsa":      {secureShell(t, "rsa", "-b", "2048")},
	} {
		t.Run(name, func(t *testing.T) {
			var public []string
			for _, p := range all {
				public = append(public, p.public)
			}
			content := random(3 << 16) // whole chunks
			sealed := seal(t, content, public...)
			if bytes.Contains(sealed, content[:64]) {
				t.Error("it holds the clear text")
			}
			for i, p := range all {
				// Others beside the right one do no harm.
				got, err := open(sealed, identities(t, native(t), p))
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("recipient %d reads %d bytes, %v", i, len(got), err)
				}
			}
			if _, err := open(sealed, identities(t, native(t))); !errors.Is(err, sealing.ErrNotForUs) {
				t.Errorf("another reads it: %v", err)
			}
			if _, err := open(sealed, sealing.Identities{}); !errors.Is(err, sealing.ErrSealed) {
				t.Errorf("nobody reads it: %v", err)
			}
		})
	}
}

func TestWhatIsNotSealedIsReadAsItIs(t *testing.T) {
	for _, content := range []string{"", "short", "age-encryption", strings.Repeat("a backup ", 1000)} {
		plain := seal(t, []byte(content)) // to nobody
		if string(plain) != content {
			t.Errorf("%q is written as %q", content, plain)
		}
		for _, i := range []sealing.Identities{{}, identities(t, native(t))} {
			if got, err := open(plain, i); err != nil || string(got) != content {
				t.Errorf("%q is read as %q, %v", content, got, err)
			}
		}
	}
}

// What is written here is what the format says: a program that is not ours reads it, and the other way round.
func TestTheProgramOfAgeAgrees(t *testing.T) {
	content := random(200 << 10)
	for name, p := range map[string]pair{"native": native(t), "ssh": secureShell(t, "ed25519")} {
		t.Run(name, func(t *testing.T) {
			secret := kept(t, p.secret)
			sealed := seal(t, content, native(t).public, p.public)
			if got := program(t, sealed, "age", "age", "--decrypt", "--identity", secret); !bytes.Equal(got, content) {
				t.Errorf("age reads %d bytes, not what was sealed", len(got))
			}
			theirs := program(t, content, "age", "age", "--encrypt", "--recipient", p.public)
			if got, err := open(theirs, identities(t, p)); err != nil || !bytes.Equal(got, content) {
				t.Errorf("what age sealed is read as %d bytes, %v", len(got), err)
			}
		})
	}
	made := program(t, nil, "age-keygen", "age")
	public := strings.TrimSpace(string(program(t, made, "age-keygen", "age", "-y")))
	if got, err := open(seal(t, content, public), identities(t, pair{public, string(made)})); err != nil ||
		!bytes.Equal(got, content) {
		t.Errorf("a key of age-keygen reads %d bytes, %v", len(got), err)
	}
}

// However it was cut off or changed, it is never taken for whole.
func TestDamageIsNoticed(t *testing.T) {
	p := native(t)
	key := identities(t, p)
	small, large := seal(t, []byte("a backup of the zone"), p.public), seal(t, random(3<<16), p.public)
	check := func(what string, at int, data []byte) {
		t.Helper()
		content, err := open(data, key)
		if at < len("age-encryption.org/") && err == nil {
			if !bytes.Equal(content, data) {
				t.Errorf("%s at %d reads as something else", what, at)
			}
			return // it does not look sealed, and is given as it is
		}
		if !errors.Is(err, sealing.ErrDamaged) && !errors.Is(err, sealing.ErrNotForUs) {
			t.Errorf("%s at %d: %d bytes, %v", what, at, len(content), err)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s at %d looks like an end: %v", what, at, err)
		}
	}
	for at := range small {
		check("cut", at, small[:at])
		changed := bytes.Clone(small)
		changed[at] ^= 1
		check("changed", at, changed)
	}
	const chunk = 64<<10 + 16 // on the wire
	body := len(large) - 3*chunk
	for _, at := range []int{body, body + 1, body + chunk, body + 2*chunk, body + 2*chunk + 1, len(large) - 1} {
		check("cut", at, large[:at])
		changed := bytes.Clone(large)
		changed[at] ^= 1
		check("changed", at, changed)
	}
	check("longer", len(large), append(bytes.Clone(large), 0))
	check("without a middle", len(large), append(bytes.Clone(large[:body+chunk]), large[body+2*chunk:]...))
}

var errDisk = errors.New("the disk broke")

// A disk that fails is not a damaged file.
func TestErrorsOfReadingStayWhatTheyAre(t *testing.T) {
	p := native(t)
	sealed := seal(t, random(1<<20), p.public)
	for _, n := range []int{0, 5, 100, len(sealed) / 2} {
		r, _, err := sealing.Open(io.MultiReader(bytes.NewReader(sealed[:n]), iotest.ErrReader(errDisk)), identities(t, p))
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if !errors.Is(err, errDisk) || errors.Is(err, sealing.ErrDamaged) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func TestWhatFailedHalfWayIsNotWhole(t *testing.T) {
	p := native(t)
	to, err := sealing.ParseRecipients([]string{p.public})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 10, 64 << 10, 1 << 20} {
		var w bytes.Buffer
		err := sealing.Write(&w, to, func(plain io.Writer) error {
			if _, err := plain.Write(random(n)); err != nil {
				return err
			}
			return errDisk
		})
		if !errors.Is(err, errDisk) {
			t.Errorf("writing says %v", err)
		}
		if _, err := open(w.Bytes(), identities(t, p)); !errors.Is(err, sealing.ErrDamaged) {
			t.Errorf("half of it, %d bytes, opens with %v", n, err)
		}
	}
}

// What comes is written as it comes: nothing is gathered.
func TestSealingStreams(t *testing.T) {
	to, err := sealing.ParseRecipients([]string{native(t).public})
	if err != nil {
		t.Fatal(err)
	}
	var w bytes.Buffer
	err = sealing.Write(&w, to, func(plain io.Writer) error {
		for n := 1; n <= 16; n++ {
			if _, err := plain.Write(random(1 << 20)); err != nil {
				return err
			}
			if w.Len() < n<<20-(128<<10) {
				t.Errorf("after %d MiB only %d bytes are written", n, w.Len())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
