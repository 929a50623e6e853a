package property

import (
	"cmp"
	"embed"
	"fmt"
	"strings"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Speech says the texts of properties, and what is wrong with values, in one language. The zero value says the texts
// that properties were described with.
type Speech struct {
	texts, fallback  map[string]string
	own, ownFallback map[string]string
}

// Label is the short name of a property; its key if it has none.
func (s Speech) Label(p resources.Property) string {
	return plainText(cmp.Or(s.texts[p.LabelKey], s.fallback[p.LabelKey], p.Label, p.Key))
}

// Description says what a property does; "" if nothing says it.
func (s Speech) Description(p resources.Property) string {
	return plainText(cmp.Or(s.texts[p.DescriptionKey], s.fallback[p.DescriptionKey], p.Description))
}

// Translate returns properties with their texts in the language. The list that was given is left as it is.
func (s Speech) Translate(all []resources.Property) []resources.Property {
	out := make([]resources.Property, len(all))
	for i, p := range all {
		p.Label, p.Description = s.Label(p), s.Description(p)
		out[i] = p
	}
	return out
}

//go:embed messages/*.json
var errorFiles embed.FS

// errorTexts are our own messages: what is wrong with a value. They ship with the program, and a test reads them.
var errorTexts = sync.OnceValue(func() Messages {
	m, err := ReadMessages(errorFiles, "messages")
	if err != nil {
		return Messages{}
	}
	return m
})

// say fills a message of ours in: pairs of names and values for its {places}.
func (s Speech) say(key string, pairs ...any) string {
	text := cmp.Or(s.own[key], s.ownFallback[key], errorTexts().of(Fallback)[key], key)
	var fill []string
	for i := 0; i+1 < len(pairs); i += 2 {
		fill = append(fill, fmt.Sprintf("{%v}", pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	return strings.NewReplacer(fill...).Replace(text)
}
