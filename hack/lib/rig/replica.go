package rig

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"apitokens.dev/operator/hack/lib/ports"
)

// Replica is a second webhook beside the rig's own. It can be stopped and started again at the same addresses.
type Replica struct {
	*Process

	// URL is the address for gateways.
	URL string
	// HealthURL and MetricsURL are those of the replica.
	HealthURL, MetricsURL string

	rig  *Rig
	name string
	args []string
}

// Bare returns a rig with only the operator's binary, for replicas at a control plane that the caller started.
func Bare(ctx context.Context) (*Rig, error) {
	r := &Rig{}
	if err := r.build(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(r.dir))
	}
	return r, nil
}

// NewReplica returns a webhook that is not yet started.
func (r *Rig) NewReplica(name, kubeconfig string, drainDelay time.Duration) (*Replica, error) {
	return r.newReplica("127.0.0.1", name, kubeconfig, drainDelay)
}

func (r *Rig) newReplica(host, name, kubeconfig string, drainDelay time.Duration) (*Replica, error) {
	free, err := ports.Free(3)
	if err != nil {
		return nil, err
	}
	free[0] = strings.Replace(free[0], "127.0.0.1", host, 1)
	return &Replica{
		URL: "http://" + free[0], HealthURL: "http://" + free[1], MetricsURL: "http://" + free[2] + "/metrics", rig: r, name: name,
		args: []string{
			"webhook", "--plain-http", "--kubeconfig", kubeconfig, "--bind-address", free[0],
			"--health-probe-bind-address", free[1], "--metrics-bind-address", free[2], "--drain-delay", drainDelay.String(),
			"--grpc-bind-address", "0",
		},
	}, nil
}

// StartReplica starts a webhook that keeps serving for drainDelay after it is told to stop.
func (r *Rig) StartReplica(ctx context.Context, name string, drainDelay time.Duration) (*Replica, error) {
	return r.StartReplicaAt(ctx, "127.0.0.1", name, drainDelay)
}

// StartReplicaAt starts a webhook at another address of this machine.
func (r *Rig) StartReplicaAt(ctx context.Context, host, name string, drainDelay time.Duration) (*Replica, error) {
	replica, err := r.newReplica(host, name, r.Kubeconfig("apitoken-webhook"), drainDelay)
	if err != nil {
		return nil, err
	}
	return replica, replica.Start(ctx)
}

// Start starts the replica, again if it was stopped, and waits until it is ready.
func (r *Replica) Start(ctx context.Context) error {
	if err := r.Launch(); err != nil {
		return err
	}
	return r.await(ctx, r.HealthURL+"/readyz")
}

// Launch starts the replica without waiting until it is ready.
func (r *Replica) Launch() (err error) {
	r.Process, err = r.rig.startOperator(r.name, r.args...)
	return err
}
