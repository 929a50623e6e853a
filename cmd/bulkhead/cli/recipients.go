package cli

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/internal/node/sealing"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// recipients reads whom a backup is encrypted to. They are checked here although the
// server checks them too: a secret key given by mistake must not leave this machine,
// and where a mistake stands is known here alone.
func recipients(given, files []string) ([]string, error) {
	var keys, places []string
	for _, key := range given {
		keys, places = append(keys, withoutComment(key)), append(places, "--recipient")
	}
	for _, path := range files {
		lines, err := readRecipients(path)
		if err != nil {
			return nil, err
		}
		for _, line := range lines {
			keys = append(keys, withoutComment(line.Text))
			places = append(places, path+" line "+strconv.Itoa(line.Number))
		}
	}
	if len(given) > 1 {
		for i := range given {
			places[i] += " number " + strconv.Itoa(i+1)
		}
	}
	_, err := sealing.ParseRecipients(keys)
	return keys, misplaced(err, places)
}

// readRecipients reads a file that names one recipient at least: none would mean a
// backup in the clear.
func readRecipients(path string) ([]sealing.Line, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, usage("--recipients-file: "+err.Error(), "name a file with a public key on each line")
	}
	defer file.Close()
	lines, err := sealing.RecipientLines(file)
	if err != nil {
		return nil, usage("--recipients-file "+path+": "+err.Error(), "name a file with a public key on each line")
	}
	if len(lines) == 0 {
		return nil, usage("--recipients-file "+path+" names no recipient", "write a public key on each line of it")
	}
	return lines, nil
}

// withoutComment takes off what SSH writes behind a key: whose it is.
func withoutComment(key string) string {
	key = strings.TrimSpace(key)
	if words := strings.Fields(key); strings.HasPrefix(key, "ssh-") && len(words) > 2 && !strings.Contains(key, "\n") {
		return words[0] + " " + words[1]
	}
	return key
}

// misplaced says of recipients that were refused where they stand.
func misplaced(err error, places []string) error {
	refusal, ok := errors.AsType[*resources.Error](err)
	if !ok {
		return err
	}
	said := make([]string, 0, len(refusal.Fields))
	for _, f := range refusal.Fields {
		place := "the recipients"
		if i, err := strconv.Atoi(strings.TrimPrefix(f.Pointer, "/")); err == nil && i < len(places) {
			place = places[i]
		}
		said = append(said, place+" "+f.Message)
	}
	return usage(fmt.Sprintf("%s: %s", refusal.Message, strings.Join(said, "; ")), refusal.Remedy)
}
