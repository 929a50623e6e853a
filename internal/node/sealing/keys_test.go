package sealing_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/bulkhead-cloud/bulkhead/internal/node/sealing"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestBadRecipientsAreRefused(t *testing.T) {
	good, quantum := native(t), postQuantum(t)
	weak := secureShell(t, "rsa", "-b", "1024").public
	curve := secureShell(t, "ecdsa").public
	shell := secureShell(t, "ed25519").public
	secret := strings.TrimSpace(good.secret[strings.Index(good.secret, "AGE-"):])
	for name, c := range map[string]struct {
		keys []string
		at   string // pointers to what is refused
	}{
		"empty":                  {[]string{""}, "/0"},
		"words":                  {[]string{"somebody"}, "/0"},
		"cut off":                {[]string{good.public[:40]}, "/0"},
		"mistyped":               {[]string{good.public[:60] + "bb"}, "/0"},
		"upper case":             {[]string{strings.ToUpper(good.public)}, "/0"},
		"secret":                 {[]string{secret}, "/0"},
		"secret, lower case":     {[]string{strings.ToLower(secret)}, "/0"},
		"of a program":           {[]string{"age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t"}, "/0"},
		"ssh, cut off":           {[]string{shell[:40]}, "/0"},
		"ssh, too weak":          {[]string{weak}, "/0"},
		"ssh, of a strange kind": {[]string{curve}, "/0"},
		"two lines":              {[]string{shell + "\n" + shell}, "/0"},
		"some of many":           {[]string{good.public, "x", good.public, "y"}, "/1 /3"},
		"mixed":                  {[]string{good.public, quantum.public}, ""},
	} {
		_, err := sealing.ParseRecipients(c.keys)
		e, ok := errors.AsType[*resources.Error](err)
		if !ok || e.Class != resources.ClassInvalid || e.Remedy == "" {
			t.Errorf("%s: %#v", name, err)
			continue
		}
		var at []string
		for _, f := range e.Fields {
			at = append(at, f.Pointer)
			if f.Message == "" || f.Code == "" {
				t.Errorf("%s: nothing is said of %s", name, f.Pointer)
			}
		}
		if len(at) == 0 || strings.Join(at, " ") != c.at {
			t.Errorf("%s: refused %q, want %q", name, at, c.at)
		}
		for _, key := range c.keys {
			if len(key) > 8 && strings.Contains(strings.ToLower(err.Error()), strings.ToLower(key)) {
				t.Errorf("%s: repeats the key: %v", name, err)
			}
		}
	}
}

func TestLinesOfAFileOfRecipients(t *testing.T) {
	const file = "# the team\n\n  age1a  \r\nssh-ed25519 AAAA me\n#age1b\n\tage1c"
	got, err := sealing.RecipientLines(strings.NewReader(file))
	want := []sealing.Line{{3, "age1a"}, {4, "ssh-ed25519 AAAA me"}, {6, "age1c"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("lines %v, %v", got, err)
	}
	for name, r := range map[string]io.Reader{
		"endless":         io.MultiReader(strings.NewReader(strings.Repeat("#\n", 1<<20))),
		"one endless":     strings.NewReader(strings.Repeat("a", 2<<20)),
		"a disk's errors": iotest.ErrReader(errDisk),
	} {
		if _, err := sealing.RecipientLines(r); err == nil {
			t.Errorf("%s: is read", name)
		}
	}
}

// locked encrypts identities with a passphrase, as age -p does.
func locked(t *testing.T, content, passphrase string, armored bool) string {
	t.Helper()
	key, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	key.SetWorkFactor(10)
	var file bytes.Buffer
	var to io.WriteCloser = struct {
		io.Writer
		io.Closer
	}{&file, io.NopCloser(nil)}
	if armored {
		to = armor.NewWriter(&file)
	}
	w, err := age.Encrypt(to, key)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(w, content)
	if err := errors.Join(err, w.Close(), to.Close()); err != nil {
		t.Fatal(err)
	}
	return file.String()
}

func TestAPassphraseGuardsIdentities(t *testing.T) {
	p := native(t)
	sealed := seal(t, []byte("content"), p.public)
	said := func(text string) func() (string, error) {
		return func() (string, error) { return text, nil }
	}
	for _, armored := range []bool{false, true} {
		file := locked(t, p.secret, "correct horse", armored)
		i, err := sealing.ParseIdentities(strings.NewReader(file), said("correct horse"))
		if err != nil {
			t.Fatalf("armored %t: %v", armored, err)
		}
		if got, err := open(sealed, i); err != nil || string(got) != "content" {
			t.Errorf("armored %t: %q, %v", armored, got, err)
		}
		for _, wrong := range []string{"wrong", ""} {
			if _, err := sealing.ParseIdentities(strings.NewReader(file), said(wrong)); !errors.Is(err, sealing.ErrPassphrase) {
				t.Errorf("armored %t, passphrase %q: %v", armored, wrong, err)
			}
		}
		if _, err := sealing.ParseIdentities(strings.NewReader(file), noPassphrase); err == nil ||
			errors.Is(err, sealing.ErrPassphrase) {
			t.Errorf("armored %t: nobody to ask: %v", armored, err)
		}
		cut := file[:len(file)-40]
		if _, err := sealing.ParseIdentities(strings.NewReader(cut), said("correct horse")); err == nil {
			t.Errorf("armored %t: half a file is read", armored)
		}
		twice := locked(t, file, "correct horse", armored)
		if _, err := sealing.ParseIdentities(strings.NewReader(twice), said("correct horse")); !errors.Is(err,
			sealing.ErrNoIdentities) {
			t.Errorf("armored %t: encrypted twice: %v", armored, err)
		}
	}
}

func TestWhatHoldsNoIdentities(t *testing.T) {
	p := native(t)
	const canary = "hunter2canary"
	for name, file := range map[string]string{
		"empty": "", "comments": "# none\n", "words": canary, "a public key": p.public,
		"damaged":              p.secret[:len(p.secret)-6] + canary,
		"a certificate":        "-----BEGIN CERTIFICATE-----\n" + canary + "\n-----END CERTIFICATE-----\n",
		"too large":            strings.Repeat("#\n", 1<<20),
		"sealed to a key":      string(seal(t, []byte(p.secret), p.public)),
		"ssh, with passphrase": secureShell(t, "ed25519", "-N", canary).secret,
		"ssh, unknown":         secureShell(t, "ecdsa").secret,
	} {
		_, err := sealing.ParseIdentities(strings.NewReader(file), func() (string, error) { return "words", nil })
		if !errors.Is(err, sealing.ErrNoIdentities) && !errors.Is(err, sealing.ErrPassphrase) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: repeats it: %v", name, err)
		}
	}
	crlf := strings.ReplaceAll(p.secret, "\n", "\r\n")
	if _, err := sealing.ParseIdentities(strings.NewReader(crlf), noPassphrase); err != nil {
		t.Errorf("with the ends of lines of another system: %v", err)
	}
	if _, err := sealing.ParseIdentities(iotest.ErrReader(errDisk), noPassphrase); !errors.Is(err, errDisk) {
		t.Errorf("a disk's error: %v", err)
	}
}
