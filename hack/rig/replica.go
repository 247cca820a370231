package rig

import (
	"context"
	"time"
)

// Replica is one more webhook, beside the rig's own. It can be stopped and started again at the same addresses.
type Replica struct {
	*Process

	// URL is where gateways ask.
	URL string

	rig  *Rig
	name string
	args []string
	// ready is what answers once the replica may be asked.
	ready string
}

// StartReplica starts one more webhook, which goes on serving for drainDelay when it is stopped.
func (r *Rig) StartReplica(ctx context.Context, name string, drainDelay time.Duration) (*Replica, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	replica := &Replica{URL: "http://" + ports[0], rig: r, name: name, ready: "http://" + ports[1] + "/readyz", args: []string{
		"webhook", "--kubeconfig", r.Kubeconfig("apitoken-webhook"), "--bind-address", ports[0],
		"--health-probe-bind-address", ports[1], "--metrics-bind-address", "0", "--drain-delay", drainDelay.String(),
	}}
	return replica, replica.Start(ctx)
}

// Start starts the replica, again if it was stopped, and waits until it is ready.
func (r *Replica) Start(ctx context.Context) (err error) {
	if r.Process, err = r.rig.startOperator(r.name, r.args...); err != nil {
		return err
	}
	return r.await(ctx, r.ready)
}
