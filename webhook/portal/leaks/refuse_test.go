package leaks

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// Anyone may send messages, so a file that cannot be read does not fill the log. One service's file hides no other's.
func TestUnreadableFilesAreLoggedOnce(t *testing.T) {
	var lines []string
	in := newIntake(&selfservice.Service{Logger: funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})}, Options{}, prometheus.NewRegistry())
	broken := errors.New("no such file")
	for range 100 {
		for _, scanner := range []string{gitHub, gitLab} {
			if err := in.refuses(scanner, broken); !errors.Is(err, broken) {
				t.Fatal(err)
			}
		}
	}
	if all := strings.Join(lines, "\n"); len(lines) != 2 || !strings.Contains(all, gitHub) || !strings.Contains(all, gitLab) {
		t.Errorf("the log has %d lines:\n%s", len(lines), all)
	}
}
