package importing

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The columns that an import reads. Names are compared without case, spaces, dashes and underscores. They are those of this command
// itself, and of what is known of others: the table of the plugin, resolution's and Kantega's apps, Jira Extender, and the search for
// personal access tokens.
var columns = map[string][]string{
	"user":     {"user", "username", "owner", "userkey", "authorkey"},
	"label":    {"label", "description", "tokendescription", "name", "alias"},
	"created":  {"created", "createdat", "datecreated"},
	"lastused": {"lastused", "lastaccessed", "lastaccessedat"},
	"expires":  {"expires", "expirationtime", "expiringat", "validuntil", "tokenexpirationdatetime", "tokenexpirationdatetimemillis"},
}

// entry is one row of the table.
type entry struct {
	line                       int
	user, label, secret        string
	created, lastUsed, expires time.Time
	// fault says why the row cannot be read.
	fault error
}

// maxRows is how many rows one import takes.
const maxRows = 100_000

var (
	errNoUser = errors.New("the table has no column for the user: its first line must have the names of columns, with commas between them, " +
		"such as 'user,label'; or say --column user=NAME")
	errEmpty = errors.New("the table has no rows")
)

// source says where in the table what stands.
type source struct {
	// named are the columns that the user named, by ours.
	named map[string]string
	// secret is the name of the column with secrets. If it is empty, the table has none that are imported.
	secret string
}

// read reads a table in CSV. No error quotes a value: any column may have secrets.
func (s source) read(in io.Reader) (all []entry, err error) {
	rows := csv.NewReader(skipMark(in))
	rows.FieldsPerRecord, rows.ReuseRecord, rows.TrimLeadingSpace = -1, true, true
	head, err := rows.Read()
	if err != nil {
		return nil, malformed(err)
	}
	at, err := s.find(head)
	if err != nil {
		return nil, err
	}
	for {
		row, err := rows.Read()
		switch {
		case errors.Is(err, io.EOF) && len(all) == 0:
			return nil, errEmpty
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, malformed(err)
		case len(all) == maxRows:
			return nil, fmt.Errorf("the table has more than %d rows: import it in parts", maxRows)
		}
		line, _ := rows.FieldPos(0)
		all = append(all, at.entry(line, row))
	}
}

// skipMark drops a byte order mark, with which Excel begins.
func skipMark(in io.Reader) io.Reader {
	first := make([]byte, 3)
	n, _ := io.ReadFull(in, first)
	return io.MultiReader(strings.NewReader(strings.TrimPrefix(string(first[:n]), "\ufeff")), in)
}

func malformed(err error) error {
	if errors.Is(err, io.EOF) {
		return errEmpty
	}
	if of := (*csv.ParseError)(nil); errors.As(err, &of) {
		return fmt.Errorf("the table is no CSV with commas: line %d: %w", of.Line, of.Err)
	}
	return fmt.Errorf("reading the table: %w", err)
}

// places are the indices of our columns in the rows, or -1.
type places map[string]int

func (s source) find(head []string) (places, error) {
	at := places{"secret": -1}
	plain := make([]string, len(head))
	for i, name := range head {
		plain[i] = fold(name)
	}
	for column, known := range columns {
		at[column] = -1
		if named, ok := s.named[column]; ok {
			known = []string{fold(named)}
		}
		for _, name := range known {
			if at[column] < 0 {
				at[column] = slices.Index(plain, name)
			}
		}
		if named, ok := s.named[column]; ok && at[column] < 0 {
			return nil, fmt.Errorf("the table has no column %q, which --column names", named)
		}
	}
	if at["user"] < 0 {
		return nil, errNoUser
	}
	if s.secret != "" {
		if at["secret"] = slices.Index(plain, fold(s.secret)); at["secret"] < 0 {
			return nil, fmt.Errorf("the table has no column %q, which --secret-column names", s.secret)
		}
	}
	return at, nil
}

func fold(name string) string {
	return strings.NewReplacer(" ", "", "_", "", "-", "").Replace(strings.ToLower(strings.TrimSpace(name)))
}

func (at places) entry(line int, row []string) entry {
	cell := func(column string) string {
		if i := at[column]; i >= 0 && i < len(row) {
			return row[i]
		}
		return ""
	}
	e := entry{line: line, user: strings.TrimSpace(cell("user")), label: strings.TrimSpace(cell("label")), secret: cell("secret")}
	for column, into := range map[string]*time.Time{"created": &e.created, "lastused": &e.lastUsed, "expires": &e.expires} {
		var ok bool
		if *into, ok = moment(cell(column)); !ok && column == "expires" {
			e.fault = errors.New("its end cannot be read: want a time such as 2027-06-30T00:00:00Z, or milliseconds since 1970")
		}
	}
	return e
}

// layouts are the forms of times.
var layouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999-0700", "2006-01-02T15:04:05", "2006-01-02 15:04:05.999999999", time.DateOnly}

// moment reads a time: one of the layouts, in UTC unless it says otherwise, or milliseconds since 1970. An empty text is no time.
func moment(text string) (t time.Time, ok bool) {
	text = strings.TrimSpace(text)
	if text == "" || strings.EqualFold(text, "never") || strings.EqualFold(text, "null") {
		return time.Time{}, true
	}
	if millis, err := strconv.ParseInt(text, 10, 64); err == nil {
		t = time.UnixMilli(millis).UTC()
		return t, t.Year() >= 2000 && t.Year() < 10000
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
