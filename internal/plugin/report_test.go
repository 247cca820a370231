package plugin_test

import (
	"encoding/json"
	"strings"
	"testing"

	"apitokens.dev/operator/internal/plugin/exit"
)

func TestReport(t *testing.T) {
	w := newWorld(t)
	w.tokens()
	r := w.admin("report", "--migration")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if r.err != nil || len(lines) != 5 || !strings.HasPrefix(lines[0], "owner,label,site") || !strings.HasPrefix(lines[1], "alice,CI scripts,jira/main,"+tokenID(1)) {
		t.Errorf("%v: %s", r.err, r.out)
	}
	log := `{"verdict":"allow","tokenID":"` + w.id(1) + `","method":"GET","path":"/rest/api/2/search","client":"10.1.2.3"}` + "\n"
	var rows []map[string]string
	logged := w.run("admin", log, "report", "--migration", "--user", "alice", "--site", "main", "--log", "-", "-o", "json")
	if err := json.Unmarshal([]byte(logged.out), &rows); err != nil || len(rows) != 2 || rows[0]["paths"] != "GET /rest/api/2/search" || rows[1]["requests"] != "0" {
		t.Errorf("%v: %s", logged.err, logged.out)
	}
	for _, args := range []string{"", "--migration -o name", "--migration x"} {
		if r := w.admin(append([]string{"report"}, strings.Fields(args)...)...); r.code != exit.Usage {
			t.Errorf("%q: code %d, %v", args, r.code, r.err)
		}
	}
	if r := w.admin("report", "--migration", "--log", "/does/not/exist"); r.code != exit.Failed || !strings.Contains(r.err.Error(), "reading the log") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}
