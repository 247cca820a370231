// Package formtest tests the tolerance of a stored form: a reader accepts what a later minor version adds, and refuses what
// it would misread.
package formtest

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// Form is a stored form in its Go type.
type Form interface{ Encode() ([]byte, error) }

var (
	// object matches the beginning of an object that is not empty.
	object = regexp.MustCompile(`\{"`)
	// scalar matches a member with a string, number or bool, and member the name of any.
	scalar = regexp.MustCompile(`("[a-zA-Z]+":)("(?:[^"\\]|\\.)*"|[-0-9.]+|true|false)`)
	member = regexp.MustCompile(`("[a-zA-Z]+"):`)
)

// more is a member that no form has.
const more = `"addedLater":{"x":[1,{"y":"z"}],"user":"mallory"},`

// form is an encoded form with its reader.
type form[T Form] struct {
	*testing.T

	text   string
	decode func([]byte) (T, error)
}

// Check decodes changed versions of encoded, which should have every member of the form.
func Check[T Form](t *testing.T, encoded []byte, decode func([]byte) (T, error)) {
	t.Helper()
	f := form[T]{t, string(encoded), decode}
	f.accepts("as it is written", f.text)
	var indented bytes.Buffer
	if err := json.Indent(&indented, encoded, "", "  "); err != nil {
		t.Fatal(err)
	}
	f.accepts("with white space", indented.String()+"\n")
	f.refuses("with another text behind", f.text+"{}")
	f.refuses("with a later version", `{"version":2,`+strings.TrimPrefix(f.text[1:], `"version":1,`))
	f.checkAdditions()
	f.checkMembers()
}

func (f form[T]) checkAdditions() {
	f.Helper()
	for _, at := range object.FindAllStringIndex(f.text, -1) {
		begin, rest := f.text[:at[0]+1], f.text[at[0]+1:]
		f.accepts("with one more member", begin+more+rest)
		f.refuses("with an unknown member repeated", begin+more+more+rest)
		f.refuses("with null", begin+`"addedLater":null,`+rest)
	}
}

func (f form[T]) checkMembers() {
	f.Helper()
	for _, at := range member.FindAllStringSubmatchIndex(f.text, -1) {
		name := f.text[at[2]:at[3]]
		f.refuses("with another case of "+name, f.text[:at[2]]+strings.ToUpper(name)+f.text[at[3]:])
		f.refuses("with another type of "+name, f.text[:at[3]]+`:[[1]],"addedLater":`+f.text[at[1]:])
	}
	for _, at := range scalar.FindAllStringSubmatchIndex(f.text, -1) {
		name, value := f.text[at[2]:at[3]], f.text[at[4]:at[5]]
		f.refuses("with a repeated "+name, f.text[:at[0]]+name+value+","+f.text[at[0]:])
		for _, other := range []string{`null`, `{}`, `[]`, `[` + value + `]`, `-1.5`} {
			f.refuses("with "+name+other, f.text[:at[4]]+other+f.text[at[5]:])
		}
	}
}

func (f form[T]) accepts(what, changed string) {
	f.Helper()
	got, err := f.decode([]byte(changed))
	if err != nil {
		f.Errorf("%s is refused: %v: %s", what, err, changed)
		return
	}
	if again, err := got.Encode(); err != nil || string(again) != f.text {
		f.Errorf("%s is misread as %s, %v", what, again, err)
	}
}

func (f form[T]) refuses(what, changed string) {
	f.Helper()
	if got, err := f.decode([]byte(changed)); err == nil {
		f.Errorf("%s is read as %+v", what, got)
	}
}
