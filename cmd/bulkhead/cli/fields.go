package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// flagValue holds what was given with one flag, to be read later.
type flagValue struct {
	given []string
	field field
}

// String returns what was given.
func (v *flagValue) String() string { return strings.Join(v.given, ",") }

// Set takes one more value; flags that are not lists keep the last.
func (v *flagValue) Set(text string) error {
	if !v.field.repeated() {
		v.given = nil
	}
	if v.field.as == asList || v.field.as == asReferences {
		v.given = append(v.given, strings.Split(text, ",")...)
		return nil
	}
	v.given = append(v.given, text)
	return nil
}

// Type says in the help what is expected.
func (v *flagValue) Type() string {
	expected := map[shape]string{
		asSize: "size", asNumber: "number", asDecimal: "number", asSwitch: "bool", asReference: v.field.kind,
		asReferences: v.field.kind, asDriver: v.field.kind, asVersion: v.field.kind, asRef: "kind/name", asRefs: "kind/name",
		asSeconds: "duration", asAddress: "address", asContent: "file", asProperties: "key=value", asNics: "network",
		asTime: "time", asList: "list",
	}
	return orElse(expected[v.field.as], "text")
}

func (f field) repeated() bool {
	return slices.Contains([]shape{asList, asReferences, asProperties, asNics, asRefs}, f.as)
}

// declare adds the flags of fields to a command, with their completions.
func (a *app) declare(cmd *cobra.Command, fields []field) {
	for _, f := range fields {
		flag := cmd.Flags().VarPF(&flagValue{field: f}, f.flag, "", f.usage)
		if f.as == asSwitch {
			flag.NoOptDefVal = "true"
		}
		a.completeFlag(cmd, f)
	}
}

// collect reads the flags that were given into a body.
func (a *app) collect(ctx context.Context, cmd *cobra.Command, fields []field, body map[string]any) error {
	for _, f := range fields {
		flag := cmd.Flags().Lookup(f.flag)
		if !flag.Changed {
			continue
		}
		given := flag.Value.(*flagValue).given
		if v, ok := cleared(f, given); ok {
			put(body, f.path, v)
			continue
		}
		v, err := a.read(ctx, cmd.InOrStdin(), f, given)
		if err != nil {
			return inFlag(f.flag, err)
		}
		put(body, f.pathFor(given[len(given)-1]), v)
	}
	return nil
}

// pathFor is where a value goes: a reserved address has a place of its own.
func (f field) pathFor(text string) string {
	if f.as == asAddress && !numeric(text) {
		return f.path + "Id"
	}
	return f.path
}

// numeric reports whether a text is an IP address, or is meant to be one.
func numeric(text string) bool {
	return strings.Trim(text, "0123456789.") == "" || strings.Contains(text, ":")
}

// cleared is the value of a setting that was given as nothing: what the zone takes
// for "not set". Not every flag can be given so.
func cleared(f field, given []string) (any, bool) {
	if !f.clears || strings.Join(given, "") != "" {
		return nil, false
	}
	switch f.as {
	case asList:
		return []string{}, true
	case asSize, asNumber, asDecimal:
		return 0, true
	case asText, asReference:
		return "", true
	default:
		return nil, false
	}
}

// inFlag says which flag an error is about. What the zone says stays as it is.
func inFlag(flag string, err error) error {
	if f, ok := err.(*Failure); ok { //nolint:errorlint // only one made right here
		return usage("--"+flag+": "+f.Message, f.Remedy)
	}
	return err
}

func wrong(err error) error { return usage(err.Error(), "") }

// read turns the texts of a flag into what goes into a body.
func (a *app) read(ctx context.Context, stdin io.Reader, f field, given []string) (any, error) {
	last := given[len(given)-1]
	switch f.as {
	case asReference, asReferences, asNics, asDriver, asAddress, asVersion, asRef, asRefs:
		return a.refer(ctx, f, given)
	case asSize:
		n, err := parseSize(last)
		if err != nil {
			return nil, wrong(err)
		}
		return n, nil
	case asContent:
		return readContent(stdin, last)
	case asProperties:
		return readProperties(stdin, given)
	case asTime:
		return readTime(a.now(), last)
	case asList:
		return slices.DeleteFunc(given, func(s string) bool { return s == "" }), nil
	case asNumber, asDecimal, asSwitch, asSeconds:
		return readScalar(f, last)
	case asText, asWords:
	}
	return last, nil
}

// refer turns what was said of other resources into what goes into a body.
func (a *app) refer(ctx context.Context, f field, given []string) (any, error) {
	last := given[len(given)-1]
	switch f.as {
	case asReferences:
		return a.resolveAll(ctx, f.kind, given)
	case asNics:
		return a.readNics(ctx, given)
	case asDriver:
		return a.product(ctx, last)
	case asAddress:
		return a.addressOrID(ctx, last)
	case asVersion:
		return a.versionOf(ctx, last)
	case asRef:
		return a.readRef(ctx, last)
	case asRefs:
		return a.readRefs(ctx, given)
	default:
		return a.resolve(ctx, f.kind, last)
	}
}

func readScalar(f field, text string) (any, error) {
	switch f.as {
	case asNumber:
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			return nil, usage("must be a whole number, not "+strconv.Quote(text), "")
		}
	case asDecimal:
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return nil, usage("must be a number, not "+strconv.Quote(text), "")
		}
	case asSeconds:
		var d span
		if err := d.Set(text); err != nil {
			return nil, wrong(err)
		}
		if time.Duration(d) < time.Second || time.Duration(d)%time.Second != 0 {
			return nil, usage("must be whole seconds, 1s at least, not "+strconv.Quote(text), "")
		}
		return json.Number(strconv.Itoa(int(time.Duration(d).Seconds()))), nil
	default:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, usage("must be true or false, not "+strconv.Quote(text), "")
		}
		return b, nil
	}
	return json.Number(text), nil
}

const maxContent = 1 << 20

func readContent(stdin io.Reader, name string) (string, error) {
	from := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", wrong(err)
		}
		defer f.Close()
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, maxContent+1))
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	if len(data) > maxContent {
		return "", usage(name+" is larger than 1 MiB", "")
	}
	return string(data), nil
}

// readProperties reads key=value pairs. A value that is a JSON number, boolean
// or null is taken as such.
func readProperties(stdin io.Reader, given []string) (map[string]any, error) {
	m := map[string]any{}
	for _, pair := range given {
		key, text, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usage("must be key=value, not "+strconv.Quote(pair), "")
		}
		if name, file := strings.CutPrefix(text, "@"); file {
			if name == "-" && stdin == nil {
				return nil, usage("only one value can come from standard input", "put the others into files, key=@file")
			}
			content, err := readContent(stdin, name)
			if err != nil {
				return nil, err
			}
			if m[key] = content; name == "-" {
				stdin = nil
			}
			continue
		}
		m[key] = text
		var v any
		if err := json.Unmarshal([]byte(text), &v); err == nil {
			switch v.(type) {
			case float64:
				m[key] = json.Number(text)
			case bool, nil:
				m[key] = v
			}
		}
	}
	return m, nil
}

// addressOrID is an IP address as it is, or the id of a reserved one.
func (a *app) addressOrID(ctx context.Context, text string) (string, error) {
	if numeric(text) {
		return text, nil
	}
	return a.resolve(ctx, "address", text)
}

// readNics reads network[,address=ADDRESS].
func (a *app) readNics(ctx context.Context, given []string) ([]any, error) {
	var nics []any
	for _, text := range given {
		network, rest, more := strings.Cut(text, ",")
		id, err := a.resolve(ctx, "network", network)
		if err != nil {
			return nil, err
		}
		nic := map[string]any{"networkId": id}
		if more {
			address, ok := strings.CutPrefix(rest, "address=")
			if !ok {
				return nil, usage("must be network or network,address=ADDRESS, not "+strconv.Quote(text), "")
			}
			at := field{path: "address", as: asAddress}.pathFor(address)
			if nic[at], err = a.addressOrID(ctx, address); err != nil {
				return nil, err
			}
		}
		nics = append(nics, nic)
	}
	return nics, nil
}

func readTime(now time.Time, text string) (string, error) {
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(d).UTC().Format(time.RFC3339), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return "", usage(
			"must be a time such as 2030-01-31T12:00:00Z or a duration such as 24h, not "+strconv.Quote(text),
			"",
		)
	}
	return t.UTC().Format(time.RFC3339), nil
}
