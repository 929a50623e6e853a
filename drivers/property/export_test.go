package property

import (
	"io/fs"
	"testing"
)

// OwnTexts are our own messages, by language and key.
func OwnTexts(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	for _, language := range []string{"en", "de"} {
		data, err := fs.ReadFile(errorFiles, "messages/"+language+".json")
		if err == nil {
			all[language], err = ParseMessages(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}
