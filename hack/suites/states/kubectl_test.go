package states_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
)

// kubectl runs a command of the page in a shell, as an administrator.
type kubectl struct {
	*world

	// described has the output of kubectl describe by "kind name". One call describes all objects, to save time.
	described map[string]string
	env       []string
}

func newKubectl(w *world) *kubectl {
	w.Helper()
	home := w.TempDir()
	kubeconfig := filepath.Join(home, "admin")
	w.must(env.WriteKubeconfig(kubeconfig, "admin", "system:masters"))
	k := &kubectl{world: w, described: map[string]string{}, env: []string{
		"HOME=" + home, "KUBECONFIG=" + kubeconfig, "PATH=" + filepath.Dir(env.Kubectl()) + ":/usr/bin:/bin",
	}}
	for _, what := range [][2]string{{w.jira, "apitoken"}, {w.team, "apitoken"}, {w.jira, "atlassiansite"}} {
		for object := range strings.SplitSeq(k.run("kubectl -n "+what[0]+" describe --show-events "+what[1]), "\n\n\n") {
			name := field(object, "Name")
			k.described[what[1]+" "+name] = object
		}
	}
	return k
}

func (k *kubectl) run(command string) string {
	k.Helper()
	c := exec.CommandContext(k.Context(), "bash", "-c", command)
	c.Env = k.env
	out, err := c.CombinedOutput()
	if err != nil {
		k.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

// field matches the value after a name at the beginning of a line of `kubectl describe`.
func field(object, name string) string {
	for line := range strings.Lines(object) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

var describes = regexp.MustCompile(`^kubectl -n \S+ describe (apitoken|atlassiansite) (\S+)$`)

// show returns the output of a command of the page, with changing values replaced.
func (k *kubectl) show(command string, whole bool) string {
	k.Helper()
	if m := describes.FindStringSubmatch(command); m != nil {
		object, ok := k.described[m[1]+" "+m[2]]
		if !ok {
			k.Errorf("the page describes %s %s, which no example makes", m[1], m[2])
			return ""
		}
		return k.settle(k.describe(object, whole))
	}
	out := k.run(strings.NewReplacer("-n jira ", "-n "+k.jira+" ", "-n team-a ", "-n "+k.team+" ").Replace(command))
	return k.settle(k.table(out))
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// settle replaces values that differ in each run.
func (k *kubectl) settle(text string) string {
	seen := map[string]string{}
	text = uuid.ReplaceAllStringFunc(text, func(id string) string {
		if seen[id] == "" {
			seen[id] = fmt.Sprintf("7c9e6679-7425-40de-944b-e07fc1f9%04d", len(seen)+1)
		}
		return seen[id]
	})
	text = strings.NewReplacer(k.jira, "jira", k.team, "team-a").Replace(text)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

var varying = regexp.MustCompile(`(?m)^  (Creation Timestamp|Resource Version): .*$`)

// describe returns the status and the Events of a description.
func (k *kubectl) describe(object string, whole bool) string {
	text, events, _ := strings.Cut(object, "\nEvents:")
	text = varying.ReplaceAllStringFunc(text, func(line string) string {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		value := "1234"
		if name == "Creation Timestamp" {
			value = k.created[field(object, "Name")].Format(time.RFC3339)
		}
		return fmt.Sprintf("  %-21s%s", name+":", value)
	})
	if _, status, ok := strings.Cut(text, "\nStatus:"); ok && !whole {
		text = "...\nStatus:" + status
	}
	if !strings.Contains(events, "\n  Type") {
		return text + "\nEvents:" + events
	}
	return text + "\nEvents:\n" + k.events(events, k.told[types.UID(field(object, "UID"))])
}

var columns = regexp.MustCompile(`  +`)

// events returns the Events of a description, with ages by the clock of the test.
func (k *kubectl) events(table string, told []time.Time) string {
	k.Helper()
	const head = 2
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	rows := strings.Split(strings.Trim(table, "\n"), "\n")
	if len(rows) != head+len(told) {
		k.Fatalf("%d Events were told, and shown are\n%s", len(told), table)
	}
	for i, row := range rows {
		cells := columns.Split(strings.TrimSpace(row), 5)
		if i >= head {
			cells[2] = age(told[i-head])
		}
		fmt.Fprintln(w, "  "+strings.Join(cells, "\t"))
	}
	_ = w.Flush()
	return b.String()
}

func age(since time.Time) string { return duration.HumanDuration(noon.Sub(since)) }

var heading = regexp.MustCompile(`[A-Z]+( [A-Z]+)*( *)`)

// table returns the output of `kubectl get`, with ages by the clock of the test.
func (k *kubectl) table(text string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 3, ' ', 0)
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	at := heading.FindAllStringIndex(lines[0], -1)
	for i, line := range lines {
		cells := make([]string, len(at))
		for j := range at {
			end := len(line)
			if j+1 < len(at) {
				end = min(end, at[j][1])
			}
			cells[j] = strings.TrimSpace(line[min(at[j][0], end):end])
			switch head := strings.TrimSpace(lines[0][at[j][0]:at[j][1]]); {
			case i == 0:
			case head == "AGE":
				cells[j] = age(k.created[cells[0]])
			case head == "LAST ACCESSED" && cells[j] != "" && cells[j] != "<none>":
				cells[j] = age(lastAccess)
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush()
	return b.String()
}
