package sealing

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Recipients are who can open what is sealed.
type Recipients struct{ keys []age.Recipient }

// ParseRecipients reads public keys: those of age (age1..., age1pq1...) and of SSH (ssh-ed25519, ssh-rsa). No text
// gives recipients to whom nothing is sealed. Anything else fails with a *resources.Error of class invalid, whose
// fields' pointers are relative to the list ("/0").
func ParseRecipients(texts []string) (Recipients, error) {
	var r Recipients
	var wrong []resources.FieldError
	for i, text := range texts {
		key, complaint := parseRecipient(text)
		if complaint != "" {
			wrong = append(wrong, resources.FieldError{
				Pointer: "/" + strconv.Itoa(i), Code: "bad-recipient", Message: complaint,
			})
			continue
		}
		r.keys = append(r.keys, key)
	}
	if len(wrong) > 0 {
		return Recipients{}, refused("give public keys: age1... as age-keygen prints it, or the text of an SSH key of type "+
			"ssh-ed25519 or ssh-rsa", wrong...)
	}
	if len(r.keys) == 0 {
		return r, nil
	}
	if _, err := age.Encrypt(io.Discard, r.keys...); err != nil { // only together do some of them not go
		return Recipients{}, refused("give post-quantum keys (age1pq1...) alone, or none of them",
			resources.FieldError{Code: "mixed-recipients", Message: "are of kinds that can't be mixed"})
	}
	return r, nil
}

func refused(remedy string, fields ...resources.FieldError) error {
	return &resources.Error{
		Class: resources.ClassInvalid, Code: "validation-failed",
		Message: "the backup can't be encrypted to these recipients", Remedy: remedy, Fields: fields,
	}
}

// parseRecipient reads one public key, or says what is wrong with it.
func parseRecipient(text string) (key age.Recipient, complaint string) {
	var err error
	switch {
	case text == "":
		return nil, "is empty"
	case strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-"):
		return nil, "is a secret key: whoever saw it can read what is encrypted to it"
	case strings.ContainsAny(text, "\r\n"):
		return nil, "is more than one line" // of SSH keys, all but the first would be left out without a word
	case strings.HasPrefix(text, "age1pq1"):
		key, err = age.ParseHybridRecipient(text)
	case strings.HasPrefix(text, "age1"):
		key, err = age.ParseX25519Recipient(text)
	case strings.HasPrefix(text, "ssh-"):
		key, err = agessh.ParseRecipient(text)
	default:
		return nil, "is of no known kind"
	}
	if err != nil {
		return nil, "is no whole public key of its kind" // what age says of it repeats it
	}
	return key, ""
}

// maxKeyFile is the largest file of keys that is read.
const maxKeyFile = 1 << 20

// Line is a line of a file of recipients that names one.
type Line struct {
	Number int
	Text   string
}

// RecipientLines reads a file with one recipient on each line, without empty lines and those that begin with "#".
func RecipientLines(r io.Reader) ([]Line, error) {
	limited := &io.LimitedReader{R: r, N: maxKeyFile + 1}
	scanner := bufio.NewScanner(limited)
	var lines []Line
	for n := 1; scanner.Scan(); n++ {
		if text := strings.TrimSpace(scanner.Text()); text != "" && !strings.HasPrefix(text, "#") {
			lines = append(lines, Line{n, text})
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("reading recipients: %w", err)
	}
	if limited.N == 0 {
		return nil, fmt.Errorf("reading recipients: more than %d bytes", maxKeyFile)
	}
	return lines, nil
}
