package pki_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

const pin = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func newToken(tb testing.TB) pki.JoinToken {
	tb.Helper()
	return must[pki.JoinToken](tb)(pki.NewJoinToken("join-01j9x", pki.RoleHost, pin))
}

func TestJoinToken(t *testing.T) {
	token := newToken(t)
	text := token.Text()
	if !strings.HasPrefix(text, "bulkhead-join-v1.host.join-01j9x.") {
		t.Errorf("the text begins with %.40q", text)
	}
	for name, text := range map[string]string{
		"as it is": text, "with a line's end": text + "\r\n", "broken by a mail program": text[:60] + "\n    " + text[60:],
	} {
		if got, err := pki.ParseJoinToken(text); err != nil || got != token {
			t.Errorf("%s: %v", name, err)
		}
	}
	if newToken(t).Secret == token.Secret {
		t.Error("two tokens have one secret")
	}
	for name, token := range map[string]pki.JoinToken{
		"no id": {Role: pki.RoleNode, Pin: pin}, "a dot": {ID: "a.b", Role: pki.RoleNode, Pin: pin},
		"no role": {ID: "a", Pin: pin}, "no pin": {ID: "a", Role: pki.RoleNode},
		"short pin": {ID: "a", Role: pki.RoleNode, Pin: pin[:70]},
	} {
		if _, err := pki.NewJoinToken(token.ID, token.Role, token.Pin); err == nil {
			t.Errorf("%s: a token was made", name)
		}
		if _, err := pki.ParseJoinToken(token.Text()); err == nil {
			t.Errorf("%s: the text of a token that is none was parsed", name)
		}
	}
}

func TestParseJoinTokenSays(t *testing.T) {
	text := newToken(t).Text()
	other := strings.Split(newToken(t).Text(), ".")
	mixed := strings.Split(text, ".")
	mixed[3] = other[3]
	for name, test := range map[string]struct {
		text string
		want error
	}{
		"nothing":             {"", pki.ErrTokenCutOff},
		"the beginning":       {"bulkhead-jo", pki.ErrTokenCutOff},
		"half":                {text[:len(text)/2], pki.ErrTokenCutOff},
		"no checksum":         {text[:strings.LastIndex(text, ".")], pki.ErrTokenCutOff},
		"last one missing":    {text[:len(text)-1], pki.ErrTokenCutOff},
		"one too many":        {text + "A", pki.ErrTokenMistyped},
		"a part too many":     {text + "." + text[len(text)-12:], pki.ErrTokenMistyped},
		"first one missing":   {text[1:], pki.ErrTokenMistyped},
		"upper case":          {strings.ToUpper(text), pki.ErrTokenMistyped},
		"another role":        {strings.Replace(text, ".host.", ".node.", 1), pki.ErrTokenMistyped},
		"secret of another":   {strings.Join(mixed, "."), pki.ErrTokenMistyped},
		"token of an API":     {"bh_0123456789", pki.ErrTokenMistyped},
		"next version":        {strings.Replace(text, "v1", "v2", 1), pki.ErrTokenVersion},
		"version of the day":  {"bulkhead-join-v10.x", pki.ErrTokenVersion},
		"twice":               {text + text, pki.ErrTokenMistyped},
		"in quotation marks":  {`"` + text + `"`, pki.ErrTokenMistyped},
		"with what is before": {"token: " + text, pki.ErrTokenMistyped},
	} {
		_, err := pki.ParseJoinToken(test.text)
		t.Run(name, func(t *testing.T) { wantError(t, err, test.want) })
	}
	// Every way to cut it off says so.
	for end := range len(text) {
		_, err := pki.ParseJoinToken(text[:end])
		wantError(t, err, pki.ErrTokenCutOff)
	}
}

// A token has one text: another for the same bytes is refused, though its checksum be right.
func TestJoinTokenHasOneText(t *testing.T) {
	parts := strings.Split(newToken(t).Text(), ".")
	last := len(parts[3]) - 1
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for spare := range 4 { // of the last letter two bits count for nothing
		letter := letters[strings.IndexByte(letters, parts[3][last])&^3|spare]
		signed := strings.Join([]string{parts[0], parts[1], parts[2], parts[3][:last] + string(letter), parts[4]}, ".")
		sum := sha256.Sum256([]byte(signed))
		_, err := pki.ParseJoinToken(signed + "." + base64.RawURLEncoding.EncodeToString(sum[:9]))
		if spare == 0 && err != nil {
			t.Fatal(err)
		}
		if spare != 0 {
			wantError(t, err, pki.ErrTokenMistyped, "base64")
		}
	}
}

// What was changed in any way is not taken for a token, but for white space.
func TestJoinTokenMutated(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		token := pki.JoinToken{
			ID:   rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?`).Draw(t, "id"),
			Role: rapid.SampledFrom([]pki.Role{pki.RoleNode, pki.RoleHost}).Draw(t, "role"), Pin: pin,
		}
		copy(token.Secret[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret"))
		text := token.Text()
		if got, err := pki.ParseJoinToken(text); err != nil || got != token {
			t.Fatalf("%q became %v: %v", text, got, err)
		}
		mutated := text
		for range rapid.IntRange(1, 3).Draw(t, "mutations") {
			mutated = mutate(t, mutated)
		}
		if strings.Join(strings.Fields(mutated), "") == text {
			return
		}
		if got, err := pki.ParseJoinToken(mutated); err == nil {
			t.Fatalf("%q, which was %q, became %v", mutated, text, got)
		}
	})
}

func mutate(t *rapid.T, text string) string {
	if text == "" {
		return "x"
	}
	at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
	to := rapid.IntRange(at, len(text)-1).Draw(t, "to")
	letter := rapid.SampledFrom([]byte("abcABC012-_.=\n\x00\xff")).Draw(t, "letter")
	switch rapid.IntRange(0, 5).Draw(t, "mutation") {
	case 0: // another letter
		return text[:at] + string(letter) + text[at+1:]
	case 1: // a bit
		return text[:at] + string(text[at]^1<<rapid.IntRange(0, 7).Draw(t, "bit")) + text[at+1:]
	case 2: // left out
		return text[:at] + text[to:]
	case 3: // put in
		return text[:at] + string(letter) + text[at:]
	case 4: // two changed about
		letters := []byte(text)
		letters[at], letters[to] = letters[to], letters[at]
		return string(letters)
	default: // doubled
		return text[:to] + text[at:]
	}
}

func TestSecret(t *testing.T) {
	token, other := newToken(t), newToken(t)
	sent := must[pki.Secret](t)(pki.ParseSecret(token.Secret[:]))
	if !sent.Matches(token.Secret.Digest()) {
		t.Error("a secret does not match its digest")
	}
	for _, digest := range []string{"", other.Secret.Digest(), token.Secret.Digest()[:63], token.Secret.Digest() + "0"} {
		if sent.Matches(digest) {
			t.Errorf("a secret matches %q", digest)
		}
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := pki.ParseSecret(make([]byte, n)); err == nil {
			t.Errorf("%d bytes are a secret", n)
		}
	}
}

// However a token gets into a log, its secret does not.
func TestSecretIsNotPrinted(t *testing.T) {
	token := newToken(t)
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
		fmt.Fprintf(&out, verb+"\n", token)
		fmt.Fprintf(&out, verb+"\n", &token)
		fmt.Fprintf(&out, verb+"\n", token.Secret)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("made", slog.Any("token", token), slog.Any("secret", token.Secret))
	slog.New(slog.NewJSONHandler(&out, nil)).Info("made", slog.Any("token", token), slog.Any("secret", token.Secret))
	if _, err := json.Marshal(token); err == nil {
		t.Error("a token became JSON")
	}
	text := strings.Split(token.Text(), ".")
	for _, form := range []string{
		text[3], fmt.Sprintf("%x", token.Secret[:]), fmt.Sprintf("%X", token.Secret[:]), fmt.Sprintf("%d", token.Secret[:]),
		fmt.Sprintf("%d, %d", token.Secret[0], token.Secret[1]), fmt.Sprintf("%#x, %#x", token.Secret[0], token.Secret[1]),
	} {
		if strings.Contains(out.String(), strings.Trim(form, "[]")) {
			t.Errorf("%s is in:\n%s", form, out.String())
		}
	}
	for end := range len(token.Text()) {
		if _, err := pki.ParseJoinToken(token.Text()[:end] + "!" + token.Text()[end:]); err != nil &&
			strings.Contains(err.Error(), text[3]) {
			t.Fatalf("the error tells the secret: %v", err)
		}
	}
}

func FuzzParseJoinToken(f *testing.F) {
	f.Add(newToken(f).Text())
	f.Add("bulkhead-join-v1.node.a.AAAA.AAAA.AAAAAAAAAAAA")
	f.Add("bulkhead-join-v2")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := pki.ParseJoinToken(text)
		if err != nil {
			return
		}
		if token.Text() != strings.Join(strings.Fields(text), "") {
			t.Errorf("%q became %q", text, token.Text())
		}
	})
}
