package controllers

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// heartbeatPeriod and heartbeatLease are those of the leader election.
	heartbeatPeriod = 2 * time.Second
	heartbeatLease  = 15 * time.Second
)

// heartbeat renews the lease of the leader election in a process that takes no part in one. While nobody renews it, the portal
// takes no personal access tokens, because nobody would store them.
type heartbeat struct {
	client client.Client
	live   client.Reader
	name   types.NamespacedName
}

func addHeartbeat(mgr ctrl.Manager, o Options) error {
	if o.LeaderElection {
		return nil
	}
	return mgr.Add(&heartbeat{mgr.GetClient(), mgr.GetAPIReader(), types.NamespacedName{Namespace: o.Namespace, Name: LeaderElectionID}})
}

// Start renews the lease until ctx is done, and then gives it up.
func (h *heartbeat) Start(ctx context.Context) error {
	beat := time.NewTicker(heartbeatPeriod)
	defer beat.Stop()
	for {
		if err := h.renew(ctx, fieldOwner); err != nil && ctx.Err() == nil {
			ctrl.LoggerFrom(ctx).Error(err, "Renewing the lease")
		}
		select {
		case <-beat.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), heartbeatPeriod)
			defer cancel()
			if err := h.renew(last, ""); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "Giving up the lease")
			}
			return nil
		}
	}
}

// renew writes the lease. Without a holder nobody renews it.
func (h *heartbeat) renew(ctx context.Context, holder string) error {
	var lease coordinationv1.Lease
	err := h.live.Get(ctx, h.name, &lease)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading the lease: %w", err)
	}
	lease.Namespace, lease.Name = h.name.Namespace, h.name.Name
	lease.Spec.HolderIdentity, lease.Spec.RenewTime = &holder, &metav1.MicroTime{Time: time.Now()}
	lease.Spec.LeaseDurationSeconds = new(int32(heartbeatLease / time.Second))
	if apierrors.IsNotFound(err) {
		err = h.client.Create(ctx, &lease)
	} else {
		err = h.client.Update(ctx, &lease)
	}
	if err != nil {
		return fmt.Errorf("renewing the lease: %w", err)
	}
	return nil
}
