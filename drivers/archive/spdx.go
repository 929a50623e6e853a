package archive

import (
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// spdxText is the list of licences and exceptions, one identifier per line.
//
//go:embed spdx.txt
var spdxText string

type spdxList struct{ licenses, exceptions map[string]bool }

var spdx = sync.OnceValue(func() spdxList {
	list := spdxList{licenses: map[string]bool{}, exceptions: map[string]bool{}}
	into := list.licenses
	for line := range strings.Lines(spdxText) {
		switch line = strings.TrimSpace(line); {
		case line == "with":
			into = list.exceptions
		case line != "" && !strings.HasPrefix(line, "#"):
			into[line] = true
		}
	}
	return list
})

var licenseRef = regexp.MustCompile(`^(DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+$`)

// checkLicense checks an SPDX licence expression: identifiers joined by AND, OR, WITH and parentheses.
func checkLicense(expression string) error {
	spaced := strings.NewReplacer("(", " ( ", ")", " ) ").Replace(expression)
	p := licenseParser{words: strings.Fields(spaced), list: spdx()}
	if err := p.any(0); err != nil {
		return err
	}
	if p.at < len(p.words) {
		return fmt.Errorf("%q does not belong there", p.words[p.at])
	}
	return nil
}

// licenseParser reads an expression word by word.
type licenseParser struct {
	words []string
	at    int
	list  spdxList
}

func (p *licenseParser) next() string {
	if p.at == len(p.words) {
		return ""
	}
	p.at++
	return p.words[p.at-1]
}

func (p *licenseParser) take(word string) bool {
	if p.at < len(p.words) && p.words[p.at] == word {
		p.at++
		return true
	}
	return false
}

// any reads terms joined by AND and OR; which binds closer does not matter for what is right.
func (p *licenseParser) any(depth int) error {
	for {
		if err := p.term(depth); err != nil {
			return err
		}
		if !p.take("AND") && !p.take("OR") {
			return nil
		}
	}
}

func (p *licenseParser) term(depth int) error {
	if p.take("(") {
		if depth > 8 {
			return errors.New("the expression is nested too deeply")
		}
		if err := p.any(depth + 1); err != nil {
			return err
		}
		if !p.take(")") {
			return errors.New("a ) is missing")
		}
		return nil
	}
	word := p.next()
	if !p.list.licenses[strings.TrimSuffix(word, "+")] && !licenseRef.MatchString(word) {
		if word == "" {
			return errors.New("a licence is missing at the end")
		}
		return fmt.Errorf("%q is no licence that SPDX lists", word)
	}
	if !p.take("WITH") {
		return nil
	}
	if exception := p.next(); !p.list.exceptions[exception] {
		return fmt.Errorf("%q is no exception that SPDX lists", exception)
	}
	return nil
}
