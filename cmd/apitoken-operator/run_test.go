package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// A flag of a mode that `run` lacked would have its default there, whatever the other processes of an installation have.
func TestRunHasTheFlagsOfEveryMode(t *testing.T) {
	run := newRunCommand().Flags()
	for _, m := range []mode{newController(), newWebhook(), newPortal()} {
		m.cmd.Flags().VisitAll(func(f *pflag.Flag) {
			switch known := run.Lookup(f.Name); {
			case f.Name == "leader-elect":
			case known == nil:
				t.Errorf("%s has a flag --%s, and run has not", m.cmd.Name(), f.Name)
			case known.DefValue != f.DefValue:
				t.Errorf("--%s is %q by default in run, and %q in %s", f.Name, known.DefValue, f.DefValue, m.cmd.Name())
			}
		})
	}
	if run.Lookup("leader-elect") != nil {
		t.Error("run has --leader-elect: a process that loses an election ends, and with it webhook and portal")
	}
}

func TestSharedFlagsSetEveryMode(t *testing.T) {
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	modes := []mode{newController(), newWebhook(), newPortal()}
	for _, m := range modes {
		addFlags(flags, m)
	}
	if err := flags.Parse([]string{"--namespace=tokens", "--bind-address=:1", "--portal-bind-address=:2", "--metrics-bind-address=:3"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range modes {
		got = append(got, m.cmd.Flags().Lookup("namespace").Value.String(), m.telemetry.Metrics)
		if m.serving != nil {
			got = append(got, m.serving.BindAddress, m.serving.Feed.Namespace)
		}
	}
	want := []string{"tokens", ":3", "tokens", ":3", ":1", "tokens", "tokens", ":3", ":2", "tokens"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings of the modes (-want +got):\n%s", diff)
	}
	if got := modes[2].serving.BindAddress; got != ":2" {
		t.Errorf("the portal listens at %s", got)
	}
}

func TestPortalListensBesideTheWebhook(t *testing.T) {
	flags := newRunCommand().Flags()
	webhook, portal := flags.Lookup("bind-address"), flags.Lookup("portal-bind-address")
	if webhook.Value.String() != ":8080" || portal.Value.String() != portalBindAddress {
		t.Errorf("the webhook listens at %s, the portal at %s", webhook.Value, portal.Value)
	}
}

func TestReadyWithEveryMode(t *testing.T) {
	ready := &readiness{want: 2}
	handler := healthz.CheckHandler{Checker: ready.check}
	status := func() int {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		return w.Code
	}
	draining := errors.New("draining")
	for _, test := range []struct {
		mode string
		err  error
		want int
	}{
		{"", nil, http.StatusInternalServerError},
		{"webhook", nil, http.StatusInternalServerError},
		{"portal", draining, http.StatusInternalServerError},
		{"portal", nil, http.StatusOK},
	} {
		if test.mode != "" {
			if err := ready.add(test.mode, func(*http.Request) error { return test.err }); err != nil {
				t.Fatal(err)
			}
		}
		if got := status(); got != test.want {
			t.Errorf("with the check of %q, which says %v: %d", test.mode, test.err, got)
		}
	}
}

// A log writes its buffer when it is full, in the middle of a line.
func TestLogsShareAnOutputLineByLine(t *testing.T) {
	var out bytes.Buffer
	one, two := &wholeLines{out: &out}, &wholeLines{out: &out}
	for _, part := range []struct {
		to   io.Writer
		text string
	}{{one, "first "}, {two, "second\nthi"}, {one, "line\n"}, {two, "rd\nfourth"}, {one, "fifth\n"}} {
		if n, err := io.WriteString(part.to, part.text); n != len(part.text) || err != nil {
			t.Fatal(n, err)
		}
	}
	if diff := cmp.Diff("second\nfirst line\nthird\nfifth\n", out.String()); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	if string(two.rest) != "fourth" {
		t.Errorf("kept %q", two.rest)
	}
}
