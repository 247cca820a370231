package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"apitokens.dev/operator/hack/lib/bulk"
	"apitokens.dev/operator/hack/lib/rig"
)

const (
	// steady is how long the requests of the steady state are counted. Each site is looked at once in it.
	steady = time.Minute
	// heard is how long the API server, the webhook and the portal need to hear of users that were written to etcd.
	heard = 20 * time.Second
	// startLimit is how long a process may take to start.
	startLimit = 5 * time.Minute
)

// scale measures the processes of the operator at a real API server with many tokens: a third of them generated, a third imported with
// mode Follow, and a third made in the portal, of one site with a personal access token for each five of them.
var scale = group{
	name: "scale", measure: measureScale,
	figures: []figure{
		{"webhook_rss_mib_100k", atMost(120), "resident memory of a webhook with 100,000 tokens, after its start"},
		{"webhook_peak_mib_100k", atMost(180), "the most that it had while it started"},
		{"portal_rss_mib_100k", atMost(180), "resident memory of a portal, after its start"},
		{"controller_rss_mib_100k", atMost(300), "resident memory of the controller, after its first look at all tokens"},
		{"portal_peak_mib_100k", goal{}, "the most that it had"},
		{"controller_peak_mib_100k", goal{}, "the most that it had"},
		{"cold_start_vs_bare_100k", atMost(1.3), "seconds until a webhook is ready over those of bare reflectors of the same objects"},
		{"cold_start_s_100k", goal{}, "the seconds of the webhook"},
		{"controller_start_s_100k", atMost(30), "seconds until the controller has looked at the last token"},
		{"steady_requests_s_100k", atMost(20), "requests a second at the API server by all processes while nothing changes, in the worst of some ages"},
		{"steady_controller_cores_100k", atMost(0.02), "cores that the controller uses meanwhile"},
		{"page_list_ms_100k", atMost(100), "milliseconds until the page of a user with 50 tokens is there"},
		{"admin_search_ms_100k", atMost(200), "milliseconds until an administrator's search through all tokens is answered"},
		{"portal_refused_s", atLeast(10000), "anonymous requests that the portal refuses in a second"},
	},
}

func measureScale(b *bench) (figures map[string]float64, err error) {
	ctx := context.Background()
	log, err := newAuditLog()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.remove()) }()
	c, err := startCluster(ctx, b.stored, log.flags())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := c.Age(ctx, b.ages[0]); err != nil {
		return nil, err
	}
	figures = map[string]float64{}
	webhook, err := c.coldStarts(ctx, figures)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, webhook.Stop()) }()
	if err := c.measureController(ctx, b, b.ages[0], log, figures); err != nil {
		return nil, err
	}
	if err := errors.Join(c.askPortal(ctx, b, figures), memories(figures, "portal", c.rig.Portal),
		memories(figures, "webhook", webhook), c.refuse(figures)); err != nil {
		return nil, err
	}
	for _, age := range b.ages[1:] {
		if err := c.Age(ctx, age); err != nil {
			return nil, err
		}
		<-time.After(heard)
		if err := c.measureController(ctx, b, age, log, figures); err != nil {
			return nil, err
		}
	}
	return figures, nil
}

// measureController measures a controller from its start in a world of an age. The worst of all ages counts.
func (c *cluster) measureController(ctx context.Context, b *bench, age time.Duration, log *auditLog, worst map[string]float64) (err error) {
	figures := map[string]float64{}
	controller, err := c.startController(ctx, figures, "--leader-elect")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, controller.Stop()) }()
	if c.rig.Portal == nil { // its address is known since the controller started
		if _, err := c.rig.StartPortal(ctx); err != nil {
			return err
		}
	}
	asked, err := watchSteadyState(controller, log, figures)
	if err := errors.Join(err, memories(figures, "controller", controller)); err != nil {
		return err
	}
	b.Steady[age.String()] = asked
	fmt.Fprintf(os.Stderr, "  %.1f requests a second in a world that is %s old\n", figures["steady_requests_s_100k"], age)
	for _, what := range slices.SortedFunc(maps.Keys(asked), func(a, b string) int { return cmp.Compare(asked[b], asked[a]) }) {
		fmt.Fprintf(os.Stderr, "    %6.2f %s\n", asked[what], what)
	}
	for name, value := range figures {
		worst[name] = max(worst[name], value)
	}
	return nil
}

// memories measures the memory of a process: that of now, and the most that it ever was.
func memories(figures map[string]float64, name string, of *rig.Process) (err error) {
	if figures[name+"_rss_mib_100k"], err = memory(of, "VmRSS"); err != nil {
		return err
	}
	figures[name+"_peak_mib_100k"], err = memory(of, "VmHWM")
	return err
}

// coldStarts starts a webhook and bare reflectors in turn, and leaves the last webhook running.
func (c *cluster) coldStarts(ctx context.Context, figures map[string]float64) (last *rig.Process, err error) {
	const rounds = 3
	replica, err := c.rig.NewReplica("webhook", c.rig.Kubeconfig("apitoken-webhook"), 0)
	if err != nil {
		return nil, err
	}
	var webhooks, bare []float64
	for round := range rounds {
		took, err := c.bareStart(ctx)
		if err != nil {
			return nil, err
		}
		bare = append(bare, took)
		begun := time.Now()
		if err := replica.Launch(); err != nil {
			return nil, err
		}
		if err := until(ctx, 5*time.Millisecond, "a webhook is ready", func() bool { return answers(ctx, replica.HealthURL+"/readyz") }); err != nil {
			return nil, errors.Join(err, replica.Stop())
		}
		webhooks = append(webhooks, time.Since(begun).Seconds())
		if round < rounds-1 {
			if err := replica.Stop(); err != nil {
				return nil, err
			}
		}
	}
	fmt.Fprintf(os.Stderr, "  a webhook is ready after %.1f s, and bare reflectors after %.1f s\n", webhooks, bare)
	figures["cold_start_s_100k"] = median(webhooks)
	figures["cold_start_vs_bare_100k"] = median(webhooks) / median(bare)
	return replica.Process, nil
}

// bareStart returns the seconds until bare reflectors have seen everything, in a process of their own.
func (c *cluster) bareStart(ctx context.Context) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("finding this program: %w", err)
	}
	begun := time.Now()
	if out, err := exec.CommandContext(ctx, self, "reflectors", c.rig.Kubeconfig("apitoken-webhook")).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("starting bare reflectors: %w: %s", err, out)
	}
	return time.Since(begun).Seconds(), nil
}

// startController starts the controller, and waits until it has looked at every token.
func (c *cluster) startController(ctx context.Context, figures map[string]float64, flags ...string) (*rig.Process, error) {
	begun := time.Now()
	controller, err := c.rig.StartController(ctx, flags...)
	if err != nil {
		return nil, err
	}
	// The controller answers each look itself.
	err = until(ctx, 250*time.Millisecond, "the controller has looked at all tokens", func() bool {
		passes, err := scrape(ctx, c.rig.ControllerMetricsURL, "controller_runtime_reconcile_total", map[string]string{"controller": "apitoken"})
		return err == nil && passes >= float64(c.Tokens)
	})
	if err != nil {
		return nil, errors.Join(err, controller.Stop())
	}
	figures["controller_start_s_100k"] = time.Since(begun).Seconds()
	fmt.Fprintf(os.Stderr, "  the controller has looked at all tokens after %.0f s\n", figures["controller_start_s_100k"])
	return controller, nil
}

// watchSteadyState counts what the processes do while nothing changes, and returns the requests a second by what they are.
func watchSteadyState(controller *rig.Process, log *auditLog, figures map[string]float64) (map[string]float64, error) {
	<-time.After(steady / 4) // the look at the site goes on a bit longer
	before, err := cpuOf(controller)
	if err != nil {
		return nil, err
	}
	if err := log.skip(); err != nil {
		return nil, err
	}
	begun := time.Now()
	<-time.After(steady)
	asked, err := log.requests()
	if err != nil {
		return nil, err
	}
	after, err := cpuOf(controller)
	took := time.Since(begun).Seconds()
	for what, n := range asked {
		figures["steady_requests_s_100k"] += n / took
		asked[what] = math.Round(n/took*100) / 100
	}
	figures["steady_controller_cores_100k"] = (after - before).Seconds() / took
	return asked, err
}

// askPortal measures requests of users.
func (c *cluster) askPortal(ctx context.Context, b *bench, figures map[string]float64) error {
	owner, err := bulk.NewToken(0)
	if err != nil {
		return err
	}
	var failed error
	timed := func(path, user string) func() float64 {
		return func() float64 {
			begun := time.Now()
			_, err := c.portal(ctx, "GET", path, user, "")
			failed = errors.Join(failed, err)
			return time.Since(begun).Seconds() * 1000
		}
	}
	medians := interleaved(b.rounds, []func() float64{
		timed("/plugins/servlet/api-tokens", owner.User), timed("/rest/api-tokens/latest/admin?q=9&maxResults=50", bulk.Administrator),
	})
	figures["page_list_ms_100k"], figures["admin_search_ms_100k"] = medians[0], medians[1]
	return failed
}

// refuse measures how many requests without credentials the portal refuses in a second.
func (c *cluster) refuse(figures map[string]float64) error {
	const duration = 2 * time.Second
	address := strings.TrimPrefix(c.rig.PortalURL, "http://")
	anonymous := load{
		address: address, connections: 16, status: "HTTP/1.1 401",
		requests: [][]byte{fmt.Appendf(nil, "GET /portal/%s/%s/rest/api-tokens/latest/ HTTP/1.1\r\nHost: %s\r\n\r\n", bulk.Namespace, bulk.Site, address)},
	}
	refused, err := anonymous.run(duration)
	figures["portal_refused_s"] = float64(len(refused)) / duration.Seconds()
	return err
}
